"""`measure` on a rig: each trial is watched, judged, stored, and then told.

A trial passes through here between the generator and whoever asked: what the host says of the switch's polling
threads is held against it, it is stored, and only then does the test see it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from typing import Protocol

from nvbench.collectors import Absence, Recording
from nvbench.errors import LostConnectionError, NvbenchError
from nvbench.generators.base import Live, OnLive
from nvbench.rigs import Rig
from nvbench.store import RunWriter
from nvbench.tables import ResultRow, Subject
from nvbench.traffic import Traffic
from nvbench.trial import AbortRule, Counters, Step, Trial, Validity
from nvbench.trial_rows import trial_row
from nvbench.units import scaled

FAR_BELOW = 0.7
"""Of its ceiling: a load that the generator is known to reach."""

LEARNED_S = 60.0
"""A fifth of the time for which a switch remembers an address (IEEE 802.1Q table 8-6: 300 s)."""

LONG_ABSENCE_S = 0.0015
"""Shorter ones are within what queues are for."""


class Observer(Protocol):
    """Who watches a run: the terminal."""

    def stage(self, text: str) -> None:
        """What is done now, when no trial runs."""

    def live(self, where: str, load_pps: float, duration_s: float, live: Live) -> None:
        """A trial is under way."""

    def trial(self, where: str, trial: Trial) -> None:
        """A trial has ended."""

    def result(self, row: ResultRow) -> None:
        """An answer has been found."""


class StandingRig:
    """A rig that is up, with a case's frames loaded; it can be brought up anew."""

    rig: Rig

    def __init__(self, bring_up: Callable[[], AbstractContextManager[Rig]]) -> None:
        self._bring_up = bring_up
        self._stack = ExitStack()
        self._traffic: Traffic | None = None
        self._learned = -math.inf

    def __enter__(self) -> StandingRig:
        self.rig = self._stack.enter_context(self._bring_up())
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def renew(self) -> None:
        """Bring it up anew.

        Raises:
            NvbenchError: It did not come up.
        """
        self._stack.close()
        self._traffic = None
        self.rig = self._stack.enter_context(self._bring_up())

    def load(self, traffic: Traffic) -> None:
        """Have the generator send these frames, and the switch know where their addresses live.

        Switches forget: it is told again now and then, between trials (RFC 2544 section 23).
        """
        if traffic != self._traffic:
            self.rig.generator.configure(traffic)
            self._traffic, self._learned = traffic, -math.inf
        if time.monotonic() - self._learned > LEARNED_S:
            self.rig.generator.learn()
            self._learned = time.monotonic()

    def restarted(self) -> None:
        """Take note that the program that forwards is another one now, which has learned nothing yet."""
        self.rig.watch_anew()
        self._traffic = None


@dataclass(frozen=True)
class Restart:
    """A restart of the program that forwards, in the midst of a trial.

    Attributes:
        at_s: When, after the first frame.
        down_s: How long the program stays away at least.
    """

    at_s: float
    down_s: float


