"""Gaps with known causes, simulated: the model finds them, its intervals hold them, and it says what it cannot know."""

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from nvbench.attribution import Effect, Explanation, explain
from nvbench.errors import UsageError

Row = dict[str, Any]

COMBINATIONS = ("", "c", "cs", "cst", "csg", "cstg")
"""What a kernel allows: no scatter-gather without checksum offload, neither TSO nor GSO without scatter-gather."""

LETTERS = {"tx_checksum": "c", "sg": "s", "tso": "t", "gso": "g", "gro": "r"}
PATH, CHECKSUM, TSO, GSO, TSO_WITH_GSO, USERSPACE_TSO = 1.4, 0.3, 1.2, 0.2, -0.2, 0.5
"""Logarithms of the factors that the simulated paths have; scatter-gather and GRO do nothing."""

GAP = PATH + CHECKSUM + TSO + GSO + TSO_WITH_GSO
TRUTH = {
    "the path itself": PATH,
    "checksum offload": CHECKSUM,
    "scatter-gather": 0.0,
    "TSO": TSO + TSO_WITH_GSO / 2,
    "GSO": GSO + TSO_WITH_GSO / 2,
}


def case(
    datapath: str, letters: str, userspace_tso: bool | None, rates: list[float | None], reason: str = ""
) -> list[Row]:
    """The runs of a case; a rate of None is one that does not count."""
    switches = {f"endpoints.{name}": letter in letters for name, letter in LETTERS.items()}
    switches |= {} if userspace_tso is None else {"userspace_tso": userspace_tso}
    return [
        {
            "case_id": f"{datapath}-{letters or 'none'}{'-utso' * bool(userspace_tso)}",
            "test": "tcp_stream",
            "datapath": datapath,
            "topology": "VM-to-VM",
            "mtu": 1500,
            "queues": 1,
            "settings": [{"name": name, "value": "on" if on else "off"} for name, on in switches.items()],
            "goodput_bps": rate,
            "repeat": number,
            "valid": rate is not None,
            "reason": reason,
        }
        for number, rate in enumerate(rates, 1)
    ]


def simulated(
    seed: int = 0, noise: float = 0.05, drift: float = 0.0, repeats: int = 5, triple: float = 0.0
) -> list[Row]:
    """A bridge, and a switch that hangs with checksum offload unless its own TSO is on.

    `drift` is how cases differ from one bring-up to the next; `triple` is what three switches do together only.
    """
    chance = random.Random(seed)  # noqa: S311

    def rates(datapath: str, letters: str, userspace_tso: bool | None) -> list[float | None]:
        level = math.log(0.4e9) + chance.gauss(0, drift)
        level += PATH * (datapath == "linux_bridge") + USERSPACE_TSO * bool(userspace_tso)
        level += CHECKSUM * ("c" in letters) + TSO * ("t" in letters) + GSO * ("g" in letters)
        level += TSO_WITH_GSO * ({*"tg"} <= {*letters}) + triple * ({*"tgr"} <= {*letters})
        return [math.exp(level + chance.gauss(0, noise)) for _ in range(repeats)]

    def cases() -> Iterator[list[Row]]:
        for letters in (f"{combination}{gro}" for combination in COMBINATIONS for gro in ("", "r")):
            yield case("linux_bridge", letters, None, rates("linux_bridge", letters, None))
            yield case("ovs_dpdk", letters, True, rates("ovs_dpdk", letters, True))
            if "c" in letters:
                yield case("ovs_dpdk", letters, False, [None] * repeats, "no answer within 12 s")
            else:
                yield case("ovs_dpdk", letters, False, rates("ovs_dpdk", letters, False))

    return [row for rows in cases() for row in rows]


def effect(explanation: Explanation, name: str) -> Effect:
    return next(effect for effect in explanation.effects if effect.name == name)


def test_known_causes_are_found() -> None:
    found = explain(simulated(1))
    assert (found.fast_case, found.slow_case) == ("linux_bridge-cstgr", "ovs_dpdk-r")
    assert found.low < math.exp(GAP) < found.high
    for name, truth in TRUTH.items():
        part = effect(found, name)
        assert part.factor == pytest.approx(math.exp(truth), rel=0.05)
        assert part.share == pytest.approx(truth / GAP, abs=0.02)
    assert effect(found, "scatter-gather").noise
    [together] = found.interactions
    assert together.name == "TSO with GSO"
    assert together.factor == pytest.approx(math.exp(TSO_WITH_GSO), rel=0.06)


def test_parts_make_up_the_whole() -> None:
    for rows in (simulated(2), simulated(3, drift=0.3), simulated(4, repeats=1), simulated(5, noise=0.5, repeats=2)):
        found = explain(rows)
        assert math.fsum(part.share for part in found.effects) == pytest.approx(1.0)
        assert math.prod(part.factor for part in found.effects) == pytest.approx(found.gap_factor)


