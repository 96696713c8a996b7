"""What differs beside the results: versions, firmware, kernel line, offloads, who polls which queue, the profile."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from nvbench.comparison.base import Difference
from nvbench.comparison.matching import Match, Matched, Unlike
from nvbench.comparison.observations import Case, Row, read
from nvbench.offloads import ETHTOOL_NAMES

if TYPE_CHECKING:
    from nvbench.reading import Results
    from nvbench.runs import Run

Facts = Mapping[str, set[str]]
"""Dotted name -> its values in the runs of a side."""

ABSENT = "-"

VOLATILE = (
    "hosts.*.memory.MemAvailable",
    "hosts.*.memory.HugePages_*",
    "clock.*",
    "profile.name",
    "profile.description",
    "profile.seed",
    "profile.datapath*",
    "profile.endpoints.*",
    "profile.generator",
    "profile.traffic.frame_bytes*",
    "profile.traffic.flows*",
    "profile.traffic.direction*",
    "profile.traffic.imix*",
    "profile.traffic.pcap*",
    "testbed.name",
    "testbed.description",
    "clocks.*",
    "hosts.*.sockets",
    "generator_chosen",
)
"""What differs from run to run of one bench, or is compared case by case: it is part of what a case measures."""

EXPECTED = ("hosts.*.versions.*", "settings.*.prefix", "testbed.switch.ovs")
"""What comparisons are about if nothing else is said, beside the version of the datapaths compared."""

_QUEUE = "polling_core"


def differences(
    base: Results, new: Results, matched: Matched, expect: Sequence[str] | None, change: str
) -> tuple[Difference, ...]:
    """What differs between two sides, beside the cases' results.

    Args:
        base: Runs before.
        new: And after.
        matched: Their cases.
        expect: Globs of what the comparison is about; None for the versions of what was measured.
        change: What was changed on purpose between runs that were made in turn; empty for other runs.
    """
    tests = {match.base.test for match in matched.both}
    other_kinds = {value for case in (*matched.only_base, *matched.only_new) for value in _kind(case)} - _kinds(matched)
    sides = [_of_runs(results.runs, tests, other_kinds) for results in (base, new)]
    found = list(_unlike(matched.unlike)) + list(compared(*sides))
    found += compared(*(_flags(results, matched.both, side) for side, results in enumerate((base, new))))
    found += compared(*(_queues(results, matched.both, side) for side, results in enumerate((base, new))))
    globs = _expected(matched, expect, change)
    return tuple(
        Difference(name, one, other, any(fnmatchcase(name, glob) for glob in globs)) for name, one, other in found
    )


def compared(base: Facts, new: Facts) -> Iterator[tuple[str, str, str]]:
    """Each fact that differs: its name, and its values on both sides."""
    for name in dict.fromkeys([*base, *new]):
        if base.get(name) != new.get(name) and not any(fnmatchcase(name, glob) for glob in VOLATILE):
            one, other = ("; ".join(sorted(side.get(name) or {ABSENT})) for side in (base, new))
            yield name, one, other


def _unlike(unlike: Iterable[Unlike]) -> Iterator[tuple[str, str, str]]:
    for each in unlike:
        name = ".".join(part for part in ("settings", each.datapath, each.name) if part)
        yield name, each.base or ABSENT, each.new or ABSENT


def _expected(matched: Matched, expect: Sequence[str] | None, change: str) -> list[str]:
    """Globs of what the comparison is about."""
    if expect is not None:
        return list(expect)
    kinds = _kinds(matched)
    if not change:
        return [*EXPECTED, *kinds]
    globs: list[str] = []
    for key in re.findall(r"(?:^|, ?)([\w.]+)\s*=", change):
        plain = re.sub(r"\.\d+(?=\.|$)", "", key)
        last = plain.rpartition(".")[2]
        globs += [key, f"{key}.*", f"profile.{plain}", f"profile.{plain}.*", f"settings.{last}", f"settings.*.{last}"]
        globs += [f"settings.{plain}", f"settings.*.{plain}"]
        if plain.startswith("endpoints"):
            globs += ["offloads.*"]
        else:  # another switch or guest has a version, options, and a placement of queues of its own
            globs += [*kinds, "settings.*", "queues.*", "endpoints.*"]
        if last in ("ovs", "prefix"):
            globs += ["hosts.*.versions.*"]
        if last in ETHTOOL_NAMES:
            globs.append(f"offloads.*.{ETHTOOL_NAMES[last]}")
    return globs


def _kinds(matched: Matched) -> set[str]:
    """The datapaths of the cases that both sides have."""
    return {value for match in matched.both for case in (match.base, match.new) for value in _kind(case)}


def _kind(case: Case) -> Iterator[str]:
    yield from (value for name, value in case.identity if name == "datapath")


# -- run.json ------------------------------------------------------------------------------------------------------


def _of_runs(runs: Iterable[Run], tests: Iterable[str], left_out: Collection[str]) -> Facts:
    """What their records say, of these tests, and without what is `left_out` of their fingerprints."""
    found: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        profile = dict(run.record.get("profile") or {})
        asked = profile.pop("tests", None) or {}
        facts = {
            **{name: value for name, value in run.fingerprint.items() if name not in left_out},
            "nvbench": run.record.get("nvbench_version", ""),
            "profile": {**profile, "quick": run.quick, "tests": {test: asked.get(test) for test in sorted(tests)}},
            "testbed": run.record.get("testbed") or {},
        }
        for name, value in flat(facts):
            found[name].add(value)
    return found


def flat(value: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """Facts with dotted names: what has a name of its own goes by it, not by its place in a list."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from flat(inner, f"{above}.{name}" if above else str(name))
    elif isinstance(value, list) and any(isinstance(each, Mapping | list) for each in value):
        for place, inner in enumerate(value):
            named = isinstance(inner, Mapping) and inner.get("name")
            yield from flat(inner, f"{above}.{named or place}")
    elif value not in (None, "", []):
        yield above, ", ".join(map(str, value)) if isinstance(value, list) else str(value)


