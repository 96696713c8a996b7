"""How nvbench's search does beside others: same simulated devices, same seeds, both goals (NDR and a PDR of 0.5 %).

    make perf

Compared are MLRsearch (PyPI `mlrsearch`, in its best tuning for RFC 2544, with its TST 009 goal, and as CSIT uses it)
and a plain binary search, without and with loss verification. Nothing real is measured and no time passes: seconds are
those of the traffic that each search asked for. The truth of a device is the load at which half of the full-length
trials pass, once it is warm; an answer is right within 0.5 % of it.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache

from MLRsearch import (
    AbstractMeasurer,
    Config,
    MeasurementResult,
    MultipleLossRatioSearch,
    SearchGoal,
)

from nvbench.generators.devices import Device
from nvbench.generators.simulated import SimulatedGenerator
from nvbench.search import Goal, Limits, search
from nvbench.trial import AbortRule, Trial

TOP_PPS = 14_880_952.0
BOTTOM_PPS = 14_881.0
WIDTH = 0.005
PDR = 0.005
OVERHEAD_S = 2.5
RIGHT = 0.005

DEVICES: dict[str, Device] = {
    "ideal": Device(),
    "line rate": Device(capacity_pps=5e7),
    "generator ceiling": Device(capacity_pps=5e7, ceiling_pps=6e6),
    "buffered": Device(buffer_frames=100_000),
    "deep buffer": Device(buffer_frames=1_000_000),
    "queue skew": Device(queue_shares=(0.28, 0.25, 0.24, 0.23)),
    "livelock": Device(livelock=0.6),
    "cold": Device(cold_share=0.3, warm_s=2.0),
    "slow to warm": Device(cold_share=0.1, warm_s=8.0),
    "rare loss": Device(background_loss=3e-10),
    "stalls": Device(stalls_per_s=0.005, stall_s=0.002),
    "noise 0.3 %": Device(capacity_noise=0.003),
    "noise 1 %": Device(capacity_noise=0.01),
    "noise by second": Device(second_noise=0.002),
    "two bands": Device(slow_share=0.05, slow_probability=0.25),
    "drift": Device(drift_per_s=-1e-5),
    "skew, buffer, cold": Device(
        queue_shares=(0.28, 0.24, 0.24, 0.24), buffer_frames=50_000, cold_share=0.2, warm_s=1.5
    ),
    "livelock, noise": Device(livelock=0.4, capacity_noise=0.003),
}
NOISY = ("noise 0.3 %", "noise 1 %", "noise by second", "two bands", "livelock, noise")


@dataclass(frozen=True)
class Run:
    """What a search found for (NDR, PDR), and what it took."""

    rates: tuple[float, float]
    seconds: float
    trials: int


class Meter:
    """A `measure` that counts."""

    def __init__(self, device: Device, seed: int) -> None:
        self._trial = SimulatedGenerator(device, seed).trial
        self.seconds = 0.0
        self.trials = 0

    def __call__(self, load_pps: float, duration_s: float, abort: AbortRule) -> Trial:
        trial = self._trial(load_pps, duration_s, abort)
        self.seconds += trial.elapsed_s
        self.trials += 1
        return trial


Search = Callable[[Meter, float], tuple[float, float]]


def ours(meter: Meter, final_s: float) -> tuple[float, float]:
    goals = [Goal.rfc2544(0.0, final_s, WIDTH), Goal.rfc2544(PDR, final_s, WIDTH)]
    limits = Limits(TOP_PPS, BOTTOM_PPS, short_s=0.5)
    ndr, pdr = search(meter, goals, limits).answers
    return ndr.rate_pps, pdr.rate_pps


class _Measurer(AbstractMeasurer):  # type: ignore[misc]
    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def measure(self, intended_duration: float, intended_load: float) -> MeasurementResult:
        trial = self._meter(intended_load, intended_duration, AbortRule())
        total = trial.total
        return MeasurementResult(
            intended_duration=intended_duration,
            intended_load=intended_load,
            offered_count=total.offered,
            loss_count=total.lost + total.refused,
            intended_count=total.offered + total.late,
        )


def mlrsearch(**tuning: float) -> Search:
    def run(meter: Meter, final_s: float) -> tuple[float, float]:
        wanted = {"final_trial_duration": final_s, "duration_sum": final_s * tuning.get("trials", 1)}
        wanted |= {key: value for key, value in tuning.items() if key not in ("trials", "warmup")}
        config = Config()
        config.goals = [
            SearchGoal(loss_ratio=ratio, relative_width=WIDTH, fail_fast=False, **wanted) for ratio in (0.0, PDR)
        ]
        config.min_load, config.max_load = BOTTOM_PPS, TOP_PPS
        config.warmup_duration = tuning.get("warmup", 0.0)
        config.search_duration_max = 1e9
        found = MultipleLossRatioSearch(config).search(_Measurer(meter), debug=lambda _text: None)
        ndr, pdr = (_lower(found[goal]) for goal in config.goals)
        return ndr, pdr

    return run


def _lower(result: object) -> float:
    bound = getattr(result, "relevant_lower_bound", None)
    return float(bound) if bound is not None else 0.0


def binary(verify: bool) -> Search:
    def run(meter: Meter, final_s: float) -> tuple[float, float]:
        ndr, pdr = (_binary(meter, final_s, ratio, verify) for ratio in (0.0, PDR))
        return ndr, pdr

    return run


def _binary(meter: Meter, final_s: float, ratio: float, verify: bool) -> float:
    def passes(load: float) -> bool:
        trial = meter(load, final_s, AbortRule())
        return trial.total.late <= 0.001 * trial.total.offered and trial.loss_ratio <= ratio

    low, high, load = 0.0, TOP_PPS, TOP_PPS
    while load > BOTTOM_PPS and (not low or low < high * (1 - WIDTH)):
        if passes(load) or (verify and passes(load)):
            low = load
            if load == TOP_PPS:
                break
        else:
            high = load
        load = (low + high) / 2
    return low


SEARCHES: dict[str, Search] = {
    "nvbench": ours,
    "mlrsearch, RFC 2544": mlrsearch(exceed_ratio=0.0, initial_trial_duration=0.5, preceding_targets=2, warmup=1.0),
    "mlrsearch, TST 009": mlrsearch(exceed_ratio=0.5, initial_trial_duration=0.5, preceding_targets=2, trials=2),
    "mlrsearch, CSIT 21 x 1 s": mlrsearch(
        exceed_ratio=0.5, initial_trial_duration=1.0, final_trial_duration=1.0, duration_sum=21.0, warmup=1.0
    ),
    "binary": binary(verify=False),
    "binary, verified": binary(verify=True),
}


def device_of(name: str, seed: int) -> Device:
    """The device, its capacity spread over seeds so that no search is lucky by its grid."""
    device = DEVICES[name]
    if device.capacity_pps > TOP_PPS:
        return device
    return replace(device, capacity_pps=random.Random(seed).uniform(0.08, 0.7) * TOP_PPS)  # noqa: S311


@cache
def truth(device: Device, final_s: float) -> tuple[float, float]:
    """(NDR, PDR) as shares of the device's capacity: where half of the full-length trials pass, once warm."""
    if device.capacity_pps > TOP_PPS:
        rate = min(TOP_PPS, device.ceiling_pps) / device.capacity_pps
        return rate, rate
    if not device.buffer_frames and device.capacity_pps != TOP_PPS / 3:
        return truth(replace(device, capacity_pps=TOP_PPS / 3), final_s)  # in shares they are all alike
    return _half(device, 0.0, final_s), _half(device, PDR, final_s)


