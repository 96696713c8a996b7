"""Who interrupts the cores that poll?"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from nvbench import fingerprint
from nvbench.bench import Bench
from nvbench.collectors.files import columns, cores_of
from nvbench.errors import NotPossibleError
from nvbench.hosts import Host
from nvbench.stands import BENCH, Check, Ground, Record

SECONDS = 1.0
MOST_HZ = 1000.0
"""Of one device, on a core that polls: each takes some microseconds, so that below it is no hundredth of the core."""
WORTH_MOVING_HZ = 10.0

_IRQS = "/proc/irq"
_PARAMETERS = ("isolcpus", "nohz_full", "rcu_nocbs")


@dataclass(frozen=True, slots=True)
class Irq:
    """An interrupt of a device, as often as it came to each core.

    Attributes:
        number: Its number.
        device: What the kernel calls whoever raises it.
        hz: Core -> times a second.
    """

    number: int
    device: str
    hz: Mapping[int, float]


def act(ground: Ground, record: Record) -> None:
    """Count for a second what comes to cores that do nothing but poll, and tell where it could go instead."""
    polling = polling_cores(ground.bench)
    if not polling:
        raise NotPossibleError("no core does nothing but poll: each that polls does all the rest, too")
    for name, cores in polling.items():
        host = ground.hosts[name]
        before, began = host.read("/proc/interrupts") or "", time.monotonic()
        time.sleep(SECONDS)
        after, seconds = host.read("/proc/interrupts") or "", time.monotonic() - began
        record.keep(f"interrupts-{name}.txt", f"{before}\n{seconds:.3f} s later\n\n{after}")
        rates = rates_of(before, after, seconds)
        devices = [Irq(int(irq), device, hz) for irq, (device, hz) in rates.items() if irq.isdigit()]
        for core in cores:
            _judge_core(record, host, core, devices, cores)
        _draw(record, name, cores, rates)
        _tell_isolation(record, host, cores)


def _judge_core(record: Record, host: Host, core: int, devices: Sequence[Irq], polling: Sequence[int]) -> None:
    here = sorted((irq for irq in devices if irq.hz.get(core, 0) > 0), key=lambda irq: -irq.hz[core])
    for irq in here:
        if irq.hz[core] < WORTH_MOVING_HZ:
            break
        record.advise(_remedy(host, irq, polling))
    if not here:
        record.observe(True, f"no device interrupts core {core} of host {host.name}, which polls")
        return
    worst = here[0]
    holds = worst.hz[core] <= MOST_HZ
    quote = f"IRQ {worst.number} {worst.device}: {worst.hz[core]:.0f}/s on core {core}"
    told = (
        f"{worst.device} interrupts core {core} of host {host.name}, which polls, {worst.hz[core]:.0f} times a second"
    )
    record.observe(holds, f"{told}; {'no more than' if holds else 'more than'} {MOST_HZ:.0f} are borne", quote)


def _remedy(host: Host, irq: Irq, polling: Sequence[int]) -> str:
    """The command that sends an interrupt elsewhere; some belong to a core, and the kernel refuses to move them."""
    others = [core for core in irq.hz if core not in polling]
    allowed = (host.read(f"{_IRQS}/{irq.number}/smp_affinity_list") or "").strip()
    seen = f"IRQ {irq.number} ({irq.device}) may come to cores {allowed or 'that nobody knows'}"
    if not others:
        return f"{seen}: every core polls, so that it has nowhere else to go"
    move = f"echo {as_list(others)} > {_IRQS}/{irq.number}/smp_affinity_list"
    return f"{seen}: {move}; if that is refused, boot with isolcpus=managed_irq,{as_list(polling)}"


def _draw(
    record: Record, name: str, cores: Sequence[int], rates: Mapping[str, tuple[str, Mapping[int, float]]]
) -> None:
    busy = [
        (f"{irq} {device}".strip(), *(f"{hz.get(core, 0):.0f}" for core in cores))
        for irq, (device, hz) in rates.items()
        if any(hz.get(core, 0) >= 0.5 for core in cores)
    ]
    record.draw(f"Interrupts a second on host {name}", ("what", *(f"core {core}" for core in cores)), busy)


def _tell_isolation(record: Record, host: Host, cores: Sequence[int]) -> None:
    line = host.read("/proc/cmdline") or ""
    lacking = [word for word in _PARAMETERS if not set(cores) <= named_cores(line, word)]
    if lacking:
        words = " ".join(f"{word}={as_list(cores)}" for word in lacking)
        record.advise(
            f"timers, RCU callbacks and other programs reach the polling cores of host {host.name}: boot with {words}"
        )
    told = host.run(["ps", "-eo", "ppid=,comm="], check=False).stdout
    others = sum(1 << core for core in fingerprint.cores(host) if core not in cores)
    if (bound := bound_threads(told, cores)) and others:
        move = f"echo {others:x} > /sys/devices/virtual/workqueue/cpumask"
        record.advise(
            f"threads of the kernel are bound to the polling cores of host {host.name}: {', '.join(bound)}; "
            f"{move} sends elsewhere what is bound to none"
        )


def polling_cores(bench: Bench) -> dict[str, tuple[int, ...]]:
    """Host -> the cores that do nothing but poll there; one that does all the rest, too, cannot be left in peace."""
    placement, testbed = bench.placement, bench.testbed
    found: dict[str, set[int]] = {}
    found.setdefault(testbed.switch.host, set()).update({*placement.pmd_cores} - {placement.switch_housekeeping_core})
    found.setdefault(testbed.generator.host, set()).update({*placement.generator_cores} - {placement.housekeeping_core})
    return {name: tuple(sorted(cores)) for name, cores in found.items() if cores}


def rates_of(before: str, after: str, seconds: float) -> dict[str, tuple[str, dict[int, float]]]:
    """Two looks at /proc/interrupts -> name of a row -> who raises it, and core -> times a second."""
    cores, old, new = cores_of(after), columns(before), columns(after)
    names = {words[0].rstrip(":"): words[-1] for line in after.splitlines()[1:] if (words := line.split())}
    return {
        name: (names[name] if name.isdigit() else "", _per_second(cores, old.get(name, []), row, seconds))
        for name, row in new.items()
        if len(row) == len(cores)
    }


def _per_second(cores: Sequence[int], old: Sequence[int], new: Sequence[int], seconds: float) -> dict[int, float]:
    before = old if len(old) == len(new) else [0] * len(new)
    return {core: (late - early) / seconds for core, early, late in zip(cores, before, new, strict=True)}


def named_cores(line: str, parameter: str) -> set[int]:
    """The cores that a parameter of the kernel's command line names."""
    found = re.search(rf"(?:^|\s){parameter}=(\S+)", line)
    parts = found[1].split(",") if found else []
    spans = [re.fullmatch(r"(\d+)(?:-(\d+))?", part) for part in parts]  # others are flags: isolcpus=managed_irq,2-7
    return {core for span in spans if span for core in range(int(span[1]), int(span[2] or span[1]) + 1)}


def bound_threads(text: str, cores: Collection[int]) -> list[str]:
    """`ps -eo ppid=,comm=` -> those of the kernel, children of process 2, that belong to these cores."""
    names = re.findall(r"^\s*2 (\S.*?)\s*$", text, re.MULTILINE)
    return [name for name in names if (core := re.search(r"/(\d+)(?::|$)", name)) and int(core[1]) in cores]


def as_list(cores: Iterable[int]) -> str:
    """Cores as the kernel reads and writes them: 0-3,7."""
    spans: list[list[int]] = []
    for core in sorted(cores):
        if spans and core == spans[-1][-1] + 1:
            spans[-1][1:] = [core]
        else:
            spans.append([core])
    return ",".join("-".join(map(str, span)) for span in spans)


INTERRUPTS = Check(
    name="interrupts",
    title="no device interrupts the cores that poll",
    cases={BENCH: ""},
    act=act,
    tags=("setup", "noise"),
)
