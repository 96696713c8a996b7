"""Queues: how many there are, what falls on each, and how much of that chance explains."""

import random
from types import SimpleNamespace

import pytest

from nvbench.checks.multi_queue import (
    bounds,
    flows_for,
    parse_channels,
    parse_classes,
    parse_interrupts,
    sent_by_queue,
)
from nvbench.hosts import Completed

VIRTIO = """Channel parameters for eth1:
Pre-set maximums:
RX:\t\tn/a
TX:\t\tn/a
Other:\t\tn/a
Combined:\t2
Current hardware settings:
RX:\t\tn/a
TX:\t\tn/a
Other:\t\tn/a
Combined:\t1
"""
VETH = """Channel parameters for eth0:
Pre-set maximums:
RX:\t\t2
TX:\t\t2
Other:\t\tn/a
Combined:\tn/a
Current hardware settings:
RX:\t\t2
TX:\t\t1
Other:\t\tn/a
Combined:\tn/a
"""
CLASSES = """class mq :1 root
 Sent 7440 bytes 124 pkt (dropped 0, overlimits 0 requeues 0)
 backlog 0b 0p requeues 0
class mq :a root
 Sent 60 bytes 1 pkt (dropped 0, overlimits 0 requeues 0)
 backlog 0b 0p requeues 0
class mq 8001:2 root leaf 8003:
 Sent 7962 bytes 133 pkt (dropped 0, overlimits 0 requeues 0)
 backlog 0b 0p requeues 0
"""
INTERRUPTS = """           CPU0       CPU1
 33:        116          0   PCI-MSI 16385-edge      virtio0-input.0
 35:          0          0   PCI-MSI 524288-edge      virtio1-config
 36:          1          2   PCI-MSI 524289-edge      virtio1-input.0
 37:         84          1   PCI-MSI 524290-edge      virtio1-output.0
 38:          2          0   PCI-MSI 524291-edge      virtio1-input.1
 39:         89          0   PCI-MSI 524292-edge      virtio1-output.1
NMI:          0          0   Non-maskable interrupts
ERR:          0
"""


@pytest.mark.parametrize(("text", "queues"), [(VIRTIO, 1), (VETH, 1), ("netlink error: Operation not supported\n", 0)])
def test_channels_in_use(text, queues):
    assert parse_channels(text) == queues


def test_packets_of_each_queue_in_their_order():
    assert parse_classes(CLASSES) == [124, 133, 1]
    assert parse_classes("") == []


class TwoOfThree:
    """A host whose device has allocated three queues, and uses two."""

    def run(self, argv):
        told = CLASSES if argv[0] == "tc" else "rx-0\nrx-1\ntx-0\ntx-1\n"
        return Completed(tuple(argv), 0, told, "", 0.0)


def test_queues_that_are_not_in_use_are_not_looked_at():
    assert sent_by_queue(SimpleNamespace(host=TwoOfThree(), device="eth0")) == [124, 133]


def test_interrupts_of_one_device():
    assert parse_interrupts(INTERRUPTS, "virtio1") == {"interrupts, input": [3, 2], "interrupts, output": [85, 89]}
    assert parse_interrupts(INTERRUPTS, "device") == {}


@pytest.mark.parametrize(("flows", "queues", "expected"), [(256, 2, (96, 160)), (256, 4, (36, 92))])
def test_bounds(flows, queues, expected):
    assert bounds(flows, queues) == expected


@pytest.mark.parametrize("queues", [2, 4, 48, 256])
def test_a_sound_hash_leaves_no_queue_empty(queues):
    assert bounds(flows_for(queues), queues)[0] >= 32
    assert flows_for(queues) < 40_000  # ports of UDP


def test_a_sound_hash_is_within_bounds():
    dice = random.Random(7)  # noqa: S311 - no secret
    low, high = bounds(flows_for(2), 2)
    shares = [sum(dice.random() < 0.5 for _ in range(flows_for(2))) for _ in range(500)]
    assert all(low <= share <= high for share in shares)
