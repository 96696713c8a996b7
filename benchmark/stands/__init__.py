"""Stands: a switch with guests and a peer at its ports, and what checks can do to it."""

from nvbench.stands.check import BENCH, BRIDGE, OVS, PATHS, SRIOV, Check, Wish
from nvbench.stands.ground import Ground, Member
from nvbench.stands.levers import Levers, Way
from nvbench.stands.record import Record
from nvbench.stands.stand import GUESTS, PEER, Stand, stand

__all__ = [
    "BENCH",
    "BRIDGE",
    "GUESTS",
    "OVS",
    "PATHS",
    "PEER",
    "SRIOV",
    "Check",
    "Ground",
    "Levers",
    "Member",
    "Record",
    "Stand",
    "Way",
    "Wish",
    "stand",
]
