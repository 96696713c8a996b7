"""What the README shows works as it stands there."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def test_the_search_runs_with_ones_own_measurer(capsys):
    [example] = [
        block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if "search(" in block
    ]

    def my_generator(load_pps, duration_s, stop_after_lost):
        lost = max(0.0, load_pps - 5e6)
        seconds = duration_s
        if lost and stop_after_lost is not None:
            seconds = min(duration_s, stop_after_lost / lost + 0.05)
        return round(load_pps * seconds), round((load_pps - lost) * seconds), seconds

    exec(compile(example, str(README), "exec"), {"my_generator": my_generator})  # noqa: S102 - our own text
    ndr, pdr = capsys.readouterr().out.splitlines()
    assert float(ndr.split()[1]) == pytest.approx(5e6, rel=0.005)
    assert float(pdr.split()[1]) == pytest.approx(5e6 / 0.995, rel=0.005)
