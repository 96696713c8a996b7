"""Exact frames: what they are to others, how they are told apart, and what came of them, in words."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, LLC, STP, Dot1AD, Dot1Q, Ether

from nvbench.checks.isolation import leaks
from nvbench.checks.vlan_tags import tagged, without_priority, without_priority_tag
from nvbench.checks.vlan_translation import batch_of, expected
from nvbench.checks.vlan_transparency import inbound, outbound
from nvbench.generators.frames import Captured
from nvbench.stands.frames import (
    BROADCAST,
    S_TAG,
    Batch,
    every_kind,
    fate,
    opening,
    popped,
    pushed,
    tag,
    tagging,
    udp,
    untagged,
)


class Host(NamedTuple):
    mac: str
    address: str


ONE, OTHER = Host("52:54:00:99:00:01", "10.99.0.1"), Host("52:54:00:99:00:02", "10.99.0.2")


def of_kind(name: str) -> bytes:
    batch = every_kind(ONE, OTHER)
    return batch.frames[batch.names.index(name)]


def with_right_checksums(frame: bytes) -> bytes:
    packet = Ether(frame)
    for layer in (IP, UDP):
        if layer in packet:
            del packet[layer].chksum
    return bytes(packet)


@pytest.mark.parametrize(
    "name", ["unicast", "broadcast", "multicast 224.0.0.1", "IPv6 to ff02::1", "61 bytes", "tag 10"]
)
def test_checksums_and_lengths_are_right_so_that_nobody_mends_them(name) -> None:
    frame = of_kind(name)
    assert with_right_checksums(frame) == frame


def test_every_kind_is_what_it_says() -> None:
    assert Ether(of_kind("unicast"))[IP].dst == "10.99.0.2"
    assert Ether(of_kind("unicast")).src == "52:54:00:99:00:01"
    assert Ether(of_kind("from the other's address")).src == "52:54:00:99:00:02"
    assert Ether(of_kind("ARP request"))[ARP].pdst == "10.99.0.2"
    assert Ether(of_kind("IPv6 to ff02::1"))[IPv6].src == "fe80::5054:ff:fe99:1"
    spanning = Ether(of_kind("spanning tree"))
    assert spanning[LLC].dsap == 0x42
    assert spanning[STP].rootid == 0xFFFF
    assert Ether(of_kind("LLDP")).type == 0x88CC
    assert Ether(of_kind("802.1ad tag 100"))[Dot1AD].vlan == 100
    both = Ether(of_kind("tags 100 and 10"))
    assert (both[Dot1AD].vlan, both[Dot1Q].vlan) == (100, 10)


def test_sizes_are_those_asked_for_and_never_too_short_without_tags() -> None:
    batch = every_kind(ONE, OTHER)
    sizes = dict(zip(batch.names, map(len, batch.frames), strict=True))
    assert (sizes["unicast"], sizes["61 bytes"], sizes["1514 bytes"]) == (60, 61, 1514)
    assert (sizes["tag 10"], sizes["tags 100 and 10"]) == (64, 68)
    assert min(len(untagged(frame)) for frame in batch.frames) == 60


def test_frames_are_known_again_among_others_and_behind_whatever_tags() -> None:
    batch = Batch()
    first = batch.add("first", BROADCAST, ONE.mac, udp(ONE, OTHER.address))
    second = batch.add("second", BROADCAST, ONE.mac, udp(ONE, OTHER.address))
    beside = Batch(batch)
    stray = beside.add("beside", BROADCAST, OTHER.mac, udp(OTHER, ONE.address))
    foreign = Batch().add("foreign", BROADCAST, ONE.mac, udp(ONE, OTHER.address))
    taken = [Captured(0.0, frame) for frame in (pushed(second, tag(7)), stray, first, foreign, first)]
    assert batch.came(taken) == [[first, first], [pushed(second, tag(7))]]
    assert beside.came(taken) == [[stray]]
    assert batch.marker == beside.marker


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda frame: [frame], ""),
        (lambda _frame: [], "does not arrive"),
        (lambda frame: [frame, frame], "arrives 2 times"),
        (lambda frame: [pushed(frame, tag(10, 5))], "arrives with 802.1Q tag 10 priority 5, not untagged"),
        (lambda frame: [frame[:-1] + b"\0"], "byte 59: 0x43 -> 0x00"),
    ],
)
def test_what_came_of_a_frame_in_words(change, told) -> None:
    frame = Batch().add("", BROADCAST, ONE.mac, udp(ONE, OTHER.address))
    assert fate(frame, change(frame)) == told


def test_tags_in_words_and_digits() -> None:
    plain = of_kind("unicast")
    frame = pushed(plain, tag(100, tpid=S_TAG), tag(10, 3, drop_eligible=True))
    assert tagging(frame) == "802.1ad tag 100 + 802.1Q tag 10 priority 3 drop eligible"
    assert opening(frame) == "525400990002 525400990001 88a8 0064 8100 700a 0800"
    assert popped(popped(frame)) == untagged(frame) == plain


def test_a_leak_is_any_frame_at_a_guest_and_one_without_its_tenants_vlan_at_a_trunk() -> None:
    batch = every_kind(ONE, OTHER)
    in_vlan = [[pushed(frame, tag(100))] for frame in batch.frames]
    assert len(leaks(batch, in_vlan)) == len(batch.frames)
    assert leaks(batch, in_vlan, trunk=True) == []
    in_vlan[0] = [batch.frames[0]]
    assert leaks(batch, in_vlan, trunk=True) == [("unicast", batch.frames[0])]


def test_a_priority_tag_may_be_taken_off_and_no_other() -> None:
    batch = tagged(ONE)
    bare = [[untagged(frame)] for frame in batch.frames]
    assert [batch.names[number] for number in without_priority_tag(batch, bare)] == [
        "802.1Q tag 0",
        "802.1Q tag 0 priority 5",
    ]
    assert without_priority_tag(batch, [[frame] for frame in batch.frames]) == {}


def test_a_lost_priority_is_told_from_a_lost_tag() -> None:
    frame = of_kind("unicast")
    sent = pushed(frame, tag(10, 5, drop_eligible=True))
    assert without_priority(sent, [pushed(frame, tag(10))])
    assert not without_priority(sent, [sent])
    assert not without_priority(sent, [frame])
    assert not without_priority(frame, [frame])


def test_a_service_carries_what_the_customer_sends_and_another_does_not() -> None:
    out = outbound(ONE, OTHER)
    assert out.names == ["untagged", "802.1Q tag 10", "802.1Q tag 10 priority 5"]
    assert inbound(OTHER, ONE, S_TAG, out).names[1:] == [
        "802.1ad tag 100 + 802.1Q tag 10",
        "802.1ad tag 100 + 802.1Q tag 10 priority 5",
        "802.1ad tag 101 + 802.1Q tag 10",
    ]


def test_a_translated_frame_keeps_all_but_its_vlan() -> None:
    batch, wanted = batch_of(ONE, OTHER, expected(10, 20))
    assert [tagging(wanted[number]) if number in wanted else None for number in range(6)] == [
        "802.1Q tag 20",
        "802.1Q tag 20 priority 5",
        "802.1Q tag 20 + 802.1Q tag 7",
        None,
        "802.1Q tag 30",
        "untagged",
    ]
    assert untagged(wanted[0]) == untagged(batch.frames[0])
