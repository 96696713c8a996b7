"""The command that runs a profile again as it was, and the profile that it came to."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from nvbench.report.document import Code, Details, Paragraph, Part

if TYPE_CHECKING:
    from nvbench.runs import Run


def command_of(run: Run) -> str:
    """`nvbench run ...` as it was typed, with the seed that it had; for a shell."""
    record = run.record
    overrides = {str(key): str(value) for key, value in (record.get("overrides") or {}).items()}
    if record.get("seed") is not None:
        overrides.setdefault("seed", str(record["seed"]))
    argv = ["nvbench", "run", run.profile_name, "--testbed", run.testbed_name]
    argv += ["--quick"] if run.quick else []
    for key, value in overrides.items():
        argv += ["-s", f"{key}={value}"]
    return shlex.join(argv)


def again_parts(run: Run) -> list[Part]:
    """How to run this again."""
    record = run.record
    told = f"Seed {record.get('seed')}, nvbench {record.get('nvbench_version', 'of unknown version')}."
    parts: list[Part] = [Code(command_of(run)), Paragraph(told)]
    for name in ("profile", "testbed"):
        if record.get(name):
            parts.append(Details(f"The {name}, as it was resolved", (Code(as_yaml(record[name])),)))
    if versus := record.get("versus"):
        parts.append(Paragraph(f"Measured in turn with {versus.get('partner', '')}: {versus.get('change', '')}."))
    return parts


def as_yaml(value: Any) -> str:
    """`value` as YAML, in the order in which it stands."""
    import yaml  # noqa: PLC0415 - needed here alone

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100))