# -- tables --------------------------------------------------------------------------------------------------------


def _flags(results: Results, both: Sequence[Match], side: int) -> Facts:
    """The offloads of both endpoints while streams were measured, of the cases that both sides have."""
    cases = _names(both, side)
    if not any(case.test.startswith(("tcp_", "udp_")) for case in cases.values()):
        return {}
    found: dict[str, set[str]] = defaultdict(set)
    columns = ["case_id", "client_offloads", "server_offloads"]
    known: set[str] = set()
    for row in read(results, "streams", columns).to_pylist():
        text = str(row)
        if row["case_id"] in cases and text not in known:
            known.add(text)
            for end in ("client", "server"):
                for flag in row[f"{end}_offloads"] or ():
                    found[f"offloads.{end}.{flag['name']}"].add(str(flag["value"]))
    return found


def _queues(results: Results, both: Sequence[Match], side: int) -> Facts:
    """Which cores polled which queues, by the number of queues, of the cases that both sides have."""
    from pyarrow import dataset  # noqa: PLC0415

    cases = _names(both, side)
    rows = read(results, "samples", ["run_id", "trial_id", "source", "value"], dataset.field("metric") == _QUEUE)
    if not rows.num_rows:
        return {}
    trials: Mapping[tuple[str, str], Row] = {
        (row["run_id"], row["trial_id"]): row
        for row in read(results, "trials", ["run_id", "trial_id", "case_id", "queues"]).to_pylist()
    }
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows.group_by(["run_id", "trial_id", "source", "value"]).aggregate([]).to_pylist():
        trial = trials.get((row["run_id"], row["trial_id"]))
        if trial and trial["case_id"] in cases:
            found[f"queues.{trial['queues']}.{row['source']}"].add(f"core {row['value']:g}")
    return found


def _names(both: Sequence[Match], side: int) -> dict[str, Case]:
    return {case.case_id: case for match in both for case in [(match.base, match.new)[side]]}
