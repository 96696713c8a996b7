"""Where traffic enters and leaves: the generator's end of a link to a datapath."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Port:
    """One of the generator's two ports, as DPDK is told of it.

    Attributes:
        eal: EAL arguments that make the device appear: `("--vdev", "net_virtio_user0,path=...")` or
            `("-a", "0000:3b:00.0")`.
        device: The name under which DPDK then knows it: `net_virtio_user0`, `0000:3b:00.0`.
    """

    eal: tuple[str, ...]
    device: str
