"""How quiet is the bench, and which differences can be seen on it?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from nvbench import fingerprint, stats
from nvbench.bench import Bench
from nvbench.errors import NotPossibleError
from nvbench.hosts import Host
from nvbench.stands import BENCH, Check, Ground, Record

PIECES, PIECE_S = 10, 0.2
"""Equal pieces of work; a trial is longer, but what disturbs one disturbs the other."""

RUNS = (5, 10)
QUIET_AWAY, MOST_AWAY = 0.01, 0.10
"""Share of its time for which a core that polls is elsewhere: of a quiet host, and of one that is fit at all."""

MOST_UNSEEN = 0.50
"""A host on which ten runs a side cannot tell a difference of a half is fit for yes and no alone."""

LINE_RATE_PPS, DESCRIPTORS = 14_880_952, 4096
"""Frames of 64 bytes at 10 Gbit/s, and the largest ring: a longer gap than it bridges costs frames."""

TICK_HZ = 100
"""USER_HZ, in which /proc/stat counts, on all architectures."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """What a loop on a core met that does nothing but look at the clock.

    Attributes:
        core: Which.
        away: Share of the time in gaps of more than 10 us.
        longest_us: The longest gap.
        gaps: How many were longer than 10 us, 100 us and 1 ms.
        rates: Turns a second, of each piece of the time: the work that got done.
        speeds: The same of the time that the core was there: how fast it went.
    """

    core: int
    away: float
    longest_us: float
    gaps: tuple[int, ...]
    rates: tuple[float, ...]
    speeds: tuple[float, ...]

    @property
    def noise(self) -> float:
        """Relative standard deviation of the work from piece to piece."""
        return stats.noise(self.rates) or 0.0

    @property
    def spread(self) -> float:
        """By how much the fastest piece went faster than the slowest."""
        return max(self.speeds) / min(self.speeds) - 1


def act(ground: Ground, record: Record) -> None:
    """Poll on all cores of the bench at once, as a run does, and judge by what each of them missed."""
    for name, cores in cores_of_runs(ground.bench).items():
        host = ground.hosts[name]
        before = fingerprint.steal_ticks(host.read("/proc/stat") or "")
        found = spin(host, cores)
        after = fingerprint.steal_ticks(host.read("/proc/stat") or "")
        seconds = PIECES * PIECE_S
        stolen = {core: (after.get(core, 0) - before.get(core, 0)) / TICK_HZ / seconds for core in cores}
        _draw(record, name, found, stolen)
        for quiet in found:
            _judge(record, name, quiet, stolen[quiet.core])
        _judge_sight(record, name, found)
        _advise(record, name, host, found)


def spin(host: Host, cores: Sequence[int]) -> list[Quiet]:
    """Poll on these cores at once, at the priority at which generators and PMDs do.

    Raises:
        NotPossibleError: The host has no python3.
    """
    if not host.run(["which", "python3"], check=False).ok:
        raise NotPossibleError(f"host {host.name} has no python3, which looks at its cores")
    words = [str(PIECES), str(PIECE_S), *map(str, cores)]
    source = resources.files("nvbench.checks").joinpath("spin.py").read_text()
    return parse_spins(host.run(["nice", "-n", "-20", "python3", "-", *words], stdin=source).stdout)


def parse_spins(text: str) -> list[Quiet]:
    """What `spin.py` prints."""
    return [_quiet(**json.loads(line)) for line in text.splitlines() if line]


def _quiet(core: int, pieces: Sequence[Sequence[int]]) -> Quiet:
    lengths, turns, away, longest, *gaps = zip(*pieces, strict=True)
    return Quiet(
        core,
        away=sum(away) / sum(lengths),
        longest_us=max(longest) / 1e3,
        gaps=tuple(sum(each) for each in gaps),
        rates=tuple(made / length * 1e9 for made, length in zip(turns, lengths, strict=True)),
        speeds=tuple(made / (length - lost) * 1e9 for made, length, lost in zip(turns, lengths, away, strict=True)),
    )


def _draw(record: Record, name: str, found: Sequence[Quiet], stolen: Mapping[int, float]) -> None:
    columns = ("", "away", "longest gap", "> 10 us", "> 100 us", "> 1 ms", "stolen", "speed spread", "work varies by")
    rows = [
        (
            f"core {quiet.core}",
            f"{quiet.away:.2%}",
            f"{quiet.longest_us:.0f} us",
            *quiet.gaps,
            f"{stolen[quiet.core]:.1%}",
            f"{quiet.spread:.1%}",
            f"{quiet.noise:.2%}",
        )
        for quiet in found
    ]
    record.draw(f"Host {name}, {PIECES} times {PIECE_S:g} s of polling", columns, rows)


def _judge(record: Record, name: str, quiet: Quiet, stolen: float) -> None:
    holds = quiet.away <= MOST_AWAY
    told = f"core {quiet.core} of host {name} is taken from what polls there for {quiet.away:.2%} of the time"
    quote = f"longest gap {quiet.longest_us:.0f} us; gaps > 10 us, 100 us, 1 ms: {', '.join(map(str, quiet.gaps))}"
    record.observe(holds, f"{told}; {'up to' if holds else 'more than'} {MOST_AWAY:.0%} is borne", quote)
    if quiet.away <= QUIET_AWAY:
        return
    if stolen > QUIET_AWAY:
        record.advise(
            f"the hypervisor took {stolen:.1%} of core {quiet.core} of host {name}: move to a quieter machine"
        )
    else:
        record.advise(f"see what else runs on core {quiet.core} of host {name}: ps -eLo psr,pcpu,comm --sort=-pcpu")


def _judge_sight(record: Record, name: str, found: Sequence[Quiet]) -> None:
    """What runs can show is limited by the core that varies most: it may be the one that all wait for."""
    worst = max(found, key=lambda quiet: quiet.noise)
    fewer, more = (stats.smallest_change(worst.noise, runs) or 0.0 for runs in RUNS)
    holds = more <= MOST_UNSEEN
    told = (
        f"runs on host {name} let one see differences in throughput from {fewer:.1%} on with {RUNS[0]} repeats a side, "
        f"from {more:.1%} on with {RUNS[1]}; what the switch itself varies by comes on top"
    )
    pieces = " ".join(f"{rate / max(worst.rates):.3f}" for rate in worst.rates)
    quote = f"core {worst.core}: work varies by {worst.noise:.2%} (relative standard deviation); pieces: {pieces}"
    record.observe(holds, told if holds else f"{told}: more than {MOST_UNSEEN:.0%} tells too little", quote)


def _advise(record: Record, name: str, host: Host, found: Sequence[Quiet]) -> None:
    bridged_us = DESCRIPTORS / LINE_RATE_PPS * 1e6
    longest_us = max(quiet.longest_us for quiet in found)
    if longest_us > bridged_us:
        record.advise(
            f"a gap of {longest_us:.0f} us on host {name} outlasts rings of {DESCRIPTORS} descriptors at 10 Gbit/s of "
            f"64-byte frames ({bridged_us:.0f} us): some loss at such rates is the host's, not the switch's"
        )
    governor = (host.read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "").strip()
    spread = max(quiet.spread for quiet in found)
    if governor not in ("", "performance"):
        record.advise(f"host {name} changes its cores' frequency: cpupower frequency-set -g performance")
    elif spread > QUIET_AWAY:
        record.advise(
            f"the cores of host {name} went at speeds that differ by {spread:.1%} although nobody was on them: their "
            "frequency changes, or what shares a core with them (hyper-threads, other machines) does"
        )


def cores_of_runs(bench: Bench) -> dict[str, tuple[int, ...]]:
    """Host -> the cores on which a run polls, both the switch and the generator."""
    placement, testbed = bench.placement, bench.testbed
    found: dict[str, set[int]] = {}
    found.setdefault(testbed.switch.host, set()).update(placement.pmd_cores)
    found.setdefault(testbed.generator.host, set()).update(placement.generator_cores)
    return {name: tuple(sorted(cores)) for name, cores in found.items()}


NOISE = Check(
    name="noise",
    title="the hosts are quiet enough to see differences",
    cases={BENCH: ""},
    act=act,
    tags=("setup",),
)
