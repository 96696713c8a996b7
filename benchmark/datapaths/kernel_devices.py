"""What the kernel's devices under a datapath count beside their links: queueing disciplines and drivers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nvbench.datapaths.kernel_output import ethtool_readings, qdisc_readings
from nvbench.hosts import Host
from nvbench.tables import Reading


def device_readings(inside: Host, devices: Sequence[str]) -> Iterator[Reading]:
    """What `tc -s` and `ethtool -S` tell of devices.

    Raises:
        CommandError: There is no tc.
    """
    yield from qdisc_readings(inside.run(["tc", "-s", "-j", "qdisc", "show"]).stdout, devices)
    for device in devices:
        # A driver without counters of its own says so by its status.
        yield from ethtool_readings(inside.run(["ethtool", "-S", device], check=False).stdout, device)
