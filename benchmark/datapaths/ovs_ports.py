"""What a link is to Open vSwitch: an interface's name, type and options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from nvbench.datapaths.ovs_options import OvsDpdkParameters
from nvbench.endpoint import Link, LinkKind

AF_PACKET_MTU = 1500
KERNEL_KINDS = (LinkKind.VETH, LinkKind.TAP, LinkKind.DEVICE)


@dataclass(frozen=True, slots=True)
class OvsPort:
    """A port as Open vSwitch is told of it.

    Attributes:
        name: Its name; for a kernel device that of the device.
        type: Its interface's type.
        options: Columns of its interface beside.
        link: What it is the end of.
        polled: Whether PMDs poll it; else the main thread does, or the kernel.
    """

    name: str
    type: str
    link: Link
    options: tuple[str, ...] = ()
    polled: bool = True

    @property
    def late(self) -> bool:
        """Whether its queues are the far end's to choose, once that is ready."""
        return self.link.kind is LinkKind.VHOST_USER


def system_port(link: Link) -> OvsPort:
    """A kernel device, by AF_PACKET without DPDK, or as a port of the kernel's datapath."""
    return OvsPort(link.name, "system", link, polled=False)


def dpdk_ports(links: Sequence[Link], wanted: OvsDpdkParameters) -> list[OvsPort]:
    """The ports of a userspace datapath: nvp0, nvp1 and on, save those that have to be called like their device."""
    polled = any(link.kind not in KERNEL_KINDS for link in links)
    return [
        _dpdk_port(f"nvp{index}", index, link, wanted, _kernel_port(link, wanted, polled))
        for index, link in enumerate(links)
    ]


def _kernel_port(link: Link, wanted: OvsDpdkParameters, polled: bool) -> str:
    """How a kernel device becomes a port; one that is there already is taken as it is.

    Beside PMDs the main thread gets little of a processor. But net_af_packet carries neither segments that are to be
    cut by somebody else nor packets above 1500 bytes.
    """
    if wanted.kernel_ports != "auto":
        return wanted.kernel_ports
    can = not wanted.userspace_tso and wanted.mtu <= AF_PACKET_MTU
    return "af_packet" if polled and can and link.kind is LinkKind.VETH else "system"


def _dpdk_port(name: str, index: int, link: Link, wanted: OvsDpdkParameters, kernel: str) -> OvsPort:
    queues = f"options:n_rxq={wanted.queues}"
    rings = [f"options:n_{side}xq_desc={wanted.descriptors}" for side in "rt"]
    affinity = [f'other_config:pmd-rxq-affinity="{wanted.rxq_affinity}"'] if wanted.rxq_affinity else []

    if link.kind is LinkKind.VHOST_USER:
        # The driver of the far end chooses queues and rings. A socket that OVS serves is called like its port.
        path = [] if link.served else [f"options:vhost-server-path={link.name}"]
        return OvsPort(name, "dpdkvhostuser" if link.served else "dpdkvhostuserclient", link, (*path, *affinity))
    if link.kind in KERNEL_KINDS:
        if kernel == "system":
            return system_port(link)
        if kernel == "afxdp":
            return OvsPort(link.name, "afxdp", link, (queues, *affinity))
        device = f"net_af_packet{index},iface={link.name},qpairs={wanted.queues}"
    else:
        device = link.name
    return OvsPort(name, "dpdk", link, (f'options:dpdk-devargs="{device}"', queues, *rings, *affinity))


def grouped(ports: Sequence[OvsPort], segments: Sequence[Sequence[Link]]) -> list[list[OvsPort]]:
    """The ports of each segment, given those of all links in turn."""
    left = iter(ports)
    return [list(islice(left, len(segment))) for segment in segments]
