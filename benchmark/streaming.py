"""The stream cases of a set-up, measured round by round.

The runs of a set-up's cases are interleaved: one round measures each case once, in an order of its own, so that what
drifts from minute to minute falls on all cases alike.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from statistics import fmean, median, stdev

from nvbench.errors import CommandError, DatapathError, GeneratorError, GuestError
from nvbench.generators.stream_tools import stream_tool
from nvbench.generators.streams import StreamTest
from nvbench.plan import Case
from nvbench.rigs import StreamRig
from nvbench.rising import SERVER
from nvbench.silence import why_silent
from nvbench.store import RunWriter
from nvbench.stream_run import BULK, Endpoints, SilentError, StreamRun
from nvbench.streams import StreamSection
from nvbench.tables import ResultRow, StreamRow, Subject

MEASURED = "measured"
REPEAT_FAILED = 2
"""Failed runs of a case that are made again, at the end."""

FIRST_PORT, PORTS = 5201, 1000


@dataclass
class _Kept:
    """What is known of one test of a case so far."""

    rows: list[StreamRow] = field(default_factory=list)
    fault: str = ""
    failures: int = 0
    warnings: dict[str, None] = field(default_factory=dict)


class Streaming:
    """The stream cases of one set-up.

    Args:
        cases: What to measure.
        store: Where runs are kept.
        on_stage: Told what is done now.
        seed: For the order of each round.
    """

    def __init__(self, cases: tuple[Case, ...], store: RunWriter, on_stage: Callable[[str], None], seed: int) -> None:
        self._cases = cases
        self._store = store
        self._on_stage = on_stage
        self._emulated = False
        self._runs = 0
        self._kept = {(case.case_id, test): _Kept() for case in cases for test, _ in case.tests.streams()}
        dice = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._todo = [
            (test, section, repeat, case)
            for test, section in cases[0].tests.streams()
            for repeat in range(1, section.repeats + 1)
            for case in dice.sample(cases, len(cases))
        ]

    @property
    def done(self) -> bool:
        """Whether nothing is left to be measured."""
        return not self._todo

    def go_on(self, rig: StreamRig) -> None:
        """Measure what is left, on a rig that has just come up.

        Raises:
            DatapathError: The datapath has gone; the case at hand is marked, and what is left can go on on another.
            GuestError: A guest has gone; likewise.
        """
        endpoints = Endpoints(rig)
        self._emulated = any(guest.emulated for guest in rig.guests)
        while self._todo:
            test, section, repeat, case = self._todo.pop(0)
            told = self._kept[case.case_id, test]
            if told.fault:
                continue
            self._on_stage(f"{case.case_id} {test}: {repeat} of {section.repeats}")
            try:
                self._once(endpoints, case, test, section, repeat, told)
            except (DatapathError, GuestError) as error:
                told.fault = f"broke: {error}"
                raise

    def give_up(self, reason: str) -> None:
        """Measure no more: what is left is marked with a reason."""
        for test, _, _, case in self._todo:
            told = self._kept[case.case_id, test]
            told.fault = told.fault or reason
        self._todo = []

    def answers(self) -> Iterator[ResultRow]:
        """A result for each test of each case."""
        for case in self._cases:
            for test, section in case.tests.streams():
                yield self._answer(case, test, section, self._kept[case.case_id, test])

    def _once(
        self, endpoints: Endpoints, case: Case, test: StreamTest, section: StreamSection, repeat: int, told: _Kept
    ) -> None:
        """One run of the tool; a tool's own failure is stored and may be followed by others."""
        assert case.offloads is not None  # noqa: S101 - a case of streams
        rig = endpoints.rig
        faults, effects = endpoints.switch(case.offloads)
        if faults:
            told.fault = f"not possible here: {'; '.join(faults)}"
            return
        told.warnings |= dict.fromkeys(f"offloads that followed: {text}" for text in effects)
        run = StreamRun(endpoints, stream_tool(section.tool), section.ask(test, SERVER, self._next_port()))
        row = StreamRow(
            subject=replace(subject(case, section), test=test.value),
            repeat=repeat,
            tool=section.tool,
            parallel=section.parallel,
            started_at=datetime.now(UTC),
            duration_s=section.duration_s,
            client_offloads=endpoints.stored(rig.client),
            server_offloads=endpoints.stored(rig.server),
            emulated=self._emulated,
        )
        try:
            row = run.measured(row)
        except (SilentError, GeneratorError, CommandError) as error:
            rig.check_alive()  # its end is then the fault to tell
            cause = why_silent(case, endpoints.flags(rig.client))
            if cause or isinstance(error, SilentError):
                told.fault = f"TCP does not pass: {cause.short if cause else error}"
            if cause:
                self._store.warn(cause.told)
            row = replace(row, valid=False, reason=told.fault or str(error))
            if not told.fault and told.failures < REPEAT_FAILED:
                told.failures += 1
                self._todo.append((test, section, repeat, case))
        told.rows.append(row)
        told.warnings |= dict.fromkeys(run.warnings)
        self._store.append_samples(self._store.append_stream(row), run.samples)

    def _next_port(self) -> int:
        """Another port for each run: the server of the last may still be on its way out."""
        self._runs += 1
        return FIRST_PORT + self._runs % PORTS

    def _answer(self, case: Case, test: StreamTest, section: StreamSection, told: _Kept) -> ResultRow:
        rows = [row for row in told.rows if row.valid]
        values = [value for row in rows if (value := main_value(row)) is not None]
        verdict = told.fault or (MEASURED if values else told.rows[-1].reason if told.rows else "not measured")
        limit = getattr(case.parameters, "rate_limit_bps", None)
        warnings = [*told.warnings, *_unenforced(limit, values, test)]
        return ResultRow(
            subject=replace(subject(case, section), test=test.value),
            rate_pps=None,
            goodput_bps=_median(row.goodput_bps + (row.reverse_bps or 0.0) for row in rows if row.goodput_bps),
            packets_pps=_median(row.packets_pps for row in rows),
            packet_bytes=_median(row.packet_bytes for row in rows),
            transactions_per_s=_median(row.transactions_per_s for row in rows),
            retransmits=_median(row.retransmits for row in rows),
            cores=_median(row.cores for row in rows),
            loss_ratio=_median(row.lost_ratio for row in rows),
            emulated=self._emulated,
            repeats=len(values),
            value_min=min(values, default=None),
            value_mean=fmean(values) if values else None,
            value_median=_median(values),
            value_max=max(values, default=None),
            value_stdev=stdev(values) if len(values) > 1 else None,
            trials=len(told.rows),
            invalid_trials=len(told.rows) - len(rows),
            duration_s=sum(row.elapsed_s or 0.0 for row in rows),
            final_duration_s=section.duration_s,
            verdict=verdict,
            warnings=tuple(warnings),
        )


def main_value(row: StreamRow) -> float | None:
    """What a run is about: requests answered a second, or payload in both directions, in bit/s."""
    if row.transactions_per_s is not None:
        return row.transactions_per_s
    return None if row.goodput_bps is None else row.goodput_bps + (row.reverse_bps or 0.0)


def _median(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return median(there) if there else None


def _unenforced(limit_bps: float | None, values: list[float], test: StreamTest) -> list[str]:
    """A limit that was asked for and does not limit is a finding."""
    if not limit_bps or test not in BULK or not values or median(values) <= 1.15 * limit_bps:
        return []
    return [f"a limit of {limit_bps / 1e6:g} Mbit/s was asked for and is not enforced: {median(values) / 1e6:.0f} pass"]


def subject(case: Case, section: StreamSection | None = None) -> Subject:
    """What stands beside each run of a case in the store."""
    return Subject(
        case_id=case.case_id,
        test="",
        datapath=case.path.kind,
        generator=section.tool if section else "",
        frame_bytes=0,
        queues=case.parameters.queues,
        topology=case.path.topology,
        guest=case.path.guest,
        mtu=case.parameters.mtu,
        settings=case.settings,
    )