def _half(device: Device, ratio: float, final_s: float) -> float:
    chancy = (
        device.capacity_noise,
        device.second_noise,
        device.stalls_per_s,
        device.slow_share,
        device.background_loss,
    )
    samples = 101 if any(chancy) else 1
    low, high = 0.5, 1.5
    while high - low > 1e-4:
        share = (low + high) / 2
        if _passing(device, share, ratio, final_s, samples) >= 0.5:
            low = share
        else:
            high = share
    return low


def _passing(device: Device, share: float, ratio: float, final_s: float, samples: int) -> float:
    goal = Goal(ratio, final_s)
    load = share * device.capacity_pps
    passed = 0
    for seed in range(samples):
        generator = SimulatedGenerator(device, seed)
        generator.warm(60.0)
        passed += goal.passed(generator.trial(load, final_s, goal.abort(load, final_s)))
    return passed / samples


def score(job: tuple[str, str, float, int]) -> Run:
    name, device, final_s, seed = job
    meter = Meter(device_of(device, seed), seed)
    rates = SEARCHES[name](meter, final_s)
    return Run(rates, meter.seconds, meter.trials)


def errors(run: Run, device: str, final_s: float, seed: int) -> tuple[float, ...]:
    actual = device_of(device, seed)
    true = (share * actual.capacity_pps for share in truth(actual, final_s))
    return tuple(rate / rate_there - 1 for rate, rate_there in zip(run.rates, true, strict=True))


