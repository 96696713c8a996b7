"""Have the two ends of a stream the same offloads?"""

from __future__ import annotations

from itertools import combinations

from nvbench.offloads import ETHTOOL_NAMES, ETHTOOL_WORDS, Flags, parse_features
from nvbench.stands import BRIDGE, GUESTS, OVS, SRIOV, Check, Member, Record, Stand

EFFECTS = {
    "tx_checksum": "its kernel sums up what the other end leaves to a device, and can segment nothing in a device then",
    "sg": "its kernel copies each frame into one piece, and cannot leave segmentation to a device",
    "tso": "its TCP is cut into frames by its own kernel: many times fewer bytes a second through a software switch",
    "gso": "its TCP is cut into frames before the network stack instead of after it: more work for each byte",
    "gro": "its kernel takes in each frame by itself: more work for each byte that it receives",
}
"""What an end that lacks an offload is in for."""


def act(stand: Stand, record: Record) -> None:
    """Guests have to be alike; where the peer is not, that is told, as it is another kind of end."""
    flags: dict[str, Flags] = {}
    for member in stand.members:
        told = member.host.run(["ethtool", "--json", "-k", member.device]).stdout
        flags[member.name] = parse_features(told)
    names = list(flags)
    rows = [(name, *(_cell(flags[member], long) for member in names)) for name, long in ETHTOOL_NAMES.items()]
    record.draw("Offloads", ("", *names), rows)
    for one, other in combinations(stand.members, 2):
        unlike = differing(flags[one.name], flags[other.name])
        if {one.name, other.name} <= {*GUESTS}:
            _judge(record, one, other, flags, unlike)
        elif unlike:
            record.advise(
                f"{one.name} and {other.name} differ in {', '.join(unlike)}: streams between them measure two kinds of "
                f"ends at once; {_effects(one, other, flags, unlike)}"
            )
    cut = [name for name in names if not _on(flags[name], ETHTOOL_NAMES["tso"])]
    if cut and len(cut) == len(names):
        record.advise(
            "no end has TSO here: TCP goes frame by frame, and cannot be compared with a path whose ends have it "
            "(on OVS-DPDK: userspace-tso-enable)"
        )


def _judge(record: Record, one: Member, other: Member, flags: dict[str, Flags], unlike: list[str]) -> None:
    pair = f"{one.name} and {other.name}"
    if not unlike:
        quote = ", ".join(f"{name} {_cell(flags[one.name], long)}" for name, long in ETHTOOL_NAMES.items())
        record.observe(True, f"{pair} have the same offloads", quote)
        return
    quote = "; ".join(
        f"{name}: {_cell(flags[one.name], ETHTOOL_NAMES[name])} at {one.name}, "
        f"{_cell(flags[other.name], ETHTOOL_NAMES[name])} at {other.name}"
        for name in unlike
    )
    told = f"{pair} differ in {', '.join(unlike)}: {_effects(one, other, flags, unlike)}"
    record.observe(False, told, quote)
    words = [word for name in unlike for word in (ETHTOOL_WORDS.get(name, name), "on")]
    for end in (one, other):
        if any(not _on(flags[end.name], ETHTOOL_NAMES[name]) for name in unlike):
            record.advise(f"in {end.name}: ethtool -K {end.device} {' '.join(words)}; or switch the other end's off")


def differing(one: Flags, other: Flags) -> list[str]:
    """The offloads that one end has on and the other has not."""
    return [name for name, long in ETHTOOL_NAMES.items() if _on(one, long) != _on(other, long)]


def _effects(one: Member, other: Member, flags: dict[str, Flags], unlike: list[str]) -> str:
    """What the first of them in their order is likely to do: the others follow from it."""
    name = unlike[0] if "tso" not in unlike else "tso"
    lacking = one if not _on(flags[one.name], ETHTOOL_NAMES[name]) else other
    return f"{lacking.name} lacks {name}: {EFFECTS[name]}"


def _on(flags: Flags, long: str) -> bool:
    return long in flags and flags[long].active


def _cell(flags: Flags, long: str) -> str:
    if long not in flags:
        return "not known"
    return ("on" if flags[long].active else "off") + (" [fixed]" if flags[long].fixed else "")


OFFLOAD_MISMATCH = Check(
    name="offload_mismatch",
    title="both ends of a stream have the same offloads",
    cases={BRIDGE: "", OVS: "", SRIOV: ""},
    act=act,
    tags=("setup", "offloads"),
)
