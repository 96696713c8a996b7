"""Network namespaces and the kernel's own cables between them."""

from __future__ import annotations

import json

from nvbench.hosts import Host, NamespaceHost
from nvbench.journal import Journal, RemoveNamespace


def make_namespace(host: Host, journal: Journal, name: str) -> NamespaceHost:
    """A network namespace of our own, its loopback up and without IPv6, whose chatter would be foreign frames."""
    journal.record(host, RemoveNamespace(name))
    host.run(["ip", "netns", "add", name])
    inside = NamespaceHost(host, name)
    inside.run(["sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"])
    inside.run(["ip", "link", "set", "lo", "up"])
    return inside


def make_veth(near: Host, device: str, far: NamespaceHost, far_device: str, *, queues: int = 1) -> None:
    """A veth pair, an end in each namespace; it goes with either of them."""
    ends = ["numtxqueues", str(queues), "numrxqueues", str(queues)]
    far_end = ["peer", "name", far_device, "netns", far.namespace, *ends]
    near.run(["ip", "link", "add", device, *ends, "type", "veth", *far_end])


def take_device(near: Host, device: str, far: NamespaceHost) -> None:
    """Move a network device into a namespace; when that goes, hardware falls back to the host's own."""
    near.run(["ip", "link", "set", device, "netns", far.namespace])


def uses(host: Host, device: str) -> list[str]:
    """What a network device is in use for: its IPv4 addresses, and the bridge or bond that it is a port of."""
    rows = [row for row in json.loads(host.run(["ip", "-j", "address", "show", "dev", device]).stdout) if row]
    addresses = [each["local"] for row in rows for each in row["addr_info"] if each["family"] == "inet"]
    return addresses + [row["master"] for row in rows if "master" in row]
