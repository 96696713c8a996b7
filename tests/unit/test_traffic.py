"""Frames: sizes that a genome spells, and templates whose headers are right for each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvbench.errors import UsageError
from nvbench.traffic import Direction, FlowField, Traffic, genome_sizes, templates

GENOMES = st.text("abcdefghi", min_size=1, max_size=40)


def test_a_genome_spells_sizes() -> None:
    assert genome_sizes("abcdefghi") == (64, 128, 256, 512, 1024, 1280, 1518, 2112, 9000)
    assert genome_sizes("aaafg") == (64, 64, 64, 1280, 1518)  # the example of RFC 6985 section 4


def test_mixed_traffic() -> None:
    traffic = Traffic.mixed("aaaaaaabbbbc", flows=10, direction=Direction.BIDIRECTIONAL)
    assert traffic.sizes == (64,) * 7 + (128,) * 4 + (256,)
    assert traffic.average_frame_bytes == 1216 / 12
    assert traffic.frame_bytes == 101
    assert traffic.largest_frame_bytes == 256
    assert (traffic.flows, traffic.directions, traffic.imix) == (10, 2, "aaaaaaabbbbc")


def test_traffic_of_one_size() -> None:
    traffic = Traffic(512)
    assert traffic.sizes == (512,)
    assert traffic.average_frame_bytes == traffic.largest_frame_bytes == 512


@pytest.mark.parametrize(
    ("genome", "what"),
    [
        ("", "1 to 1024 letters, this one has 0"),
        ("a" * 1025, "this one has 1025"),
        ("aajz", "'j' is no frame size that can be sent"),
        ("az", "'z' is no frame size that can be sent"),
        ("A", r"'A' is no frame size that can be sent \(a=64, b=128"),
    ],
)
def test_what_is_no_genome(genome: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        Traffic.mixed(genome)


@given(GENOMES)
def test_sizes_add_up_to_the_average(genome: str) -> None:
    traffic = Traffic.mixed(genome)
    assert len(traffic.sizes) == len(genome)
    assert sum(traffic.sizes) == pytest.approx(traffic.average_frame_bytes * len(genome))
    assert abs(traffic.frame_bytes - traffic.average_frame_bytes) <= 0.5
    assert min(traffic.sizes) >= traffic.smallest_frame_bytes


@pytest.mark.parametrize("vlan", [None, 7])
def test_templates_follow_the_sizes(vlan: int | None) -> None:
    scapy = pytest.importorskip("scapy.all")
    traffic = Traffic.mixed("gabag", vlan=vlan, flows=3, vary=(FlowField.IP_SRC,), direction=Direction.BIDIRECTIONAL)
    for template in templates(traffic):
        assert tuple(len(template.frames[number]) + 4 for number in template.sequence) == traffic.sizes
        for frame in template.frames:
            packet = scapy.Ether(frame)
            tag = 0 if vlan is None else 4
            assert packet[scapy.IP].len == len(frame) - 14 - tag
            assert packet[scapy.UDP].len == packet[scapy.IP].len - 20
            assert template.ipv4_offset == 14 + tag
            assert template.stamp_offset == 42 + tag
            checksum = packet[scapy.IP].chksum
            del packet[scapy.IP].chksum
            assert scapy.Ether(bytes(packet))[scapy.IP].chksum == checksum


def test_one_size_is_one_template() -> None:
    (template,) = templates(Traffic(1518))
    assert [len(frame) for frame in template.frames] == [1514]
    assert template.sequence == (0,)