@pytest.mark.parametrize("drift", [0.0, 0.1])
def test_intervals_hold_the_truth_as_often_as_they_say(drift: float) -> None:
    factors: list[bool] = []
    shares: list[bool] = []
    gaps: list[bool] = []
    for seed in range(200):
        found = explain(simulated(seed, drift=drift))
        gaps.append(found.low <= math.exp(GAP) <= found.high)
        for name, truth in TRUTH.items():
            part = effect(found, name)
            factors.append(part.low <= math.exp(truth) <= part.high)
            shares.append(part.share_low <= truth / GAP <= part.share_high)
    for held in (factors, shares, gaps):
        assert 0.88 <= sum(held) / len(held) <= 0.99


def test_the_sentence_is_made_of_the_data() -> None:
    sentence = explain(simulated(1)).sentence
    assert sentence.startswith(
        "TCP over linux_bridge with GRO, GSO, scatter-gather, TSO and checksum offload is 17x (16-18) as fast as over "
        "ovs_dpdk with GRO: of that gap, 4"
    )
    for part in (" is the path itself, 39 % (38-40) is TSO", "is checksum offload", "within noise: scatter-gather"):
        assert part in sentence
    assert sentence.endswith("; with userspace TSO ovs_dpdk reaches 0.43 of linux_bridge.")


def test_what_a_path_gives_back() -> None:
    [regained] = explain(simulated(1)).regained
    truth = USERSPACE_TSO + GAP - PATH
    assert regained.name == "userspace TSO"
    assert regained.low < math.exp(truth) < regained.high
    assert regained.share == pytest.approx(truth / GAP, abs=0.02)


def test_what_hangs_is_told_by_its_cause_and_not_fitted() -> None:
    found = explain(simulated(1))
    told = "TCP did not pass at all over ovs_dpdk with checksum offload on and userspace TSO off: no answer within 12 s"
    assert told in found.warnings


def test_a_path_over_which_nothing_passes_is_told() -> None:
    rows = [row for row in simulated(1) if row["datapath"] == "linux_bridge"]
    rows += case("sriov", "c", None, [None, None], "no route to host")
    assert "TCP did not pass at all over sriov: no route to host" in explain(rows).warnings


def test_hangs_without_a_common_cause_are_told_by_name() -> None:
    rows = case("p", "", None, [1e9, 1.1e9]) + case("p", "ct", None, [2e9, 2.1e9])
    rows += case("p", "c", None, [None]) + case("p", "t", None, [None])
    assert "TCP did not pass at all over p in p-c, p-t" in explain(rows).warnings


def test_a_model_that_misses_something_says_so_and_widens_its_intervals() -> None:
    good, poor = explain(simulated(1)), explain(simulated(1, triple=1.0))
    assert not any("does not fit well" in text for text in good.warnings)
    assert any("does not fit well" in text for text in poor.warnings)
    narrow, wide = (math.log(effect(found, "TSO").high / effect(found, "TSO").low) for found in (good, poor))
    assert wide > 5 * narrow


def test_what_always_goes_together_is_told_together() -> None:
    rows = case("linux_bridge", "cstg", None, [9e9, 9.1e9, 9.2e9]) + case("linux_bridge", "", None, [2e9, 2.1e9, 1.9e9])
    rows += case("ovs_dpdk", "", None, [0.4e9, 0.41e9, 0.39e9])
    found = explain(rows)
    together = "checksum offload, scatter-gather, TSO and GSO"
    assert [part.name for part in found.effects] == ["the path itself", together]
    assert f"these cases cannot tell apart: {together}" in found.warnings
    assert effect(found, "the path itself").factor == pytest.approx(5.0, rel=0.01)


def test_a_path_that_is_its_switches_is_not_guessed_apart_from_them() -> None:
    found = explain(case("linux_bridge", "cst", None, [9e9, 9.1e9]) + case("ovs_dpdk", "", None, [0.4e9, 0.41e9]))
    [part] = found.effects
    assert part.name == "the path itself, checksum offload, scatter-gather and TSO"
    assert part.share == pytest.approx(1.0)


def test_steps_that_were_not_measured_are_filled_in_and_that_is_said() -> None:
    rows = [row for row in simulated(1) if row["case_id"] not in ("linux_bridge-r", "ovs_dpdk-cr-utso")]
    found = explain(rows)
    assert any("the model fills the gap in" in text for text in found.warnings)
    assert math.fsum(part.share for part in found.effects) == pytest.approx(1.0)
    assert effect(found, "TSO").factor == pytest.approx(math.exp(TRUTH["TSO"]), rel=0.05)


def test_what_the_model_alone_cannot_tell_apart_is_one_part() -> None:
    rows = case("a", "c", None, [1e9, 1.1e9]) + case("b", "t", None, [2e9, 2.1e9]) + case("b", "cr", None, [4e9, 4.1e9])
    found = explain(rows, fast="b-cr", slow="b-t")
    [part] = found.effects
    assert part.share == pytest.approx(1.0)
    assert any(text.startswith("these cases cannot tell apart") for text in found.warnings)


