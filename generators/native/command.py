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
        devices = tuple(argument for port in layout.ports for argument in port.eal)
        if layout.hugepages:
            memory: tuple[str, ...] = (
                "--in-memory",
                "--single-file-segments",
                "--socket-mem",
                str(layout.memory_mb),
            )
        else:
            memory = ("--no-huge", "-m", str(layout.memory_mb))
        return (
            *("nice", "-n", "-20"),  # the rest of the host waits while a trial runs
            self.binary,
            *("-l", ",".join(map(str, layout.cores))),
            *memory,
            *(() if "-a" in devices else ("--no-pci",)),
            *("--file-prefix", self.file_prefix, "--no-telemetry"),
            *devices,
            "--",
            *("--ports", ",".join(port.device for port in layout.ports if port.device)),
            *("--queues", str(layout.queues), "--descriptors", str(layout.descriptors)),
            *("--max-frame", str(layout.max_frame_bytes)),
            *("--housekeeping-core", str(self.housekeeping_core)),
            *(() if self.receive else ("--no-receive",)),
        )

    @property
    def sockets(self) -> tuple[str, ...]:
        """The sockets that nvgen itself opens for a switch to connect to."""
        found = []
        for port in self.layout.ports:
            for argument in port.eal:
                options = dict(part.partition("=")[::2] for part in argument.split(","))
                if options.get("server") == "1" and "path" in options:
                    found.append(options["path"])
        return tuple(found)

    @property
    def runtime_folder(self) -> str:
        """What DPDK, run by root, leaves behind of a program even when that ends in order."""
        return f"/run/dpdk/{self.file_prefix}"
