"""Collectors, and the recorder that has them look just before a trial, just after it, and now and then during it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Protocol

from nvbench.errors import NvbenchError
from nvbench.tables import Reading, Sample

LONG_S = 1.0
"""Trials at least so long are looked at while they run; shorter ones narrow a search."""

PERIOD_S = 0.5
MOST_LOOKS = 20
"""During one trial: a long one is looked at more seldom, so that it has no more rows than a short one."""

SELDOM = 100
"""Times what a look takes pass before the next: 1 % of a core at most, whoever's core it is."""

GAUGES = frozenset({"core", "hertz", "state"})
"""Units of what is as it is; all else counts up from the start of whoever tells it."""


class Collector(Protocol):
    """Whoever can be asked for values: a datapath, a host, a guest."""

    def readings(self) -> Sequence[Reading]:
        """The values now.

        Raises:
            NvbenchError: It has gone.
        """


class Recorder:
    """Has collectors look around trials and during them, and measures what that costs.

    Args:
        around: Who looks just before and just after each trial, who has to be nearest to it first.
        during: Who looks during trials, too; has to be cheap.
        slow: Who looks just before and just after long trials only, in which it loses little time: guests.
    """

    def __init__(
        self,
        around: Sequence[Collector] = (),
        during: Sequence[Collector] = (),
        slow: Sequence[Collector] = (),
    ) -> None:
        self.around = tuple(around)
        self.during = tuple(during)
        self.slow = tuple(slow)
        self.cpu_s = 0.0
        self.around_s = 0.0
        self.looks = 0

    def recording(self, duration_s: float) -> Recording:
        """The recording of a trial that is to take so long; the trial is made in its context."""
        return Recording(self, duration_s)


class Recording:
    """What is recorded of one trial.

    Attributes:
        samples: All that was read, once its context has ended.
        fault: Why what was to be read before the trial or after it could not be.
    """

    def __init__(self, recorder: Recorder, duration_s: float) -> None:
        self.samples: list[Sample] = []
        self.fault: NvbenchError | None = None
        self._recorder = recorder
        self._duration_s = duration_s
        self._long = duration_s >= LONG_S
        self._who = (*recorder.around, *(recorder.slow if self._long else ()))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_now_and_then, name="collectors", daemon=True)
        self._before: list[Sample] = []
        self._meanwhile: list[Sample] = []

    def __enter__(self) -> Recording:
        recorder, around_s = self._recorder, self._recorder.around_s
        self._before = self._around(reversed(self._who))
        if recorder.during:
            self._before += self._own_cost(around_s)
        if self._long and recorder.during:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        if kind is not None and not issubclass(kind, Exception):
            return  # somebody wants to get out
        recorder = self._recorder
        after = self._around(self._who)
        if recorder.during:
            after += self._own_cost(recorder.around_s)
        self.samples = completed(self._before, self._meanwhile, after)

    def _around(self, collectors: Iterable[Collector]) -> list[Sample]:
        """What all tell who can be asked."""
        began, found = time.monotonic(), []
        for collector in collectors:
            try:
                found += _look([collector])
            except NvbenchError as error:
                self.fault = self.fault or error
        self._recorder.around_s += time.monotonic() - began
        return found

    def _look_now_and_then(self) -> None:
        pause_s = period_s = max(PERIOD_S, self._duration_s / MOST_LOOKS)
        while not self._ended.wait(pause_s):
            began, cpu_s = time.monotonic(), time.thread_time()
            try:
                self._meanwhile += _look(self._recorder.during)
            except NvbenchError:
                return  # the look after the trial tells of it
            finally:
                self._recorder.cpu_s += time.thread_time() - cpu_s
                self._recorder.looks += 1
            pause_s = max(period_s, SELDOM * (time.monotonic() - began))

    def _own_cost(self, around_s: float) -> list[Sample]:
        now, recorder = time.time(), self._recorder
        return [
            Sample(now, "collector", "cpu_s", recorder.cpu_s, "s"),
            Sample(now, "collector", "around_s", around_s, "s"),
            Sample(now, "collector", "looks", recorder.looks, "count"),
        ]


def _look(collectors: Iterable[Collector]) -> list[Sample]:
    found = []
    for collector in collectors:
        readings = collector.readings()
        now = time.time()
        found += [Sample(now, each.source, each.metric, each.value, each.unit) for each in readings]
    return found


def completed(before: Sequence[Sample], meanwhile: Sequence[Sample], after: Sequence[Sample]) -> list[Sample]:
    """The samples of a trial from which every counter's difference can be told.

    A counter that is first told of after the trial was zero before it: programs name some of theirs only once they
    have counted. Tasks that did not run at all are left out.
    """
    first = {(each.source, each.metric): each.value for each in before}
    born = [
        replace(each, time=before[0].time, value=0.0)
        for each in after
        if before and (each.source, each.metric) not in first and each.unit not in GAUGES
    ]
    slept = {
        each.source
        for each in after
        if each.metric == "cpu_s" and each.source != "collector" and first.get((each.source, "cpu_s")) == each.value
    }
    return [each for each in (*before, *born, *meanwhile, *after) if each.source not in slept]
