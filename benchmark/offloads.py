"""Offloads of an endpoint's device: what can be asked for, what a kernel makes of it, and what ethtool tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from nvbench.errors import RunBrokeError
from nvbench.tables import Setting

ETHTOOL_NAMES = {
    "tx_checksum": "tx-checksumming",
    "sg": "scatter-gather",
    "tso": "tcp-segmentation-offload",
    "gso": "generic-segmentation-offload",
    "gro": "generic-receive-offload",
}
ETHTOOL_WORDS = {"tx_checksum": "tx"}
"""The words of `ethtool -K` where they are others than ours."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A feature of a device.

    Attributes:
        active: Whether it is on.
        fixed: Whether it cannot be changed.
    """

    active: bool
    fixed: bool


Flags = Mapping[str, Flag]
"""ethtool's long name of a feature -> what it is."""


@dataclass(frozen=True, slots=True)
class Offloads:
    """The state that is asked for; None leaves one as it is found."""

    tx_checksum: bool | None = None
    sg: bool | None = None
    tso: bool | None = None
    gso: bool | None = None
    gro: bool | None = None

    @classmethod
    def found(cls, flags: Flags) -> Offloads:
        """The state that a device is in; None where it cannot be changed."""
        known = {name: flags.get(long) for name, long in ETHTOOL_NAMES.items()}
        return cls(**{name: flag.active for name, flag in known.items() if flag and not flag.fixed})

    def overlaid(self, asked: Offloads) -> Offloads:
        """This state, but for what is asked for."""
        return replace(self, **asked.asked())

    def settled(self) -> Offloads:
        """What a kernel makes of it: no scatter-gather without checksums, no segmentation without scatter-gather.

        See netdev_fix_features in the kernel's net/core/dev.c.
        """
        sg = False if self.tx_checksum is False else self.sg
        without = sg is False
        tso, gso = (False if without else asked for asked in (self.tso, self.gso))
        return Offloads(self.tx_checksum, sg, tso, gso, self.gro)

    def asked(self) -> dict[str, bool]:
        """Switch -> state, of those that are asked for."""
        states = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: state for name, state in states.items() if state is not None}

    def words(self) -> list[str]:
        """The words of `ethtool -K`, in an order in which each finds what it needs."""
        asked = self.asked().items()
        return [word for name, state in asked for word in (ETHTOOL_WORDS.get(name, name), "on" if state else "off")]

    def settings(self) -> tuple[Setting, ...]:
        """As a subject carries them."""
        return tuple(Setting(f"endpoints.{name}", _on(state)) for name, state in self.asked().items())


def parse_features(text: str) -> dict[str, Flag]:
    """The answer of `ethtool --json -k DEVICE`.

    Raises:
        RunBrokeError: It is not that.
    """
    try:
        (told,) = json.loads(text)
        return {
            name: Flag(bool(flag["active"]), bool(flag["fixed"])) for name, flag in told.items() if name != "ifname"
        }
    except (ValueError, KeyError, TypeError) as error:
        raise RunBrokeError(f"ethtool -k answered {text[:60]!r}") from error


def settings(flags: Flags) -> tuple[Setting, ...]:
    """Flags as they are stored; those that cannot be changed say so."""
    return tuple(
        Setting(name, _on(flag.active) + (" [fixed]" if flag.fixed else "")) for name, flag in sorted(flags.items())
    )


def refused(asked: Offloads, granted: Flags) -> list[str]:
    """What a device did not take, in words."""
    told = []
    for name, state in asked.settled().asked().items():
        flag = granted.get(ETHTOOL_NAMES[name])
        if flag is None:
            told.append(f"{name}: the device does not know it")
        elif flag.active != state:
            told.append(f"{name}: asked for {_on(state)}, it is {_on(flag.active)}{' [fixed]' if flag.fixed else ''}")
    return told


def side_effects(asked: Offloads, before: Flags, after: Flags) -> list[str]:
    """Flags that changed although nobody asked for it, in words."""
    wanted = asked.asked()
    return [
        f"{name}: {_on(before[long].active)} -> {_on(after[long].active)}"
        for name, long in ETHTOOL_NAMES.items()
        if name not in wanted and {long} <= before.keys() & after.keys() and before[long].active != after[long].active
    ]


def _on(state: bool) -> str:
    return "on" if state else "off"
