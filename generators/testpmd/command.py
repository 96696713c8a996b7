"""dpdk-testpmd's command line, as a generator."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nvbench.generators.base import Layout

PROGRAM = "dpdk-testpmd"
MOST_FRAMES = 8192
"""Frames of a direction that it holds, each in a buffer of its own."""

PLAIN_BYTES = 1518
"""The largest frame, with FCS, that a port takes unasked."""

HEADROOM_BYTES = 128
SPARE_BUFFERS = 4096
"""On their way through a polling core, or kept by it."""


@dataclass(frozen=True, slots=True)
class TestpmdCommand:
    """dpdk-testpmd's command line.

    Attributes:
        program: The program.
        layout: Ports, cores, queues and memory.
        housekeeping_core: Where it is typed to, and answers; its thread there does not poll.
        file_prefix: Keeps its DPDK runtime files apart from other programs'.
    """

    __test__ = False

    program: str
    layout: Layout
    housekeeping_core: int
    file_prefix: str

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line."""
        layout = self.layout
        cores = (self.housekeeping_core, *layout.cores)
        large = "-a" in layout.devices and layout.max_frame_bytes > PLAIN_BYTES  # virtual devices take any size unasked
        return (
            *("nice", "-n", "-20"),  # the rest of the host waits while a trial runs
            *("taskset", "-c", ",".join(map(str, cores))),  # its other threads, too, keep off the switch's cores
            self.program,
            f"--lcores={','.join(f'{index}@{core}' for index, core in enumerate(cores))}",
            *layout.memory,
            *(() if "-a" in layout.devices else ("--no-pci",)),
            *("--file-prefix", self.file_prefix),
            *layout.devices,
            "--",
            "-i",
            f"--nb-cores={len(layout.cores)}",
            *(f"--rxq={layout.queues}", f"--txq={layout.queues}"),
            # Whatever waits in the way out when it stops fits into the way in, which nobody looks at until it goes on.
            *(f"--rxd={layout.descriptors}", f"--txd={max(64, layout.descriptors // 2)}"),
            *(f"--mbuf-size={self._buffer_bytes()}", f"--total-num-mbufs={self._buffers()}"),
            *((f"--max-pkt-len={layout.max_frame_bytes}",) if large else ()),
            *("--port-topology=paired", "--disable-link-check", "--no-flush-rx"),
        )

    def _buffer_bytes(self) -> int:
        """Room for a frame; af_packet wants it for a whole slot of its ring."""
        slots = [int(size) for device in self.layout.devices for size in re.findall(r"framesz=(\d+)", device)]
        return HEADROOM_BYTES + max(2048, self.layout.max_frame_bytes + 256, *slots)

    def _buffers(self) -> int:
        """For every descriptor, and for the frames that it holds, twice: to be copied from there."""
        return SPARE_BUFFERS + 2 * self.layout.queues * (2 * self.layout.descriptors + MOST_FRAMES)
