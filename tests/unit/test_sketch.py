"""Pictures of text: what a person sees at any width and in any encoding, and that a length is what it says."""

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from nvbench.report.sketch import ASCII, BLOCKS, MOST_LINES, Glyphs, glyphs, sketches
from nvbench.schema import flat
from nvbench.tables import LatencySummary, ResultRow, Subject
from nvbench.units import line_rate_pps

LATENCY = LatencySummary(3.1, 12.3, 40.5, 145.2, 300.7, 1234.5)


def row(test: str, size: int = 64, datapath: str = "ovs_dpdk", **columns: Any) -> dict[str, Any]:
    return flat(ResultRow(subject=Subject(f"{datapath}-{size}B", test, datapath, "nvgen", size), **columns))


def throughput(size: int, rate_pps: float, **columns: Any) -> dict[str, Any]:
    return row("throughput", size, rate_pps=rate_pps, line_rate_pps=line_rate_pps(10e9, size), **columns)


def drawn(rows: list[dict[str, Any]], width: int = 60, made_of: Glyphs = BLOCKS) -> str:
    return "\n".join("\n".join((*lines, "")) for lines in sketches(rows, width, made_of))


THROUGHPUT = """\
throughput, of the line rate
    64 B █████▉························· 18.8 %   2.800 Mpps
   512 B ███████████████▉··············· 51.2 %   1.202 Mpps
  1518 B ███████████████████████████████  100 %  0.8127 Mpps
"""


def test_throughput_stands_beside_the_line_rate() -> None:
    rows = [throughput(1518, line_rate_pps(10e9, 1518)), throughput(64, 2.8e6), throughput(512, 1.202e6)]
    assert drawn(rows) == THROUGHPUT


def test_without_a_line_rate_bars_are_of_the_fastest() -> None:
    text = drawn([row("throughput", 64, rate_pps=1e6), row("throughput", 1518, rate_pps=1e6)])
    assert "of the fastest" in text
    assert "line rate" not in text
    assert text.splitlines()[2].split()[-2:] == ["12.30", "Gbit/s"]


def test_a_loss_curve_tells_no_loss_from_a_little() -> None:
    losses = {(64, 0.1): 0.0, (64, 0.5): 1e-9, (64, 1.0): 0.8, (1518, 0.5): 0.0, (1518, 1.0): 0.0}
    rows = [
        row("frame_loss", size, rate_pps=1.0, load_share=load, loss_ratio=loss) for (size, load), loss in losses.items()
    ]
    title, axis, small, large, *_ = drawn(rows).splitlines()
    assert title == "loss by load, 10 to 100 % of the line rate"
    assert axis.split() == ["10", "50", "100", "%"]
    assert small.split() == ["64", "B", "0", "▁▁▁▁", "████", "up", "to", "80.0", "%"]
    assert large.split() == ["1518", "B", "0", "0", "none"]
    assert small.index("████") + 4 == axis.index("100") + 3 == large.rindex("0") + 1


def test_latency_gets_lighter_towards_the_slowest_frames() -> None:
    rows = [row("latency", 64, rate_pps=1e6, load_share=share, latency=LATENCY) for share in (0.5, 1.0)]
    legend, axis, half, full, *_ = drawn(rows, 80).splitlines()
    assert legend.startswith("latency, us, logarithmic: █ half the frames")
    strip = half.partition("%")[2].rstrip("0123456789. ").strip()
    assert [strip[0], *(b for a, b in pairwise(strip) if a != b)] == list("█▓▒░·")
    assert half.split()[:4] == ["64", "B", "50", "%"]
    assert half.split()[-2:] == full.split()[-2:] == ["12.3", "1234"]
    assert axis.split() == ["1", "10", "100", "1000", "10000", "p50", "max"]


def test_percentiles_that_a_sample_does_not_support_are_not_drawn() -> None:
    few = LatencySummary(latency_p50_us=10.0, latency_max_us=90.0)
    text = drawn([row("latency", rate_pps=1.0, load_share=1.0, latency=few)], 80).splitlines()[2]
    assert "█" in text
    assert "·" in text
    assert not {"▓", "▒", "░"} & set(text)


