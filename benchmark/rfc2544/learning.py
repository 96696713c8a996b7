"""Address learning (RFC 2889 sections 5.7 and 5.8): how many MAC addresses a switch learns, and how fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from pydantic import Field

from nvbench.abilities import Ability
from nvbench.rfc2544.scene import DISTURBED, FLAT_OUT, STEADY, Addresses, Expected, Scene, Section, names, repeated
from nvbench.tables import ResultRow
from nvbench.trial import AbortRule, Trial, Validity

LATE = 8
"""Addresses that may lack at a rate that passes: a frame or two may have been late, and was not sent."""


@dataclass(frozen=True)
class Learned:
    """What was found.

    Attributes:
        addresses: Addresses that the switch learned of those sent; None where trials were too disturbed.
        rate_pps: Highest rate at which it learned them all; 0 if at none.
        too_fast_pps: Lowest rate at which it did not; None if there was none.
        carriers: The trials that count.
        trials: All trials, in order.
    """

    addresses: int | None
    rate_pps: float
    too_fast_pps: float | None
    carriers: tuple[Trial, ...]
    trials: tuple[Trial, ...]


def learning(
    table: Addresses, asked: int, slow_pps: float, fast_pps: float, width: float, repeat_invalid: int = 3
) -> Learned:
    """Send frames from so many addresses slowly and count what is learned; then find how fast that many are.

    Each trial sends one frame from each address to a switch that was made to forget. The rate is found to `width` of
    it, between `slow_pps` and `fast_pps`.
    """
    trials: list[Trial] = []
    carriers: list[Trial] = []

    def learned(addresses: int, rate_pps: float) -> int:
        measure = table.measure(addresses)

        def ask() -> Trial:
            table.forget()
            return measure(rate_pps, addresses / rate_pps, AbortRule())

        found = repeated(ask, 1, repeat_invalid, FLAT_OUT)
        trials.extend(found.trials)
        if not found.carriers:
            raise _DisturbedError
        carriers.extend(found.carriers)
        return min(table.learned(), addresses)

    capacity: int | None = None
    low, high, too_fast = 0.0, fast_pps, None
    try:
        capacity = learned(asked, slow_pps)
        low = slow_pps if capacity else 0.0
        rate_pps = high
        while capacity and low < rate_pps and high > low * (1 + width):
            count = learned(capacity, rate_pps)
            if carriers[-1].validity is Validity.UNDERSENT:  # it sent fewer addresses than were to be learned
                high = STEADY * carriers[-1].offered_pps
            elif count >= capacity - LATE:
                low = rate_pps
            else:
                high = too_fast = rate_pps
            rate_pps = (low * high) ** 0.5 if too_fast else high
    except _DisturbedError:
        pass  # the answer is what was known until then
    return Learned(capacity, low, too_fast, tuple(carriers), tuple(trials))


class _DisturbedError(Exception):
    """A trial was disturbed more often than it may be repeated."""


class LearningTest(Section):
    """Address learning (RFC 2889): capacity of the address table (section 5.7) and learning rate (section 5.8).

    Attributes:
        addresses: Source addresses that are sent: more than the table holds, to know what it holds.
        slow_pps: A rate at which a switch learns whatever it has room for.
        width: How closely the learning rate is found, as a share of it.
    """

    name: ClassVar[str] = "learning"
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.PACED, Ability.ADDRESSES})
    addresses: int = Field(default=16384, ge=1, le=1_000_000)
    slow_pps: float = Field(default=5000.0, gt=0, le=1e9)
    width: float = Field(default=0.1, ge=0.001, le=1)

    def expected(self) -> Sequence[Expected]:
        """See `Section.expected`; ten halvings of the range of rates, most of them fast."""
        return [
            Expected(1, self.addresses / self.slow_pps, "that fills the address table"),
            Expected(10, self.addresses / self.slow_pps / 10, "that learn it faster"),
        ]

    def rows(self, scene: Scene) -> Iterator[ResultRow]:
        """See `Section.rows`: one."""
        if scene.addresses is None:
            yield scene.impossible(self.name, f"{scene.subject.datapath} learns no addresses")
            return
        fast_pps = max(scene.sendable_pps, self.slow_pps)
        table = scene.addresses
        with table.learning():
            found = learning(table, self.addresses, self.slow_pps, fast_pps, self.width, scene.repeat_invalid)
        yield replace(
            scene.row(self.name, found.trials, self._verdict(found)),
            addresses=found.addresses,
            learning_pps=found.rate_pps if found.addresses else None,
            lower_pps=found.rate_pps if found.addresses else None,
            upper_pps=found.too_fast_pps,
            trial_ids=names(found.carriers),
        )

    def _verdict(self, found: Learned) -> str:
        if found.addresses is None:
            return DISTURBED
        if not found.addresses:
            return "learns nothing"
        size = "at least this many addresses" if found.addresses >= self.addresses else "the table is full"
        speed = "as fast as frames come" if found.too_fast_pps is None else "learning limited"
        return f"{size}, {speed}"
