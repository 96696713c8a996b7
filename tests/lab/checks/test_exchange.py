"""Exact frames between members of a stand whose hosts have no python3: to the byte, with all tags, and all of them."""

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import LLC, SNAP, Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from nvbench.errors import GeneratorError

MARKER = b"nvbench-frame"


def filled(headers, frame_bytes):
    """A frame of that size without FCS, marked."""
    room = frame_bytes - len(headers)
    return bytes(headers / Raw((MARKER + bytes(index % 251 for index in range(room)))[:room]))


def all_there(**counts):
    """Whether so many have come to each."""
    return lambda found: all(len(found[name]) >= count for name, count in counts.items())


def test_frames_of_all_kinds_between_virtual_functions(on_sriov):
    near, far = on_sriov.member("vm1"), on_sriov.member("vm2")
    ether = Ether(src=near.mac, dst=far.mac)
    frames = [
        filled(ether / IP(dst=far.address) / UDP(), 60),
        filled(ether / Dot1AD(vlan=200) / Dot1Q(vlan=10, prio=5) / IP() / UDP(), 304),
        filled(Ether(src=near.mac, dst=far.mac, type=0x88B5), 1514),
        filled(Ether(src=near.mac, dst=far.mac, type=80) / LLC() / SNAP(code=0x88B5), 94),
        filled(Ether(src=near.mac, dst="01:00:5e:00:00:01") / IP(dst="224.0.0.1") / UDP(), 96),
    ]
    (back,) = answer = [filled(Ether(src=far.mac, dst=near.mac, type=0x88B5), 100)]
    both = all_there(vm1=1, vm2=len(frames))
    found = on_sriov.exchange(
        "vm1", frames, ["vm1", "vm2"], seconds=0.3, marker=MARKER, then={"vm2": answer}, until=both
    )
    assert sorted(each.frame for each in found["vm2"]) == sorted(frames)
    assert back in [each.frame for each in found["vm1"]]  # beside its own multicast, which this NIC gives back
    assert far.host.run(["pgrep", "tcpdump"], check=False).stdout == ""


def test_many_frames_at_once_all_come(on_sriov):
    near, far = on_sriov.member("vm1"), on_sriov.member("vm2")
    frames = [filled(Ether(src=near.mac, dst=far.mac, type=0x88B5), 64 + number) for number in range(200)]
    found = on_sriov.exchange("vm1", frames, ["vm2"], seconds=0.1, marker=MARKER, until=all_there(vm2=len(frames)))
    assert [each.frame for each in found["vm2"]] == frames


def test_what_the_device_refuses(on_sriov):
    with pytest.raises(GeneratorError, match="frame 1 of 1520 bytes: Message too long"):
        on_sriov.exchange("vm1", [filled(Ether(), 60), filled(Ether(), 1520)], ["vm2"], seconds=0.1)
    assert on_sriov.member("vm2").host.run(["pgrep", "tcpdump"], check=False).stdout == ""