def test_one_path_is_explained_by_its_switches() -> None:
    found = explain([row for row in simulated(1) if row["datapath"] == "linux_bridge"])
    assert (found.fast_case, found.slow_case) == ("linux_bridge-cstgr", "linux_bridge-none")
    assert "the path itself" not in [part.name for part in found.effects]
    assert effect(found, "TSO").factor == pytest.approx(math.exp(TRUTH["TSO"]), rel=0.05)


def test_paths_without_switches_differ_by_the_path() -> None:
    rows = case("linux_bridge", "", None, [2e9, 2.1e9, 1.9e9]) + case("ovs_dpdk", "", None, [0.4e9, 0.41e9, 0.39e9])
    [part] = explain(rows).effects
    assert (part.name, part.share, part.noise) == ("the path itself", pytest.approx(1.0), False)


def test_no_difference_is_said_to_be_none() -> None:
    rows = case("linux_bridge", "", None, [2e9, 2.1e9, 1.9e9]) + case("ovs_dpdk", "", None, [1.99e9, 2.05e9, 1.9e9])
    found = explain(rows)
    assert found.sentence.endswith("as fast as over ovs_dpdk: that is within noise.")
    assert found.effects[0].share_high == math.inf


def test_two_values_have_a_ratio_and_no_interval() -> None:
    found = explain(case("linux_bridge", "", None, [2e9]) + case("ovs_dpdk", "", None, [1e9]))
    assert (found.gap_factor, found.low, found.high) == (pytest.approx(2.0), 0.0, math.inf)
    assert found.sentence == (
        "TCP over linux_bridge is 2.0x as fast as over ovs_dpdk: too few runs to tell it from noise."
    )
    assert "too few runs for intervals: it takes several repeats" in found.warnings


def test_values_without_any_noise_are_exact() -> None:
    found = explain(simulated(noise=0.0))
    assert found.gap_factor == pytest.approx(math.exp(GAP))
    assert effect(found, "TSO").factor == pytest.approx(math.exp(TRUTH["TSO"]))
    assert not any("does not fit well" in text for text in found.warnings)


def test_runs_that_carried_nothing_are_left_out_and_told() -> None:
    rows = case("linux_bridge", "", None, [2e9, 2.1e9, 0.0]) + case("ovs_dpdk", "", None, [1e9, None, 1.1e9], "hung")
    found = explain(rows)
    assert found.gap_factor == pytest.approx(math.sqrt(4.2 / 1.1))
    assert any(text.startswith("linux_bridge-none: 1 of 3 runs do not count") for text in found.warnings)
    assert "ovs_dpdk-none: 1 of 3 runs do not count: hung" in found.warnings


def test_uneven_scatter_is_told() -> None:
    chance = random.Random(1)  # noqa: S311
    rows = [*simulated(1)]
    for row in rows:
        if row["datapath"] == "ovs_dpdk" and row["valid"]:
            row["goodput_bps"] *= math.exp(chance.gauss(0, 0.3))
    assert any(text.startswith("repeats over ovs_dpdk scatter") for text in explain(rows).warnings)


def test_named_cases_are_compared() -> None:
    found = explain(simulated(1), fast="ovs_dpdk-cstgr-utso", slow="ovs_dpdk-r")
    assert (found.fast_case, found.slow_case) == ("ovs_dpdk-cstgr-utso", "ovs_dpdk-r")
    assert effect(found, "userspace TSO").factor == pytest.approx(math.exp(USERSPACE_TSO), rel=0.1)
    assert explain(simulated(1), slow="ovs_dpdk-none").fast_case == "linux_bridge-cstgr"


def test_other_tests_and_paths_do_not_disturb() -> None:
    rows = simulated(1)
    requests = [{**row, "test": "tcp_rr", "goodput_bps": None} for row in rows]
    middle = case("ovs_kernel", "cstg", None, [3e9, 3.1e9])
    found = explain([*requests, *middle, *rows])
    assert replace(found, warnings=()) == replace(explain(rows), warnings=())
    assert "measured too, but no part of this: ovs_kernel" in found.warnings


def test_emulated_guests_are_labelled() -> None:
    rows = [{**row, "emulated": True} for row in simulated(1)]
    assert explain(rows).warnings[0] == "emulated: not a performance figure"


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ([], {}),
        (case("p", "", None, [1e9, 1e9]), {}),
        (case("p", "", None, [None]) + case("q", "", None, [0.0]), {}),
        (simulated(1), {"fast": "ovs_dpdk-r", "slow": "ovs_dpdk-r"}),
        (simulated(1), {"fast": "ovs_dpdk-c"}),
        (simulated(1), {"slow": "nothing"}),
    ],
)
def test_nothing_to_compare_is_said(rows: list[Row], names: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"nothing to compare|traffic passed in no run"):
        explain(rows, **names)