def test_latency_at_the_throughput_is_drawn_where_there_is_no_test_of_it() -> None:
    assert "latency, us" in drawn([throughput(64, 1e6, latency=LATENCY)])
    assert "latency" not in drawn([throughput(64, 1e6)])


def test_streams_are_beside_the_fastest() -> None:
    rows = [
        row("tcp_stream", 0, datapath, rate_pps=None, value_median=rate) for datapath, rate in (("a", 9e9), ("b", 3e9))
    ]
    title, fast, slow, *_ = drawn(rows).splitlines()
    assert title == "tcp stream, goodput, of the fastest"
    assert fast.split()[0] == "a"
    assert fast.count("█") == pytest.approx(3 * slow.count("█"), abs=3)
    assert not drawn(rows[:1])


def test_of_what_was_measured_block_by_block_the_middle_is_drawn() -> None:
    rates = enumerate((1e6, 9e6, 2e6))
    blocks = [throughput(64, rate, load_share=rate / 14.88e6) | {"block": block} for block, rate in rates]
    _, bar, *rest = drawn(blocks).splitlines()
    assert bar.split()[-2:] == ["2.000", "Mpps"]
    assert rest == []


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_no_number_is_no_picture(value: float | None) -> None:
    broken = throughput(64, 1e6) | {"rate_pps": value}
    assert drawn([broken]) == ""
    assert drawn([broken, throughput(512, 1e6)]).count("\n") == 2
    assert drawn([]) == ""


def test_all_zero_results_are_empty_bars() -> None:
    rows = [throughput(64, 0.0), row("frame_loss", rate_pps=1.0, load_share=0.5, loss_ratio=0.0)]
    assert drawn(rows).splitlines()[1].split()[2] == "·" * drawn(rows).count("·")


def test_ten_thousand_cases_are_a_glance() -> None:
    one = throughput(64, 1e5)
    lines = drawn([one | {"case_id": f"{number}", "frame_bytes": number} for number in range(10_000)]).splitlines()
    assert len(lines) == MOST_LINES + 2
    assert lines[-1] == f"  and {10_000 - MOST_LINES} more in `nvbench report`"


def test_where_there_are_no_blocks_ascii_says_the_same() -> None:
    assert glyphs("utf-8") is BLOCKS
    assert glyphs("ascii") is glyphs("latin-1") is glyphs(None) is glyphs("no such encoding") is ASCII
    text = drawn([throughput(64, 7.44e6, latency=LATENCY)], 80, ASCII)
    assert text.isascii()
    assert text.splitlines()[1].count("#") == pytest.approx(text.splitlines()[1].count("."), abs=3)


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.integers(64, 9000),
            st.floats(1, 1e8),
            st.floats(0.001, 1e7),
            st.just(0.0) | st.floats(1e-9, 1),
            st.floats(0.01, 1),
        ),
        min_size=1,
        max_size=12,
    ),
    st.integers(40, 200),
)
def test_any_results_fit_the_width(found: list[tuple[int, float, float, float, float]], width: int) -> None:
    rows = []
    for size, rate, slowest, lost, load in found:
        latency = LatencySummary(slowest / 9, slowest / 3, slowest / 2, None, None, slowest)
        rows.append(throughput(size, rate, latency=latency))
        rows.append(row("frame_loss", size, rate_pps=rate, load_share=load, loss_ratio=lost))
    for made_of in (BLOCKS, ASCII):
        pictures = list(sketches(rows, width, made_of))
        assert pictures
        for lines in pictures:
            assert all(cell_len(line) <= max(width, 80) for line in lines)


@given(st.floats(0, 1))
def test_a_bar_is_as_long_as_its_share(share: float) -> None:
    rate = share * line_rate_pps(10e9, 64)
    bar = drawn([throughput(64, rate)], 77).splitlines()[1]
    drawn_share = bar.count("█") + sum(bar.count(part) * (1 + place) / 8 for place, part in enumerate("▏▎▍▌▋▊▉"))
    room = sum(bar.count(part) for part in "▏▎▍▌▋▊▉█·")
    assert drawn_share / room == pytest.approx(share, abs=1 / 8 / room)
    assert (drawn_share > 0) == (share > 0)
