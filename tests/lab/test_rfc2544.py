"""Every test of RFC 2544 on the real switch, against truths that are known.

Two runs: one through OVS's ingress policer, which passes a known rate and a known burst; one through a switch that
drops one frame in four. Links are slow, so that a host that takes cores away now and then still keeps up.

The policer's bucket is full at the first frame of a trial: in t seconds it passes `burst + rate * t`, and the longest
burst at line rate x that loses nothing is `burst * x / (x - rate)`. A switch that is away for longer than the bucket
lasts wastes tokens, and a generator that is away offers nothing: a disturbed host costs frames, and never makes any.

What a run got wrong is measured again, alone, some times. It fails where it is wrong every time, and no disturbance
excuses it once.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nvbench
from nvbench.reading import Results
from nvbench.rfc2544 import TESTS
from nvbench.units import line_rate_pps
from tests.lab.conftest import leaves_no_trace
from tests.lab.test_known_truth import UNCOUNTED_BYTES, policed_pps
from tests.lab.test_run import NVBENCH, only_run

Row = dict[str, Any]

OF_ITS_OWN = {"frame_loss", "mrr"}
"""Tests that take no share of a throughput."""

ATTEMPTS = 3
FRAME_BYTES = 512
ADDRESSES = 150
DOWN_S = 1.0
START_S = 6.0
"""More than an OVS-DPDK takes to start, on a busy host too."""

KBPS, BURST_KBIT = 100_000, 400
BURST = BURST_KBIT * 1000 / 8 / (FRAME_BYTES - UNCOUNTED_BYTES)
"""Frames that the full bucket holds."""

LINE_PPS = line_rate_pps(0.2e9, FRAME_BYTES)
FINAL_S, FLAT_OUT_S = 1.0, 0.5
POLICED = {
    "link_gbps": 0.2,
    "datapath.ingress_policing_kbps": KBPS,
    "datapath.ingress_policing_burst_kb": BURST_KBIT,
    "datapath.mac_table_size": ADDRESSES,
    "tests.throughput.width": 0.005,
    "tests.throughput.final_s": FINAL_S,
    "tests.throughput.budget_s": 25.0,
    "tests.latency.loads": [0.0, 0.5, 1.0],
    "tests.latency.repeats": 2,
    "tests.frame_loss.duration_s": FLAT_OUT_S,
    "tests.back_to_back.most_s": 0.5,
    "tests.recovery.overload_s": 1.0,
    "tests.reset.down_s": DOWN_S,
    "tests.reset.patience_s": START_S,
    "tests.mrr.duration_s": FLAT_OUT_S,
    "tests.mrr.repeats": 3,
    "tests.soak.duration_s": 4.0,
    "tests.learning.addresses": 4 * ADDRESSES,
}
ONE_IN_FOUR = {
    "link_gbps": 0.1,
    "traffic.flows": 4,
    "datapath.drop_every": 4,
    "tests.throughput.goals": "[{loss_ratio: 0.3}]",
    "tests.latency": "null",
    "tests.frame_loss.duration_s": 0.3,
    "tests.back_to_back.repeats": 1,
    "tests.recovery": "null",
    "tests.reset": "null",
    "tests.mrr.repeats": 2,
    "tests.soak.duration_s": 2.0,
    "tests.learning": "null",
}


class Lab:
    """The answers of a run of all tests; a test that is asked for again is measured anew, after a throughput."""

    def __init__(self, folder: Path, options: dict[str, object]) -> None:
        self._folder, self._runs = folder, 0
        self._options = {"traffic.frame_bytes": FRAME_BYTES, **options}
        self.results = self._whole = self._run(self._options)

    def _run(self, options: dict[str, object]) -> Results:
        self._runs += 1
        folder = self._folder / f"{self._runs}"
        words = [word for key, value in options.items() for word in ("-s", f"{key}={value}")]
        command = [*NVBENCH, "run", "rfc2544-full", "--quick", "--results", str(folder), *words]
        with leaves_no_trace():
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        return nvbench.open_results(only_run(folder))

    def _again(self, test: str) -> Results:
        others = {each.name for each in TESTS} - {test} - (set() if test in OF_ITS_OWN else {"throughput"})
        kept = {key: value for key, value in self._options.items() if not others & set(key.split("."))}
        return self._run(kept | {f"tests.{name}": "null" for name in others})

    @property
    def policed_pps(self) -> float:
        """Frames a second that the policer passes."""
        return policed_pps(KBPS, FRAME_BYTES, self.results.runs[0].fingerprint["clock"])

    @property
    def throughput_pps(self) -> float:
        """What this run found, and took shares of."""
        return self.results.results().to_pylist()[0]["rate_pps"] or 0.0

    def trials(self, row: Row) -> list[Row]:
        """The trials that carry an answer."""
        return [trial for trial in self.results.trials().to_pylist() if trial["trial_id"] in row["trial_ids"]]

    def hold(
        self, test: str, check: Callable[[list[Row]], None], excused: Callable[[Row], bool] = lambda row: False
    ) -> None:
        """Hold a test's answers against their truth; wrong ones are measured again."""
        wrong, excuses = None, False
        for attempt in range(ATTEMPTS):
            self.results = self._again(test) if attempt else self._whole
            rows = [row for row in self.results.results().to_pylist() if row["test"] == test]
            try:
                return check(rows)
            except (AssertionError, TypeError) as error:  # of values that a disturbed answer does not have
                wrong = error
                excuses |= any(disturbed(row) or excused(row) for row in rows)
        if not excuses:
            raise wrong
        return pytest.skip(f"the host disturbed {ATTEMPTS} attempts: {[row['verdict'] for row in rows]}")


