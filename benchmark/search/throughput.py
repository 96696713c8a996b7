"""A search for the highest rates that meet loss goals: few trials, early ends, and no rate that has not passed.

A look at the device says where each goal should be met. The goal that allows most loss is settled first, as what its
full-length trial loses tells most of the others. A goal is settled by a full-length trial that passes just below where
it should be met, and a short one just above that fails. What surprises is looked at again: a loss that a short trial
at the same load does not repeat is tried again, a device that passes more than it should is looked at anew.
Every trial ends as soon as it can no longer pass; invalid ones are repeated, and never move a bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from nvbench.search.base import Answer, Goal, Limits, Outcome
from nvbench.search.ledger import Ledger, SpentError
from nvbench.search.look import Look
from nvbench.search.quest import Quest
from nvbench.trial import Counters, Measure, Trial, Validity

MARGIN = 0.2
"""Of the width: how far below the expected answer it is asked for."""

NOISE_MARGIN = 0.5
"""The same for a noisy device and a goal that allows loss."""

ABOVE = 0.9
"""Of the width: how far above an answer has to fail."""

LEAP = 0.25
"""Longest step down, as a share of the load."""

REFUTE_TRIES = 4
RETRIES = 4
"""Further full-length trials at a load where the first lost by chance."""

NEAR = 4
"""Widths between loads that are near each other."""

BACKGROUND, BACKGROUND_STAYS = 1e-3, 0.3
"""Highest ratio of a loss that may be there at any load, and the share of it that must be seen at a lower one."""


def search(measure: Measure, goals: Sequence[Goal], limits: Limits) -> Outcome:
    """Find for each goal the highest load that meets it.

    Args:
        measure: Makes a trial: offers a load (frames per second and direction) for some seconds, and counts.
        goals: What to find; trials are shared among them.
        limits: Where to look, and for how long.

    Returns:
        An answer a goal. Each rate has passed a full-length trial at that rate, and no full-length trial at that rate
        or below failed after it; where no load passed, the answer has no carrier.
    """
    return _Search(measure, goals, limits).run()


def _again(first: Trial, second: Trial) -> bool:
    """Whether a trial failed as another did: as soon, and by as much."""
    return abs(first.elapsed_s - second.elapsed_s) <= max(0.1, 0.1 * second.elapsed_s)


def _stricter(first: Quest, second: Quest) -> bool:
    return first.goal.loss_ratio < second.goal.loss_ratio


class _Search:
    def __init__(self, measure: Measure, goals: Sequence[Goal], limits: Limits) -> None:
        self._ledger = Ledger(measure, limits)
        self._limits = limits
        self._quests = [Quest(goal, self._ledger.trials) for goal in goals]
        self._look = Look(self._ledger, goals, limits)
        self._spent = ""

    def run(self) -> Outcome:
        try:
            self._look.overload()
            for quest in self._order():
                self._settle(quest)
            while again := next((quest for quest in self._quests if quest.contradicted), None):
                again.passes = []
                self._settle(again)
        except SpentError as spent:
            self._spent = str(spent)
        answers = tuple(self._answer(quest) for quest in self._quests)
        return Outcome(answers, tuple(self._ledger.trials))

    def _order(self) -> list[Quest]:
        """Most loss first; but least loss first where the budget does not reach for all, as such a pass serves all."""
        enough = self._ledger.affords(sum(quest.goal.final_s for quest in self._quests))
        return sorted(self._quests, key=lambda quest: quest.goal.loss_ratio, reverse=enough)

    def _answer(self, quest: Quest) -> Answer:
        if quest.contradicted:
            quest.passes = []
        # What meets a goal with less loss meets this one.
        if not quest.passes or any(other.low > quest.low for other in self._quests if _stricter(other, quest)):
            quest.adopt()
        return quest.answer(self._look, self._ledger, self._limits, self._spent)

    # -- settling a goal ---------------------------------------------------------------------------------------

    def _settle(self, quest: Quest) -> None:
        """Bracket a goal by a full-length pass and a fail within its width."""
        load = self._first(quest)
        step = max(quest.goal.width, self._look.noise) / (4 if self._look.noise else 2)
        while not (quest.low and quest.closed(self._ledger.top_pps)):
            if self._passes(quest, load):
                if load >= self._ledger.top_pps or self._settled(quest):
                    return
                load = self._higher(quest, step)
            elif load <= self._limits.bottom_pps:
                quest.nothing_passes = any(
                    quest.goal.failed(trial) for trial in self._ledger.trials if trial.intended_pps <= load
                )
                return
            else:
                load = self._lower(quest, load, step)
            step = min((4 if self._ledger.hurry and not quest.low else 2) * step, LEAP)

    def _settled(self, quest: Quest) -> bool:
        """Whether there is nothing more to find above a pass."""
        return not self._disproved(quest) if quest.background else self._refuted(quest)

    def _first(self, quest: Quest) -> float:
        """Where the goal should just pass."""
        expected = self._expected(quest)
        # A noisy device passes far up now and then.
        quest.adopt(expected if self._look.noise and expected is not None else math.inf)
        return self._ledger.top_pps if expected is None else self._within(expected)

    def _expected(self, quest: Quest) -> float | None:
        found = self._look.knee(quest.goal) if self._look.saturated else None
        return None if found is None else found * (1 - self._margin(quest.goal))

    def _margin(self, goal: Goal) -> float:
        """How far below the load at which a goal is just met it is asked for, as a share."""
        if not goal.loss_ratio:
            return MARGIN * goal.width
        # A little more, so that this trial's loss can be what a goal without loss fails by just above its answer; and
        # of a noisy device more again, as a trial that may lose some takes long to fail.
        return max(1.1 * MARGIN * goal.width, min(NOISE_MARGIN * goal.width, 0.8 * self._look.noise))

    def _within(self, load: float) -> float:
        return min(self._ledger.top_pps, max(self._limits.bottom_pps, load))

    # -- deciding on a load ------------------------------------------------------------------------------------

    def _passes(self, quest: Quest, load: float) -> bool:
        """Whether a load meets the goal at full length, as strictly as the goal asks."""
        goal = quest.goal
        needed, allowed = math.ceil(goal.trials * (1 - goal.exceed_ratio)), goal.trials * goal.exceed_ratio
        passes: list[Trial] = []
        fails: list[Trial] = []
        while True:
            trial = self._full(goal, load)
            if not trial.valid:
                if trial.validity is Validity.UNDERSENT:
                    self._ledger.sendable(trial)
                else:
                    quest.bar(trial)
                return False
            (passes if goal.passed(trial) else fails).append(trial)
            if len(passes) >= needed:
                quest.meet(passes)
                return True
            if len(fails) > allowed:
                if self._ledger.hurry or len(fails) > allowed + RETRIES or not self._by_chance(goal, fails):
                    return False
                passes = []

    def _full(self, goal: Goal, load: float) -> Trial:
        abort = goal.abort(load, goal.final_s, self._limits.directions)
        return self._ledger.ask(load, goal.final_s, abort, patient=True)

    def _by_chance(self, goal: Goal, fails: list[Trial]) -> bool:
        """Whether a load failed by something that is not there all the time: what comes again is there."""
        if self._look.noise:
            return goal.loss_ratio == 0 or len(fails) <= RETRIES / 2  # one that may lose takes long to fail
        last = fails[-1]
        if len(fails) > 1:
            return not _again(fails[-2], last)
        if goal.loss_ratio:
            if self._look.buffer or not goal.passed(self._shorter(goal, last.intended_pps, self._limits.short_s)):
                return False
            self._look.doubt()
            return True
        if last.elapsed_s > 2 * self._limits.short_s:
            return True  # a repeat ends as early as this did
        return goal.passed(self._shorter(goal, last.intended_pps, self._limits.short_s))

    def _shorter(self, goal: Goal, load: float, duration_s: float) -> Trial:
        """A trial shorter than full length."""
        return self._ledger.ask(load, duration_s, goal.abort(load, duration_s, self._limits.directions))

    def _refuted(self, quest: Quest) -> bool:
        """Whether a load just above the answer fails, so that there is nothing more to find."""
        load = self._above(quest)
        telling_s = self._telling_s(quest, load)
        if load <= quest.low or (telling_s > self._limits.short_s and quest.closed(self._ledger.top_pps)):
            return True
        for attempt in range(REFUTE_TRIES):
            trial = self._shorter(quest.goal, load, telling_s)
            if quest.goal.passed(trial):
                if attempt or not self._look.noise:
                    return False
            elif trial.forwarded_pps > quest.low * (1 - 2 * quest.goal.width) or not trial.valid:
                return True
            else:  # it could do less than what has passed just now: that is no word on this load
                quest.strange.append(trial)
                self._look.doubt()
        return False

    def _telling_s(self, quest: Quest, load: float) -> float:
        """How long a trial just above the answer has to be: a buffer hides the first frames of an overload."""
        short_s, beyond = self._limits.short_s, ABOVE * quest.goal.width * load
        wanted = max(short_s, 2 * self._look.buffer / beyond)
        return wanted if wanted < quest.goal.final_s / 2 else quest.goal.final_s

    def _above(self, quest: Quest) -> float:
        return self._within(quest.low * (1 + ABOVE * quest.goal.width))

    # -- where to ask next -------------------------------------------------------------------------------------

    def _higher(self, quest: Quest, step: float) -> float:
        """A load above the answer: where the device, looked at anew, should meet the goal."""
        edge = quest.ceiling
        if edge > quest.low * (1 + NEAR * quest.goal.width):
            self._look.again()
            expected = max(self._expected(quest) or math.inf, quest.low * (1 + step))
            if expected < edge:
                return self._within(expected)
        return self._within((quest.low + edge) / 2)

    def _lower(self, quest: Quest, load: float, step: float) -> float:
        """A load below one that failed."""
        if quest.low:
            return (quest.low + load) / 2
        quest.background = self._background(quest.goal, load)
        if quest.background:
            frames = math.log(2) / quest.background  # so many pass in half of the cases
            return self._within(min(load / 2, frames / quest.goal.final_s / self._limits.directions))
        expected = self._expected(quest) or load
        return self._within(min(expected, load * (1 - step)))

    def _background(self, goal: Goal, load: float) -> float:
        """The share of frames that the device loses at any load, if that is why none passes; else 0.

        An overload's loss goes away with the load; what stays the same a few widths below is not one.
        """
        if goal.loss_ratio:
            return 0.0
        fails = [trial for trial in self._ledger.trials if goal.full(trial) and goal.failed(trial)]
        here = [trial for trial in fails if trial.intended_pps == load]
        above = [trial.loss_ratio for trial in fails if trial.intended_pps > load * (1 + NEAR / 2 * goal.width)]
        stays = min(above, default=math.inf)
        lost = sum((trial.total for trial in here), Counters()).loss_ratio
        return lost if max(stays, lost) < BACKGROUND and lost > BACKGROUND_STAYS * stays else 0.0

    def _disproved(self, quest: Quest) -> bool:
        """Whether a load passes that background loss as it was seen would let pass once in 2**8 times."""
        load = self._within(8 * quest.low)
        trial = self._full(quest.goal, load)
        if not quest.goal.passed(trial):
            return False
        quest.meet([trial])
        quest.background = 0.0
        return True
