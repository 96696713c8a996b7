"""Packets that nobody answers, and the addresses of groups."""

from dataclasses import dataclass

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from nvbench.stands.frames import Batch
from nvbench.stands.packets import flow, group_mac, unanswered


@dataclass
class Someone:
    mac: str = "52:54:00:99:00:01"
    address: str = "10.99.0.1"


def test_a_flow_has_its_port_and_no_checksum():
    batch = Batch()
    packet = Ether(batch.add("", "52:54:00:99:00:02", Someone.mac, flow(Someone(), "10.99.0.2", 20_017)))
    assert (packet[UDP].sport, packet[UDP].dport, packet[UDP].chksum) == (20_017, 9, 0)
    assert packet[UDP].len == packet[IP].len - 20 == len(packet[UDP])
    assert batch.marker in bytes(packet[UDP].payload)


def test_what_no_stack_listens_to():
    frame = Batch().add("", "ff:ff:ff:ff:ff:ff", Someone.mac, unanswered)
    assert (frame[12:14].hex(), len(frame)) == ("88b5", 60)


@pytest.mark.parametrize(
    ("group", "mac"),
    [
        ("224.0.0.1", "01:00:5e:00:00:01"),
        ("225.0.0.2", "01:00:5e:00:00:02"),
        ("239.129.1.3", "01:00:5e:01:01:03"),
        ("ff02::1", "33:33:00:00:00:01"),
        ("ff15::1:2", "33:33:00:01:00:02"),
    ],
)
def test_the_address_of_a_group(group, mac):
    assert group_mac(group) == mac