def disturbed(row: Row) -> bool:
    """Whether an answer says itself that it was disturbed."""
    return any("disturbed" in text or "not possible" in text for text in (row["verdict"], *row["warnings"]))


def unsure(row: Row) -> bool:
    return row["limited_by"] == "unknown"


@pytest.fixture(scope="module")
def policed(tmp_path_factory) -> Lab:
    return Lab(tmp_path_factory.mktemp("policed"), POLICED)


@pytest.fixture(scope="module")
def one_in_four(tmp_path_factory) -> Lab:
    return Lab(tmp_path_factory.mktemp("one-in-four"), ONE_IN_FOUR)


# -- through the policer -----------------------------------------------------------------------------------------


def test_throughput_is_the_policed_rate_and_with_loss_allowed_a_little_above(policed):
    def check(rows: list[Row]) -> None:
        passed_pps = policed.policed_pps + BURST / FINAL_S
        for row in rows:
            assert row["rate_pps"] == pytest.approx(passed_pps / (1 - row["goal_loss_ratio"]), rel=0.006)
            assert row["loss_ratio"] <= row["goal_loss_ratio"]
        ndr, pdr = rows
        assert (ndr["goal_loss_ratio"], pdr["goal_loss_ratio"]) == (0, 0.005)
        assert ndr["rate_pps"] < pdr["rate_pps"]

    policed.hold("throughput", check, unsure)


def test_latency_at_shares_of_the_throughput_has_its_variation_and_the_floor_beside(policed):
    def check(rows: list[Row]) -> None:
        assert [row["load_share"] for row in rows] == POLICED["tests.latency.loads"]
        probe, *loads = rows
        assert probe["rate_pps"] == pytest.approx(LINE_PPS / 1000, rel=0.1)
        for row in loads:
            assert row["rate_pps"] == pytest.approx(row["load_share"] * policed.throughput_pps, rel=0.02)
            assert row["latency_min_us"] <= row["latency_p50_us"] <= row["latency_p99_us"] <= row["latency_max_us"]
            assert 0 <= row["pdv_us"] <= row["latency_max_us"] - row["latency_min_us"] + 1
        for row in rows:
            assert row["repeats"] == POLICED["tests.latency.repeats"]
            assert 0 <= row["ipdv_mean_us"] <= row["ipdv_max_us"]
            assert row["floor_p50_us"] > 0

    policed.hold("latency", check)


def test_frame_loss_is_what_the_policer_takes_until_two_loads_are_below_it(policed):
    excess: dict[float, float] = {}

    def check(rows: list[Row]) -> None:
        passed_pps = policed.policed_pps + BURST / FLAT_OUT_S
        excess.clear()
        excess.update((row["load_share"], row["loss_ratio"] - max(0, 1 - passed_pps / row["rate_pps"])) for row in rows)
        assert list(excess.values()) == pytest.approx([0] * len(rows), abs=0.015)
        assert [round(share, 3) for share in excess] == [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]

    policed.hold("frame_loss", check, lambda row: excess.get(row["load_share"], 0) > 0)


def test_the_longest_burst_is_that_of_the_policers_bucket(policed):
    def check(rows: list[Row]) -> None:
        (row,) = rows
        forwarded = policed.policed_pps / row["rate_pps"]
        assert row["burst_frames"] == pytest.approx(BURST / (1 - forwarded), rel=0.04)
        assert row["buffer_time_us"] == pytest.approx(row["burst_frames"] / LINE_PPS * 1e6, rel=0.01)
        assert row["corrected_buffer_time_us"] == pytest.approx(BURST / LINE_PPS * 1e6, rel=0.04)
        assert row["repeats"] == 5
        assert row["value_min"] <= row["value_mean"] <= row["value_max"]

    # Without a throughput there is no corrected buffer time.
    policed.hold("back_to_back", check, lambda row: row["corrected_buffer_time_us"] is None)


