"""Levers do to the switch what they say, and leave it as it was."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from nvbench.errors import DatapathError, NotPossibleError
from nvbench.generators.frames.changes import Tag, tags
from nvbench.hosts import LocalHost, NamespaceHost
from nvbench.journal import Journal
from nvbench.stands import BRIDGE, PEER
from nvbench.stands.bridge import BridgeLevers
from nvbench.stands.frames import Batch, tag, udp
from tests.lab.checks.conftest import misses, reaches
from tests.lab.waiting import wait_until

GROUP, GROUP_MAC = "239.1.2.3", "01:00:5e:01:02:03"


@pytest.fixture(params=["on_bridge", "on_ovs"])
def on_either(request):
    return request.getfixturevalue(request.param)


@contextmanager
def as_before(stand):
    """The switch's set-up changes within, and is the same again afterwards."""
    before = stand.state()
    assert before
    yield before
    assert stand.state() == before


def sent(stand, sender, frames, *takers, lost=0):
    """What came of frames, a list of all copies each, by taker; but for so many all have to come to somebody."""
    batch = Batch()
    one = stand.member(sender)
    for destination, own, size in frames:
        batch.add("", destination, one.mac, udp(one, GROUP), *own, size=size)

    def arrived(taken):
        come = [batch.came(captured) for captured in taken.values()]
        return sum(any(copies) for copies in zip(*come, strict=True)) >= len(batch.frames) - lost

    taken = stand.exchange(sender, batch.frames, takers, seconds=0.3, marker=batch.marker, until=arrived)
    return {name: batch.came(captured) for name, captured in taken.items()}


def frame_of(stand, receiver, *own, size=0):
    return stand.member(receiver).mac, own, size


def test_the_mtu_is_in_force(on_either):
    stand = on_either
    wide = [(member.host, member.device) for member in stand.members]
    with as_before(stand):
        for host, device in wide:
            host.run(["ip", "link", "set", device, "mtu", "5000"])
        big = frame_of(stand, "vm2", size=3014)
        assert sent(stand, "vm1", [big], "vm2", lost=1)["vm2"] == [[]]
        with stand.levers.mtu(3000):
            assert [len(frame) for frame in sent(stand, "vm1", [big], "vm2")["vm2"][0]] == [3014]
        for host, device in wide:
            host.run(["ip", "link", "set", device, "mtu", "1500"])


def test_separated_members_reach_only_each_other(on_either):
    stand = on_either
    with as_before(stand) as before:
        vm1, vm2, peer = map(stand.member, ("vm1", "vm2", PEER))
        assert reaches(vm1, vm2)
        with stand.levers.separated("vm1"):
            assert stand.state() != before
            assert misses(vm1, vm2)
            assert reaches(vm2, peer)
        with stand.levers.separated("vm1", "vm2"):
            assert reaches(vm1, vm2)
            assert misses(vm1, peer)
        assert reaches(vm1, peer)


def test_access_ports(on_ovs):
    with as_before(on_ovs), on_ovs.levers.access({"vm1": 100, "vm2": 101}):
        assert misses(on_ovs.member("vm1"), on_ovs.member("vm2"))
        came = sent(on_ovs, "vm1", [frame_of(on_ovs, PEER)], PEER)[PEER]
        assert [tags(frame) for frame in came[0]] == [(tag(100),)]


def test_a_kernel_without_vlan_filtering_has_no_access_ports(on_bridge):
    with as_before(on_bridge), pytest.raises(NotPossibleError, match="BRIDGE_VLAN_FILTERING"):
        on_bridge.levers.access({"vm1": 100}).__enter__()


@pytest.mark.parametrize("tpid", [0x8100, 0x88A8])
def test_a_service_tag_comes_on_top(on_ovs, tpid):
    frames = [frame_of(on_ovs, PEER), frame_of(on_ovs, PEER, tag(10))]
    with as_before(on_ovs), on_ovs.levers.tunnelled(100, "vm1", tpid=tpid):
        came = sent(on_ovs, "vm1", frames, PEER)[PEER]
        assert [[tags(frame) for frame in each] for each in came] == [[(Tag(tpid, 100),)], [(Tag(tpid, 100), tag(10))]]
        back = sent(on_ovs, PEER, [frame_of(on_ovs, "vm1", Tag(tpid, 100), tag(10))], "vm1")["vm1"]
        assert [tags(frame) for frame in back[0]] == [(tag(10),)]