@dataclass(frozen=True)
class Measurer:
    """`measure`, for one purpose of one test of a case.

    Attributes:
        standing: What is measured.
        store: Where trials are kept.
        observer: Who watches.
        subject: What stands beside each trial in the store.
        purpose: What the trials are for.
        traffic: The frames.
        ceiling_pps: What the generator can send, where that is known.
        restart: What happens in each trial.
    """

    standing: StandingRig
    store: RunWriter
    observer: Observer
    subject: Subject
    purpose: str
    traffic: Traffic
    ceiling_pps: float | None = None
    restart: Restart | None = None

    def __call__(
        self,
        load_pps: float,
        duration_s: float,
        abort: AbortRule,
        *,
        then: Step | None = None,
        detail: bool = False,
    ) -> Trial:
        """See `DetailedMeasure`."""
        self.standing.load(self.traffic)
        total_s = duration_s + (then.duration_s if then else 0.0)

        def send(look: OnLive) -> Trial:
            def on_live(live: Live) -> None:
                look(live)
                self.observer.live(self.subject.case_id, load_pps, total_s, live)

            return self.standing.rig.generator.trial(load_pps, duration_s, abort, on_live, then=then, detail=detail)

        recording: Recording | None = None
        began = time.time() + self.standing.rig.clock_ahead_s  # a trial tells it by the clock of the generator's host
        try:
            with self.standing.rig.recorder.recording(total_s) as recording:
                self._told(recording)
                trial = self._restarted(send, self.restart) if self.restart else self._watched(send, abort)
            if isinstance(recording.fault, LostConnectionError):
                raise recording.fault
            trial = self._kept(trial, recording)
        except LostConnectionError as error:
            trial = self._kept(_lost(self.traffic, load_pps, total_s, began, error), None)
            self.standing.renew()  # what still runs is ended first
        self.observer.trial(self.subject.case_id, trial)
        return trial

    def _watched(self, send: Callable[[OnLive], Trial], abort: AbortRule) -> Trial:
        """A trial, judged by what the host says of the switch's polling threads."""
        watch = self.standing.rig.watch
        watch.absence()
        trial = send(lambda _: watch.look())
        return held_against(trial, watch.absence(), abort, ceiling_pps=self.ceiling_pps)

    def _restarted(self, send: Callable[[OnLive], Trial], restart: Restart) -> Trial:
        """A trial in which the program that forwards is restarted, in a thread that its live reports set off."""
        datapath = self.standing.rig.datapath
        failures: list[NvbenchError] = []

        def run() -> None:
            try:
                datapath.restart(restart.down_s)
            except NvbenchError as error:
                failures.append(error)

        thread = threading.Thread(target=run, name="restart")

        def look(live: Live) -> None:
            if live.elapsed_s >= restart.at_s and thread.ident is None:
                thread.start()

        try:
            trial = send(look)
        finally:
            if thread.ident is not None:
                thread.join()
        if thread.ident is None:
            return replace(trial, validity=Validity.PAUSED, reason="the generator told nothing of the trial in time")
        if failures:
            return replace(trial, validity=Validity.GONE, reason=str(failures[0]))
        self.standing.restarted()
        return trial

    def _kept(self, trial: Trial, recording: Recording | None) -> Trial:
        """The trial, under the name by which it is stored with what was recorded of it."""
        rig = self.standing.rig
        trial = replace(trial, started_at=trial.started_at - rig.clock_ahead_s)
        row = trial_row(self.subject, trial, purpose=self.purpose, simulated=rig.generator.simulated)
        trial = replace(trial, trial_id=self.store.append_trial(row))
        if recording:
            self.store.append_samples(trial.trial_id, recording.samples)
            self._told(recording)
        return trial

    def _told(self, recording: Recording) -> None:
        """Does nothing where all could be asked for their counters, or one that was restarted has not come back.

        Raises:
            NvbenchError: One has gone.
        """
        if recording.fault and self.restart is None:
            raise recording.fault


def _lost(traffic: Traffic, load_pps: float, duration_s: float, began: float, error: LostConnectionError) -> Trial:
    """A trial of which nothing is known but that it was begun, since a host could not be heard any more."""
    return Trial(
        intended_pps=load_pps,
        duration_s=duration_s,
        elapsed_s=0.0,
        directions=(Counters(),) * traffic.directions,
        validity=Validity.GONE,
        reason=str(error),
        started_at=began,
    )


def held_against(trial: Trial, absence: Absence, abort: AbortRule, *, ceiling_pps: float | None = None) -> Trial:
    """The trial, set aside where what else is known of the bench explains it better than the device does.

    Frames that come while the host keeps the switch off its core wait, then are refused or lost, and come in a lump
    after. What is lost beyond them and beyond the goal's allowance is the device's own, and so is all loss where no
    absence was long. A generator that misses a load far below its ceiling was disturbed. Where more came back than
    was sent, none of it can be told from what others send.
    """
    if any(counted.received > counted.sent for counted in trial.directions):
        reason = f"{trial.total.received} frames came back of {trial.total.sent} sent"
        return replace(trial, validity=Validity.FOREIGN, reason=reason)
    if trial.validity is Validity.UNDERSENT and ceiling_pps and trial.intended_pps < FAR_BELOW * ceiling_pps:
        reason = f"{trial.reason}, though the generator can send {scaled(ceiling_pps, 'pps')}"
        return replace(trial, validity=Validity.PAUSED, reason=reason)
    lost = trial.total.lost + trial.total.refused
    allowed = abort.max_lost_frames or 0
    explained = absence.total_s * trial.intended_pps * len(trial.directions)
    if not trial.valid or lost <= allowed or absence.longest_s < LONG_ABSENCE_S or lost - explained > allowed:
        return trial
    reason = (
        f"{lost} frames lost while the switch's cores were away for {absence.waited_s * 1e3:.1f} ms (other tasks) "
        f"and {absence.stolen_s * 1e3:.0f} ms (hypervisor)"
    )
    return replace(trial, validity=Validity.STALLED, reason=reason)
