"""Why is TCP over OVS-DPDK slower than over the kernel's bridge? The gap, and what it is made of.

The same endpoints send over both, their offloads switched one by one: what a flag gives on one path is told from what
the path itself costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from nvbench.attribution import Effect, Explanation, explain
from nvbench.attribution.words import percent, times
from nvbench.checks.quick_run import measured
from nvbench.doctor import examine, missing
from nvbench.errors import UsageError
from nvbench.plan import Case
from nvbench.reading import open_results
from nvbench.stands import OVS, Check, Ground, Record, Wish
from nvbench.units import scaled

TOOLS = ("netperf", "iperf3")
"""What sends the streams: the first that the host has."""

SWITCHED = ("endpoints.sg=true", "endpoints.gso=true", "endpoints.gro=null")
"""Segmentation and checksums are switched; what the kernel drops along with them goes with them."""

SHORT = ("tests.tcp_stream.duration_s=0.5", "tests.tcp_stream.repeats=3")
CAUSE_SHARE = 0.25
"""Of the gap, on a logarithmic scale: a flag that makes less than that is not its cause."""

_PATH = "the path itself"
_SHOWN = ("tx-checksumming", "scatter-gather", "tcp-segmentation-offload", "generic-segmentation-offload")


def act(ground: Ground, record: Record) -> None:
    """Both paths, each with the offloads on and off."""
    host = ground.bench.switch_host
    tool = next((tool for tool in TOOLS if not missing(examine(host, {tool}))), TOOLS[-1])
    overrides = (f"tests.tcp_stream.tool={tool}", *SWITCHED, *SHORT)
    path, _ = measured(ground, record, "offload-tso", overrides, telling)
    rows = open_results(path).table("streams").to_pylist()
    try:
        found = explain(rows)
    except UsageError as error:
        told = next((str(row["reason"]) for row in rows if row["reason"]), "")
        record.observe(False, f"there is nothing to compare: {error.what}", told)
        return
    _flags(record, found, rows)
    record.draw(
        "What the gap is made of",
        ["difference", "factor (95 %)", "of the gap (95 %)", ""],
        [_cells(effect) for effect in found.effects],
    )
    for warning in found.warnings:
        record.advise(warning)
    record.observe(explained(found), answer(found, rows), found.sentence)


def telling(case: Case) -> bool:
    """Whether a case tells something here: over the bridge all do.

    Over OVS-DPDK without userspace TSO those without offloads do, for with them TCP hangs, which takes its time to be
    noticed; and with it those that make use of it, to see what it gives back.
    """
    states = case.offloads.asked() if case.offloads else {}
    if not case.parameters.carries_offloads:
        return not states.get("tx_checksum")
    return not getattr(case.parameters, "userspace_tso", False) or bool(states.get("tso"))


def causes(found: Explanation) -> list[Effect]:
    """The flags that the gap comes from."""
    flags = [effect for effect in found.effects if _PATH not in effect.name and not effect.noise]
    return [effect for effect in flags if effect.share >= CAUSE_SHARE]


def explained(found: Explanation) -> bool:
    """Whether the gap has a cause that can be named, or is none."""
    return bool(causes(found)) or found.low <= 1.0 <= found.high


def answer(found: Explanation, rows: Sequence[Mapping[str, Any]]) -> str:
    """What is slower than what, by how much, and why."""
    fast, slow = (_case(rows, name) for name in (found.fast_case, found.slow_case))
    rates = [scaled(median(row["goodput_bps"] for row in own), "bit/s", 3) for own in (fast, slow)]
    gap = times(found.gap_factor, found.low, found.high)
    told = f"TCP over {fast[0]['datapath']} {rates[0]}, over {slow[0]['datapath']} {rates[1]}, {gap}"
    if named := causes(found):
        parts = " and ".join(f"{percent(effect.share)} of that gap is {effect.name}" for effect in named)
        return f"{told}: {parts}, on over {fast[0]['datapath']} and off over {slow[0]['datapath']}"
    if explained(found):
        return f"{told}: no gap beyond noise"
    most = found.effects[0]
    return f"{told}: no offload flag explains it; {percent(most.share)} of that gap is {most.name}"


def _case(rows: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["case_id"] == name and row["goodput_bps"] is not None]


def _flags(record: Record, found: Explanation, rows: Sequence[Mapping[str, Any]]) -> None:
    """The flags of the sending endpoint as they were over both paths."""
    fast, slow = (_case(rows, name)[0] for name in (found.fast_case, found.slow_case))
    told = [{each["name"]: each["value"] for each in row["client_offloads"]} for row in (fast, slow)]
    cells = [[name, *(each.get(name, "-") for each in told)] for name in _SHOWN]
    record.draw("Offloads of the sender", ["", fast["datapath"], slow["datapath"]], cells)
    differ = [name for name, one, other in cells if one != other]
    what = f"the sender's flags differ: {', '.join(differ)}" if differ else "the sender's flags are the same"
    record.observe(True, what, "; ".join(f"{name} {one} / {other}" for name, one, other in cells))


def _cells(effect: Effect) -> list[str]:
    factor = times(effect.factor, effect.low, effect.high)
    share = percent(effect.share, effect.share_low, effect.share_high)
    return [effect.name, factor, share, "within noise" if effect.noise else ""]


NETPERF = Check(
    name="netperf",
    title="why TCP over OVS-DPDK is slower than over a bridge",
    cases={OVS: "5.1"},
    act=act,
    tags=("performance", "tcp", "offload"),
    wish=Wish(alone=True),
    limit_s=90.0,
)