@dataclass(frozen=True)
class Line:
    """A search on a device, over all seeds."""

    seconds: float
    with_overhead: float
    right: float
    spread: float
    bias: float


def line(runs: Sequence[Run], device: str, final_s: float) -> Line:
    wrong = [errors(run, device, final_s, seed) for seed, run in enumerate(runs)]
    worst = [max(map(abs, both)) for both in wrong]
    every = [error for both in wrong for error in both]
    return Line(
        statistics.fmean(run.seconds for run in runs),
        statistics.fmean(run.seconds + OVERHEAD_S * run.trials for run in runs),
        statistics.fmean(each <= RIGHT for each in worst),
        statistics.pstdev(every),
        statistics.median(every),
    )


def compare(final_s: float, seeds: int, searches: Sequence[str], devices: Sequence[str]) -> None:
    jobs = [(name, device, final_s, seed) for name in searches for device in devices for seed in range(seeds)]
    with ProcessPoolExecutor(2) as pool:
        runs = dict(zip(jobs, pool.map(score, jobs, chunksize=4), strict=True))
    print(f"\nfinal trials of {final_s:g} s, {seeds} seeds a device")
    print(f"{'':26}{'':22}{'traffic s':>10}{'+2.5 s/trial':>13}{'right':>7}{'bias %':>8}{'spread %':>9}")
    table = {}
    for device in devices:
        for name in searches:
            found = line([runs[name, device, final_s, seed] for seed in range(seeds)], device, final_s)
            table[name, device] = found
            print(
                f"{name:26}{device:22}{found.seconds:10.1f}{found.with_overhead:13.1f}{found.right:7.0%}"
                f"{100 * found.bias:8.2f}{100 * found.spread:9.2f}"
            )
    print()
    settled = [
        name for name in devices if all(table[each, name].right >= 0.9 for each in searches if "CSIT" not in each)
    ]
    groups = {
        "all devices": devices,
        "noisy devices": [name for name in devices if name in NOISY],
        "where all are right": settled,
    }
    for title, group in groups.items():
        for name in searches if group else ():
            rows = [table[name, device] for device in group]
            seconds = math.exp(statistics.fmean(math.log(row.seconds) for row in rows))
            overhead = math.exp(statistics.fmean(math.log(row.with_overhead) for row in rows))
            right = statistics.fmean(row.right for row in rows)
            print(f"{name:26}{title:22}{seconds:10.1f}{overhead:13.1f}{right:7.0%}")


def main(argv: list[str]) -> None:
    logging.disable()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--final", type=float, action="append")
    parser.add_argument("--search", action="append")
    parser.add_argument("--device", action="append")
    asked = parser.parse_args(argv)
    for final_s in asked.final or (30.0, 60.0):
        compare(final_s, asked.seeds, asked.search or list(SEARCHES), asked.device or list(DEVICES))


if __name__ == "__main__":
    main(sys.argv[1:])
