"""nvgen's command line."""

from __future__ import annotations

from dataclasses import dataclass

from nvbench.generators.base import Layout


@dataclass(frozen=True, slots=True)
class NvgenCommand:
    """nvgen's command line.

    Attributes:
        binary: The compiled program.
        layout: Ports, cores, queues and memory.
        housekeeping_core: Where its control side runs.
        file_prefix: Keeps its DPDK runtime files apart from other programs'.
        receive: Whether to look at what comes back; off only to measure bare sending.
    """

    binary: str
    layout: Layout
    housekeeping_core: int
    file_prefix: str
    receive: bool = True

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line."""
        layout = self.layout
        return (
            *("nice", "-n", "-20"),  # the rest of the host waits while a trial runs
            self.binary,
            *("-l", ",".join(map(str, layout.cores))),
            *layout.memory,
            *(() if "-a" in layout.devices else ("--no-pci",)),
            *("--file-prefix", self.file_prefix, "--no-telemetry"),
            *layout.devices,
            "--",
            *("--ports", ",".join(port.device for port in layout.ports if port.device)),
            *("--queues", str(layout.queues), "--descriptors", str(layout.descriptors)),
            *("--max-frame", str(layout.max_frame_bytes)),
            *("--housekeeping-core", str(self.housekeeping_core)),
            *(() if self.receive else ("--no-receive",)),
        )
