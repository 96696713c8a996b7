"""A machine that is there already: an address is lent to it, and nothing else of it is changed."""

import pytest

from nvbench.endpoint import Link, LinkKind
from nvbench.errors import GuestError
from nvbench.guests import Nic
from nvbench.guests.machine import Machine
from nvbench.hosts import Completed
from nvbench.journal import RunBack


class Host:
    name = "vm1"

    def __init__(self, state="up\n"):
        self.state, self.ran = state, []

    def run(self, argv, *, timeout_s=30.0, stdin="", check=True):
        self.ran.append(" ".join(argv))
        return Completed(tuple(argv), 0, "6.1.0\n", "", 0.0)

    def read(self, path):
        return self.state if path == "/sys/class/net/eth1/operstate" else None


class Journal:
    def __init__(self):
        self.written = []

    def mark(self):
        return 0

    def record(self, host, undo):
        self.written.append((host.name, undo))


def machine(host):
    nic = Nic(Link(LinkKind.DEVICE, "tap1"), "52:54:00:00:00:01", "10.99.0.1/24")
    return Machine("vm1", host, "eth1", [nic])


def test_its_address_is_written_down_before_it_is_lent():
    host, journal = Host(), Journal()
    made = machine(host)
    made.up(journal)
    made.ready()
    back = RunBack(("ip", "address", "flush", "dev", "eth1", "to", "10.99.0.1/24"))
    assert journal.written == [("vm1", back)]
    assert host.ran[0] == "ip address replace 10.99.0.1/24 dev eth1"
    assert (made.version, made.devices) == ("Linux 6.1.0 at vm1", ("eth1",))


@pytest.mark.parametrize(("state", "found"), [("down\n", "is down"), (None, "is not there")])
def test_a_device_without_a_link_is_told(state, found):
    with pytest.raises(GuestError, match=f"guest vm1: its device eth1 {found}"):
        machine(Host(state)).ready()
