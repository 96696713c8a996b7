"""dpdk-testpmd as a guest: its command line, what it is refused for, and its end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from nvbench.endpoint import Link, LinkKind
from nvbench.errors import GuestError, LostConnectionError
from nvbench.guests import OFFERS, GuestPlace, GuestSide, Nic, make_guest
from nvbench.guests.testpmd import Testpmd, memory_mb
from nvbench.hosts import Completed
from nvbench.testbed import GuestSide as Asked
from tests.unit.test_testpmd import JOINED, READY, FakeHost, FakeJournal, FakeProcess

FOLDER = "/run/nvbench/local-7-1"


def nics(**changes: object) -> list[Nic]:
    links = [Link(LinkKind.VHOST_USER, f"{FOLDER}/{name}.sock") for name in "ab"]
    return [Nic(link, f"52:54:00:99:00:0{index}", **changes) for index, link in enumerate(links)]


def guest(host: FakeHost, devices: Sequence[Nic] = (), cores: tuple[int, ...] = (2,)) -> Testpmd:
    place = GuestPlace(host, FOLDER, "", cores)
    return make_guest("testpmd", 0, place, devices or nics(), GuestSide(Asked(forward="macswap"), {}))


def test_it_is_the_far_end_of_vhost_user_links_alone():
    assert OFFERS["testpmd"] == (LinkKind.VHOST_USER,)


def test_it_serves_the_sockets_to_which_the_switch_comes():
    words = guest(FakeHost(), nics(queues=2, descriptors=1024)).command()
    assert words[:4] == ["stdbuf", "-oL", "dpdk-testpmd", "--lcores=0@2,1@2"]
    shape = "server=1,queues=2,queue_size=1024,mac=52:54:00:99:00"
    assert f"net_virtio_user0,path={FOLDER}/a.sock,{shape}:00" in words
    assert f"net_virtio_user1,path={FOLDER}/b.sock,{shape}:01" in words
    assert {"--rxq=2", "--txd=1024", "--forward-mode=macswap", "--nb-cores=1", "--no-pci"} <= set(words)
    assert words[words.index("--socket-mem") + 1] == str(memory_mb(2, 1024, 1500))


def test_it_goes_to_a_socket_that_the_switch_serves():
    served = [Nic(Link(LinkKind.VHOST_USER, f"/ovs/nvp{index}", served=True), "52:54:00:99:00:01") for index in (1, 2)]
    assert [word for word in guest(FakeHost(), served).command() if "path=/ovs/nvp1,server=0," in word]


def test_it_polls_with_no_more_threads_than_it_has_streams():
    words = guest(FakeHost(), cores=(2, 3, 4, 5)).command()
    assert "--lcores=0@2,1@2,2@3,3@4,4@5" in words
    assert "--nb-cores=2" in words


def test_memory_grows_with_what_is_in_it():
    assert memory_mb(1, 256, 1500) == 71
    assert memory_mb(4, 4096, 9000) > 4 * memory_mb(1, 1024, 9000) - 4 * 64


def test_it_comes_up_forwards_and_goes_down():
    host, journal = FakeHost(FakeProcess([*JOINED, READY])), FakeJournal()
    made = guest(host)
    made.up(journal)
    assert journal.records == [
        f"Remove(path='{FOLDER}/a.sock')",
        f"Remove(path='{FOLDER}/b.sock')",
        "Remove(path='/run/dpdk/local-7-1-vm1')",
        "EndPrograms(mark='local-7-1-vm1')",
    ]
    made.ready()
    made.forward()
    made.check_alive()
    assert (made.version, made.devices, made.emulated) == ("testpmd of DPDK 22.11.4", (), False)
    assert not [line for line in host.did if line.startswith("renice")]  # the generator may be on the same core
    made.down()
    assert journal.records[-1] == "undone"


def test_one_that_has_met_no_switch_is_not_waited_for():
    process = FakeProcess([])
    made = guest(FakeHost(process))
    made.up(FakeJournal())
    made.down()
    assert process.killed


def test_its_end_is_told_with_what_it_complained_of():
    process = FakeProcess([], ended=True, complaints=["Error during enabling x - ignore", "EAL: Cannot reserve memory"])
    made = guest(FakeHost(process))
    made.up(FakeJournal())
    with pytest.raises(
        GuestError, match=r"^guest vm1: dpdk-testpmd did not start: EAL: Cannot reserve memory / status"
    ):
        made.ready()
    with pytest.raises(GuestError, match="guest vm1: dpdk-testpmd has ended"):
        made.check_alive()


@pytest.mark.parametrize("devices", [nics()[:1], nics(address="10.99.0.1/24")])
def test_it_is_no_end_of_a_stream(devices):
    host = FakeHost()
    with pytest.raises(GuestError, match=r"guest vm1: testpmd .* no end of a stream"):
        guest(host, devices).up(FakeJournal())
    assert host.did == []


def test_a_connection_that_is_lost_is_no_fault_of_it():
    class Gone(FakeHost):
        def run(self, argv: Sequence[str], **options: object) -> Completed:
            raise LostConnectionError("the SSH connection is gone", place="host far")

    with pytest.raises(LostConnectionError):
        guest(Gone()).up(FakeJournal())
