"""What checks act on: the bench as it is, and who stands at the ports of a switch."""

from __future__ import annotations

from dataclasses import dataclass

from nvbench.bench import Bench
from nvbench.endpoint import Link
from nvbench.guests import Guest
from nvbench.hosts import Host
from nvbench.stands.record import Record, WitnessedHost


@dataclass(frozen=True)
class Member:
    """Who stands at a port of the switch.

    Attributes:
        name: `vm1`, `vm2` or `peer`.
        guest: Where it lives.
        host: The same, as a host whose commands are kept.
        device: Its network device there.
        mac: That device's address.
        address: Its IP address, of a network of 24 bits that all members share.
        link: The switch's end of its link; of the peer, that of the physical port.
        port: What the switch calls that end.
    """

    name: str
    guest: Guest
    host: WitnessedHost
    device: str
    mac: str
    address: str
    link: Link
    port: str


class Ground:
    """A bench without anything brought up.

    Attributes:
        path: What is looked at: a kind of datapath, or `bench`.
        bench: The bench.
        hosts: The testbed's hosts by name, their commands kept.
    """

    def __init__(self, bench: Bench, path: str) -> None:
        self.bench, self.path = bench, path
        self._witnesses: list[WitnessedHost] = []
        self.hosts = {name: self._witness(host, name) for name, host in bench.hosts.items()}

    def witnessed(self, record: Record | None) -> None:
        """Keep the commands from now on in this record, or nowhere."""
        for witness in self._witnesses:
            witness.record = record

    def faults(self) -> list[str]:
        """What has gone, and should not have."""
        return []

    def state(self) -> str:
        """What is set up, in words that are the same again once a check has put back what it changed."""
        return ""

    def _witness(self, host: Host, label: str) -> WitnessedHost:
        self._witnesses.append(WitnessedHost(host, label))
        return self._witnesses[-1]
