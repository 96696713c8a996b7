"""Exact frames through the kernel's bridge, to the byte: tags, sizes, groups, and a bridge that takes a tag off."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from nvbench.cabling import make_namespace, make_veth
from nvbench.errors import GeneratorError
from nvbench.generators.frames import Captured, exchange
from nvbench.generators.frames.changes import compare
from nvbench.hosts import LocalHost, NamespaceHost
from nvbench.journal import locked
from tests.lab.conftest import leaves_no_trace
from tests.lab.waiting import wait_until

HOST = LocalHost("local")
OWN = f"frames{os.getpid()}"
FORWARDING = "3"
"""Of a bridge's port, in the words of <linux/if_bridge.h>."""

MARKER = b"nvbench-frame"
ETHER = Ether(src="02:00:00:00:01:00", dst="02:00:00:00:02:00")
DATAGRAM = IP(src="198.18.0.1", dst="198.19.0.1") / UDP(sport=1024, dport=7, chksum=0)


@dataclass(frozen=True)
class Bench:
    """A bridge with vlan_filtering off, between two namespaces with one device each: e0 and e1."""

    switch: NamespaceHost
    ends: tuple[NamespaceHost, NamespaceHost]
    folder: str

    def through(self, *frames: bytes, marker: bytes = MARKER, lost: int = 0) -> list[Captured]:
        """What comes out at the other end; but for so many all have to."""
        captures = {"far": (self.ends[1], "e1")}
        sends = [(self.ends[0], "e0", frames)]
        expected = len(frames) - lost
        return exchange(
            sends, captures, 0.2, folder=self.folder, marker=marker, until=lambda found: len(found["far"]) >= expected
        )["far"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder: Path = tmp_path_factory.mktemp("frames")
    with leaves_no_trace(), locked(OWN, {HOST.name: HOST}) as journal:
        switch = make_namespace(HOST, journal, f"{OWN}s")
        ends = (make_namespace(HOST, journal, f"{OWN}a"), make_namespace(HOST, journal, f"{OWN}b"))
        switch.run(["ip", "link", "add", "bridge0", "type", "bridge", "mcast_snooping", "0"])
        for index, end in enumerate(ends):
            make_veth(switch, f"p{index}", end, f"e{index}")
            switch.run(["ip", "link", "set", f"p{index}", "mtu", "9000", "master", "bridge0", "up"])
            end.run(["ip", "link", "set", f"e{index}", "mtu", "9000", "up"])
        switch.run(["ip", "link", "set", "bridge0", "mtu", "9000", "up"])
        for index in range(len(ends)):
            state = ["cat", f"/sys/class/net/p{index}/brport/state"]
            wait_until(lambda state=state: switch.run(state).stdout.strip() == FORWARDING)
        yield Bench(switch, ends, str(folder))


def filled(headers: Ether, frame_bytes: int) -> bytes:
    """A frame of that size with FCS, which is not in it, marked and filled with bytes that all differ from their
    neighbours.
    """
    room = frame_bytes - 4 - len(headers)
    return bytes(headers / Raw((MARKER + bytes(index % 251 for index in range(room)))[:room]))


@pytest.mark.parametrize(
    "headers",
    [
        ETHER / DATAGRAM,
        ETHER / Dot1Q(vlan=100, prio=5) / DATAGRAM,
        ETHER / Dot1AD(vlan=200) / Dot1Q(vlan=10) / DATAGRAM,
        ETHER / Dot1Q(vlan=100) / Dot1Q(vlan=10) / DATAGRAM,
        Ether(src=ETHER.src, dst="01:00:5e:00:00:01") / IP(src="198.18.0.1", dst="224.0.0.1") / UDP(chksum=0),
        Ether(src=ETHER.src, dst="ff:ff:ff:ff:ff:ff", type=0x88B5),
    ],
    ids=["plain", "one tag", "802.1ad and 802.1Q", "802.1Q twice", "multicast", "broadcast"],
)
def test_frames_of_all_kinds_come_through_as_they_went(bench, headers) -> None:
    frames = [filled(headers, size) for size in (128, 1518, 1522, 9018)]
    got = bench.through(*frames)
    assert [compare(sent, came.frame) for sent, came in zip(frames, got, strict=True)] == [[]] * len(frames)
    assert [came.at_s for came in got] == sorted(came.at_s for came in got)


def test_frames_below_the_minimum_come_as_they_are(bench) -> None:
    """A cable of the kernel pads nothing; a NIC would, and the comparison says so."""
    frames = [bytes(Ether(src=ETHER.src, dst=ETHER.dst, type=0x88B5)).ljust(size, b"\x5a") for size in range(14, 61)]
    got = bench.through(*frames, marker=frames[0][:14])
    assert [len(came.frame) for came in got] == list(range(14, 61))
    assert [came.frame for came in got] == frames


def test_a_bridge_that_takes_the_tag_off_is_caught(bench) -> None:
    tagged = filled(ETHER / Dot1Q(vlan=100) / DATAGRAM, 128)
    filtering = ["ip", "link", "set", "bridge0", "type", "bridge", "vlan_filtering"]
    if not bench.switch.run([*filtering, "1"], check=False).ok:
        pytest.skip("this kernel's bridge knows no VLANs (CONFIG_BRIDGE_VLAN_FILTERING)")
    try:
        for port, how in (("p0", []), ("p1", ["untagged"])):
            bench.switch.run(["bridge", "vlan", "add", "dev", port, "vid", "100", *how])
        (came,) = bench.through(tagged)
        assert compare(tagged, came.frame) == ["802.1Q tag 100 was removed"]
        bench.switch.run(["bridge", "vlan", "del", "dev", "p1", "vid", "100"])
        assert bench.through(tagged, lost=1) == []
    finally:
        bench.switch.run([*filtering, "0"])


def test_frames_of_others_are_not_taken_and_own_ones_not_where_they_leave(bench) -> None:
    captures = {"near": (bench.ends[0], "e0"), "far": (bench.ends[1], "e1")}
    strange = filled(ETHER / DATAGRAM, 128).replace(MARKER, bytes(len(MARKER)))
    sends = [(bench.ends[0], "e0", [strange, filled(ETHER / DATAGRAM, 256)])]
    found = exchange(sends, captures, 0.5, folder=bench.folder, marker=MARKER)
    assert found["near"] == []
    assert [len(came.frame) for came in found["far"]] == [252]


def test_a_frame_that_is_too_long_is_told(bench) -> None:
    with pytest.raises(GeneratorError, match="frame 0 of 9100 bytes: Message too long"):
        bench.through(filled(ETHER / DATAGRAM, 9104))
