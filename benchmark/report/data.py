"""A report for programs: what each run was, what it found in sentences, and its answers."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any

from nvbench.errors import NvbenchError
from nvbench.reading import Results
from nvbench.report.again import command_of
from nvbench.report.evidence import Measured, gathered
from nvbench.report.summary import sentences

_HEADER = (
    *("run_id", "label", "state", "started_at", "finished_at", "nvbench_version", "profile_name", "testbed_name"),
    *("seed", "quick", "simulated", "overrides", "profile", "testbed", "fingerprint", "warnings", "versus"),
)
_OF_PAGE = ("anchor", "run")


def as_json(results: Results) -> str:
    """One object: `runs`, and of several `comparison`, as `nvbench compare --format json` has it."""
    told: dict[str, Any] = {"runs": [_run(measured) for measured in gathered(results)]}
    if len(results.runs) > 1:
        told["comparison"] = _comparison(results)
    return json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def _run(measured: Measured) -> dict[str, Any]:
    run = measured.run
    rows = [{name: value for name, value in row.items() if name not in _OF_PAGE} for row in measured.rows]
    return {
        **{name: _plain(run.record.get(name)) for name in _HEADER},
        "state": run.state,
        "run_again": command_of(run),
        "summary": list(sentences(measured)),
        "not_possible": list(measured.impossible),
        "results": _plain(rows),
    }


def _comparison(results: Results) -> dict[str, Any]:
    from nvbench.comparison import compare  # noqa: PLC0415 - heavy
    from nvbench.report import comparison_files  # noqa: PLC0415

    try:
        found = compare(Results(results.runs[:1]), Results(results.runs[1:]))
    except NvbenchError as error:
        return {"error": str(error)}
    compared: dict[str, Any] = json.loads(comparison_files.as_json(found))
    return compared


def _plain(value: Any) -> Any:
    """`value` in what JSON knows: times in ISO 8601, NaN as no value."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
