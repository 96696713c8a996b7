"""What `ip link show` tells of the virtual functions of a NIC, in each of its forms."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nvbench.tables import Reading


@dataclass(frozen=True, slots=True)
class VirtualFunction:
    """A virtual function, as its physical function tells of it.

    Attributes:
        number: Its number.
        mac: Its address; all zero where the driver keeps it to itself.
        vlan: Its VLAN; 0 for none.
        qos: Priority of that VLAN.
        vlan_protocol: `802.1q` or `802.1ad`.
        max_tx_rate: Limit in Mbit/s; 0 for none.
        min_tx_rate: What it is promised, in Mbit/s; 0 for nothing.
        spoofchk: Whether frames from other addresses than its own are dropped; None where nothing is told of it.
        trust: Whether it may do what concerns others; None where nothing is told of it.
        link_state: `auto`, `enable`, `disable`; empty where nothing is told of it.
    """

    number: int
    mac: str
    vlan: int = 0
    qos: int = 0
    vlan_protocol: str = "802.1q"
    max_tx_rate: int = 0
    min_tx_rate: int = 0
    spoofchk: bool | None = None
    trust: bool | None = None
    link_state: str = ""


def parse_vfs(text: str) -> list[VirtualFunction]:
    """`ip -j -d link show dev PF`, or without `-j`, as iproute2 prints it or printed it before 5.0."""
    if text.lstrip().startswith("["):
        return [_from_json(vf) for row in json.loads(text) for vf in row.get("vfinfo_list", [])]
    return [_from_text(int(found[1]), found[2], found[3]) for found in _VF.finditer(text)]


def _from_json(told: dict[str, Any]) -> VirtualFunction:
    vlan: dict[str, Any] = (told.get("vlan_list") or [told])[0]  # no VLAN is a list of an empty one
    rate: dict[str, int] = told.get("rate") or {"max_tx": told.get("tx_rate", 0)}
    return VirtualFunction(
        number=told["vf"],
        mac=told.get("address") or told.get("mac", ""),
        vlan=vlan.get("vlan", 0),
        qos=vlan.get("qos", 0),
        vlan_protocol=vlan.get("protocol", "802.1q").lower(),
        max_tx_rate=rate.get("max_tx", 0),
        min_tx_rate=rate.get("min_tx", 0),
        spoofchk=told.get("spoofchk"),
        trust=told.get("trust"),
        link_state=told.get("link_state", ""),
    )


_VF = re.compile(r"^\s*vf (\d+)\s+(?:MAC|link/\w+) ([0-9a-f:]{17})(.*)$", re.MULTILINE)
_OPTION = re.compile(
    r", (?:vlan (?P<vlan>\d+)|qos (?P<qos>\d+)|vlan protocol (?P<protocol>[\w.]+)|tx rate (?P<rate>\d+) \(Mbps\)"
    r"|max_tx_rate (?P<max>\d+)Mbps|min_tx_rate (?P<min>\d+)Mbps|spoof checking (?P<spoof>on|off)"
    r"|link-state (?P<state>\w+)|trust (?P<trust>on|off))"
)


def _from_text(number: int, mac: str, options: str) -> VirtualFunction:
    found = {name: value for option in _OPTION.finditer(options) for name, value in option.groupdict().items() if value}
    return VirtualFunction(
        number=number,
        mac=mac,
        vlan=int(found.get("vlan", 0)),
        qos=int(found.get("qos", 0)),
        vlan_protocol=found.get("protocol", "802.1q").lower(),
        max_tx_rate=int(found.get("max") or found.get("rate") or 0),
        min_tx_rate=int(found.get("min", 0)),
        spoofchk=_switch(found.get("spoof")),
        trust=_switch(found.get("trust")),
        link_state=found.get("state", ""),
    )


def _switch(word: str | None) -> bool | None:
    return None if word is None else word == "on"


def vf_readings(text: str) -> Iterator[Reading]:
    """`ip -s -j link show dev PF`: the counters of its virtual functions, as far as its driver keeps any."""
    for row in json.loads(text or "[]"):
        for vf in row.get("vfinfo_list", []):
            for side, counters in vf.get("stats", {}).items():
                for name, value in counters.items():
                    counter = name.removeprefix(f"{side}_")  # tx says `tx_bytes` where rx says `bytes`
                    unit = "bytes" if counter == "bytes" else "frames"
                    yield Reading(f"vf {vf['vf']}", f"{side}_{counter}", float(value), unit)