def test_a_policer_recovers_at_once(policed):
    def check(rows: list[Row]) -> None:
        (row,) = rows
        assert row["load_share"] == pytest.approx(1.1, rel=0.01)
        assert all(trial["lost_frames"] for trial in policed.trials(row))
        assert row["value_max"] <= 0.01

    def excused(row: Row) -> bool:  # a switch that is away after the overload has its bucket overflow once more
        return row["value_max"] is None or row["value_max"] > 0.01 or row["rate_pps"] < policed.policed_pps

    policed.hold("recovery", check, excused)


def test_a_reset_lasts_as_long_as_the_switch_is_away_and_the_time_it_takes_to_start(policed):
    def check(rows: list[Row]) -> None:
        (row,) = rows
        assert row["verdict"].startswith("came back")
        assert DOWN_S < row["outage_s"] < DOWN_S + START_S
        losses = [event for event in row["events"] if event["at_s"] >= 1.0]  # traffic before the restart
        assert losses[-1]["at_s"] + losses[-1]["duration_s"] - losses[0]["at_s"] > DOWN_S

    policed.hold("reset", check, lambda row: row["outage_s"] is None or row["outage_s"] >= DOWN_S + START_S)


def test_the_maximum_receive_rate_is_the_policed_rate(policed):
    def check(rows: list[Row]) -> None:
        (row,) = rows
        assert row["load_share"] == pytest.approx(1, rel=0.01)
        assert row["rate_pps"] == pytest.approx(policed.policed_pps + BURST / FLAT_OUT_S, rel=0.015)

    policed.hold("mrr", check, lambda row: row["rate_pps"] < policed.policed_pps)


def test_a_soak_below_the_policed_rate_loses_nothing(policed):
    def check(rows: list[Row]) -> None:
        (row,) = rows
        assert row["verdict"] == "nothing lost at 90% of the throughput"
        assert row["rate_pps"] == pytest.approx(0.9 * policed.throughput_pps, rel=0.02)
        assert row["final_duration_s"] == pytest.approx(POLICED["tests.soak.duration_s"], rel=0.01)
        assert (row["loss_ratio"], row["events"]) == (0, [])

    policed.hold("soak", check)


def test_as_many_addresses_are_learned_as_the_table_holds(policed):
    def check(rows: list[Row]) -> None:
        (row,) = rows
        assert row["addresses"] == ADDRESSES
        assert row["verdict"].startswith("the table is full")
        assert row["learning_pps"] >= 5000

    policed.hold("learning", check)


# -- where one frame in four is dropped --------------------------------------------------------------------------


def test_one_frame_in_four_is_lost_at_any_load(one_in_four):
    def check(rows: list[Row]) -> None:
        assert len(rows) == 10
        assert [row["loss_ratio"] for row in rows] == pytest.approx([0.25] * 10, abs=0.002)

    one_in_four.hold("frame_loss", check, lambda row: row["loss_ratio"] > 0.25)


def test_with_so_much_loss_allowed_the_throughput_is_the_line_rate(one_in_four):
    def check(rows: list[Row]) -> None:
        (row,) = rows
        assert row["limited_by"] == "line_rate"
        assert row["loss_ratio"] == pytest.approx(0.25, abs=0.001)
        assert row["load_share"] == pytest.approx(1, rel=0.01)

    one_in_four.hold("throughput", check, unsure)


def test_three_frames_in_four_are_received_flat_out(one_in_four):
    def check(rows: list[Row]) -> None:
        (row,) = rows
        assert row["rate_pps"] == pytest.approx(0.75 * row["load_share"] * row["line_rate_pps"], rel=0.001)

    one_in_four.hold("mrr", check, lambda row: row["loss_ratio"] > 0.25)


def test_the_first_frame_is_dropped_so_that_no_burst_passes(one_in_four):
    def check(rows: list[Row]) -> None:
        (row,) = rows
        assert (row["burst_frames"], row["verdict"]) == (0, "not one frame passes")

    one_in_four.hold("back_to_back", check)


def test_the_events_of_a_soak_hold_every_frame_that_was_lost(one_in_four):
    def check(rows: list[Row]) -> None:
        (row,) = rows
        (trial,) = one_in_four.trials(row)
        assert sum(event["lost_frames"] for event in row["events"]) == trial["lost_frames"]
        assert trial["lost_frames"] == -(-trial["sent_frames"] // 4)
        assert row["verdict"].startswith(f"{trial['lost_frames']} frames lost in {len(row['events'])} event")

    one_in_four.hold("soak", check, lambda row: row["loss_ratio"] > 0.2505)
