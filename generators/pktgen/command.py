"""Pktgen-DPDK's command line."""

from __future__ import annotations

from dataclasses import dataclass

from nvbench.generators.base import Layout

PLAIN_BYTES = 1518
"""The largest frame, with FCS, without its jumbo option."""

SPEED_MBPS = 10_000
"""Link speed that virtio devices are given: Pktgen computes with it, and they tell none."""


@dataclass(frozen=True, slots=True)
class PktgenCommand:
    """Pktgen's command line: one polling core does all, or one receives and one sends.

    Two sending cores are never used: they would share one clock, and each send half of what is asked.

    Attributes:
        binary: The program.
        layout: Ports, cores and memory.
        housekeeping_core: Where it prints and listens; it may not poll there.
        file_prefix: Keeps its DPDK runtime files apart from other programs'.
        script: Path of the script on its host.
    """

    binary: str
    layout: Layout
    housekeeping_core: int
    file_prefix: str
    script: str

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line."""
        layout = self.layout
        cores = (self.housekeeping_core, *layout.cores[:2])
        devices = tuple(_with_speed(argument) for argument in layout.devices)
        polling = "1" if len(cores) == 2 else "[1:2]"
        return (
            *("nice", "-n", "-20"),  # the rest of the host waits while a trial runs
            self.binary,
            f"--lcores={','.join(f'{index}@{core}' for index, core in enumerate(cores))}",
            *layout.memory,
            *(() if "-a" in devices else ("--no-pci",)),
            *("--file-prefix", self.file_prefix),
            *devices,
            "--",
            "-P",
            *(("-j",) if layout.max_frame_bytes > PLAIN_BYTES else ()),
            *("-m", ", ".join(f"{polling}.{number}" for number in sorted(layout.numbers))),
            *("-f", self.script),
        )


def _with_speed(argument: str) -> str:
    told = not argument.startswith("net_virtio_user") or "speed=" in argument
    return argument if told else f"{argument},speed={SPEED_MBPS}"