def test_a_vlan_is_translated_both_ways(on_ovs):
    with as_before(on_ovs), on_ovs.levers.translated("vm1", 10, 200):
        there = sent(on_ovs, "vm1", [frame_of(on_ovs, PEER, tag(10)), frame_of(on_ovs, PEER)], PEER)[PEER]
        assert [[tags(frame) for frame in each] for each in there] == [[(tag(200),)], [()]]
        frames = [frame_of(on_ovs, "vm1", tag(vlan)) for vlan in (200, 10)]
        back = sent(on_ovs, PEER, frames, "vm1", lost=1)["vm1"]
        assert [[tags(frame) for frame in each] for each in back] == [[(tag(10),)], []]


def test_multicast_goes_where_somebody_has_joined(on_either):
    stand = on_either
    frame = (GROUP_MAC, (), 0)
    joined = ["address", "add", f"{GROUP}/32", "dev", stand.member("vm2").device, "autojoin"]
    with as_before(stand):
        everywhere = sent(stand, "vm1", [frame], "vm2", PEER)
        assert (len(everywhere["vm2"][0]), len(everywhere[PEER][0])) == (1, 1)
        with stand.levers.snooping():
            stand.member("vm2").host.run(["ip", *joined])
            try:
                wait_until(lambda: stand.levers.snooped(GROUP))  # the kernel reports it a moment later
                found = sent(stand, "vm1", [frame], "vm2", PEER)
            finally:
                stand.member("vm2").host.run(["ip", "address", "delete", *joined[2:5]])
            assert (len(found["vm2"][0]), len(found[PEER][0])) == (1, 0)


def test_a_port_is_down(on_either):
    stand = on_either
    vm1, vm2, peer = map(stand.member, ("vm1", "vm2", PEER))
    with as_before(stand):
        with stand.levers.port_down("vm2"):
            assert misses(vm1, vm2)
            assert reaches(vm1, peer)
            assert "NO-CARRIER" in vm2.host.run(["ip", "link", "show", "eth0"]).stdout
        assert reaches(vm1, vm2)


def test_the_uplink_is_down(on_either):
    vm1, vm2, peer = map(on_either.member, ("vm1", "vm2", PEER))
    with as_before(on_either):
        with on_either.levers.uplink_down():
            assert misses(vm1, peer)
            assert reaches(vm1, vm2)
        assert reaches(vm1, peer)


def test_that_a_link_stays_down_is_for_the_check_to_see(on_either, monkeypatch):
    stand = on_either
    for path in ("bridge", "ovs"):
        monkeypatch.setattr(f"nvbench.stands.{path}.LINK_PATIENCE_S", 0.3)
    other = stand.member("vm2")
    with as_before(stand):
        with stand.levers.port_down("vm2"):
            other.host.run(["ip", "link", "set", other.device, "down"])
        with pytest.raises((DatapathError, NotPossibleError), match=f"port {other.port}"):
            stand.levers.mtu(1400).__enter__()
        other.host.run(["ip", "link", "set", other.device, "up"])
        assert reaches(stand.member("vm1"), other)


def test_what_went_with_a_guest_is_not_put_back_for_ever(tmp_path):
    host, name = LocalHost(), "nvtest-levers"
    host.run(["ip", "netns", "add", name])
    try:
        inside, place = NamespaceHost(host, name), SimpleNamespace(host=host, namespace=name)
        inside.run(["ip", "link", "add", "nvbr0", "up", "type", "bridge", "forward_delay", "0"])
        inside.run(["ip", "link", "add", "nv0", "up", "type", "veth", "peer", "name", "far0"])
        inside.run(["ip", "link", "set", "far0", "up"])
        inside.run(["ip", "link", "set", "nv0", "master", "nvbr0"])
        journal, members = Journal(tmp_path / "journal", {host.name: host}), (SimpleNamespace(port="nv0"),)
        levers = BridgeLevers(SimpleNamespace(path=BRIDGE, host=inside, place=place, journal=journal, members=members))
        with pytest.raises(DatapathError, match=r"nv0 mtu 1500: .*Cannot find device"), levers.mtu(3000):
            inside.run(["ip", "link", "delete", "nv0"])
        assert len(journal.undo_since()) == 1
    finally:
        host.run(["ip", "netns", "delete", name])
    assert journal.undo_since() == []
