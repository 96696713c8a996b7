"""Two plans in turn: what a change may be, which cases belong together, whose turn it is, and what both runs hold."""

import statistics
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby

import pytest
from click.testing import CliRunner
from scipy.stats import wilcoxon

import nvbench
from nvbench import session as session_module
from nvbench.bench import bench
from nvbench.cli import plan as plan_command
from nvbench.cli import run as run_command
from nvbench.errors import DatapathError, NotPossibleError, RunBrokeError, UsageError
from nvbench.reading import throughputs
from nvbench.runs import Run
from nvbench.session import Session, arranged, run_in_turn
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import StreamRow, Subject
from nvbench.versus import Change, Side, Versus, make_versus

SIMULATED = ("datapath.kind=simulated", "generator=simulated", "datapath.queues=1")
BASE, NEW = Side
CRASH, NOT_HERE = DatapathError("it crashed"), NotPossibleError("no such build")


def versus(*texts: str, blocks: int | None = None, overrides=(), profile="10ge-forwarding", quick=True) -> Versus:
    change = Change.parse(texts)
    base, new = (each.plan(profile, None, overrides, quick=quick) for each in (Change(), change))
    return make_versus(base, new, change, blocks)


def refused(*texts: str, **asked) -> str:
    with pytest.raises(UsageError) as caught:
        versus(*texts, **asked)
    return str(caught.value)


# -- what a change may be ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "overrides"),
    [
        (["same"], ()),
        (["datapath.emc=false"], ("datapath.emc=false",)),
        (["datapath.emc=false, datapath.smc=true"], ("datapath.emc=false", "datapath.smc=true")),
        (["datapath.emc=false", "datapath.smc=true"], ("datapath.emc=false", "datapath.smc=true")),
        (["testbed.switch.pmd_cores=[2,3],datapath.mtu=9000"], ("testbed.switch.pmd_cores=[2,3]", "datapath.mtu=9000")),
        (["traffic.vary=[[ip_src,udp_src],[udp_src]]"], ("traffic.vary=[[ip_src,udp_src],[udp_src]]",)),
        (["datapath.prefix='/opt/a,b'"], ("datapath.prefix='/opt/a,b'",)),
    ],
)
def test_overrides_stand_between_commas_that_no_value_holds(texts, overrides):
    assert Change.parse(texts).overrides == overrides


def test_a_change_is_laid_over_the_profile_and_over_the_testbed():
    made = versus("datapath.flow_tables=2,testbed.switch.ovs=/opt/ovs,testbed.switch.pmd_cores=[1]")
    assert {case.parameters.flow_tables for case in made.base.cases} == {1}
    assert {case.parameters.flow_tables for case in made.new.cases} == {2}
    assert (made.base.testbed.switch.ovs, made.new.testbed.switch.ovs) == ("/usr", "/opt/ovs")
    assert (made.base.testbed.switch.pmd_cores, made.new.testbed.switch.pmd_cores) == (None, (1,))


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (["same,datapath.emc=false"], "--versus: `same` stands alone (drop it, or the rest)"),
        (["emc"], "--versus 'emc': needs a key and a value (write KEY=VALUE, or same)"),
        ([""], "--versus '': needs a key and a value (write KEY=VALUE, or same)"),
        (["datapath.emc="], "--versus datapath.emc: has no value (for none write null)"),
        (["datapath.queues=0"], "--versus datapath.queues: must be at least 1, not 0"),
        (["traffic.flow=2"], "--versus traffic.flow: unknown key (did you mean `flows`?)"),
        (["testbed.switch.osv=/opt"], "--versus testbed.switch.osv: unknown key (did you mean `ovs`?)"),
        (["testbed.switch.ovs=opt"], "--versus testbed.switch.ovs: must be an absolute path, not 'opt'"),
        (
            ["datapath.flow_tables=1"],
            "--versus datapath.flow_tables=1: changes nothing: all of it is so already "
            "(for two runs of the same give --versus same)",
        ),
        (
            ["tests.latency=null"],
            "--versus tests.latency=null: one side makes the tests throughput, latency, the other throughput",
        ),
        (
            ["testbed.hosts.local.address=root@192.0.2.1"],
            "--versus testbed.hosts.local.address=root@192.0.2.1: both sides are measured on one bench "
            "(name all hosts in the testbed, and change testbed.switch.host)",
        ),
    ],
)
def test_a_change_that_cannot_be_is_told_in_a_line(texts, line):
    assert refused(*texts) == line


# -- which cases belong together -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        ("same", ()),
        ("testbed.switch.ovs=/opt/ovs", ()),
        ("datapath.flow_tables=2", ("flow_tables",)),
        ("datapath.topology=PVP", ("topology", "guest")),
        ("datapath.queues=4,traffic.flows=10", ("queues", "flows")),
    ],
)
def test_cases_are_paired_by_all_that_the_change_is_not_about(change, keys):
    made = versus(change, overrides=("datapath.queues=1", "traffic.vlan=[null, 7]"))
    assert set(made.keys) == set(keys)
    assert len(made.pairs) == len(made.base.cases) == 14
    for base, new in made.pairs:
        assert (base.frames.frame_bytes, base.frames.vlan) == (new.frames.frame_bytes, new.frames.vlan)


def test_another_kind_of_datapath_has_other_options_and_the_same_cases():
    made = versus("datapath.kind=testpmd")
    assert {(base.path.kind, new.path.kind) for base, new in made.pairs} == {("ovs_dpdk", "testpmd")}
    assert all(base.parameters.queues == new.parameters.queues for base, new in made.pairs)
    assert {"datapath", "flow_tables"} < set(made.keys)


def test_two_generators_are_compared_by_what_both_can_do():
    made = versus("generator=testpmd", overrides=("tests={mrr: {repeats: 2}}",))
    assert made.keys == ("generator",)
    assert [kind.name for kind in made.new.generators] == ["testpmd"]


def test_what_is_swept_and_changed_cannot_be_paired():
    told = refused("datapath.queues=4", overrides=("traffic.frame_bytes=64",))
    assert "ovs_dpdk-1q-64B" in told
    assert "ovs_dpdk-2q-64B" in told
    assert "of the base side differ only in what it changes (sweep that nowhere)" in told
    assert refused("datapath.queues=[4, 8]", overrides=("datapath.queues=1",)).count("\n") == 5
    assert refused("datapath.queues=[4, 8]", overrides=("datapath.queues=1",)).endswith("and 2 more like these")


def test_a_case_that_one_side_cannot_have_is_measured_on_neither():
    paths = ("datapath=[{kind: ovs_dpdk, mtu: 9000}, {kind: direct, mtu: 9000}]", "traffic.frame_bytes=[64, 9018]")
    made = versus("datapath.0.mtu=1500", overrides=paths)
    sizes = [(base.path.kind, base.frames.frame_bytes) for base, _ in made.pairs]
    assert sorted(sizes) == [("direct", 64), ("direct", 9018), ("ovs_dpdk", 64)]
    (base,), (new,) = made.base.impossible, made.new.impossible
    assert new.reason == "a frame of 9018 bytes does not fit the MTU of 1500"
    assert base.reason == f"nothing to compare it with: {new.reason}"


# -- whose turn it is ----------------------------------------------------------------------------------------------


def test_sides_take_turns_so_that_drift_falls_on_both_alike():
    made = versus("same", blocks=4, overrides=SIMULATED)
    assert [side for side, _ in groupby(turn.side for turn in made.turns())] == [BASE, NEW, BASE, NEW, BASE]
    at = {side: [place for place, turn in enumerate(made.turns()) if turn.side is side] for side in Side}
    assert sum(at[BASE]) == sum(at[NEW])  # any drift in a straight line cancels


def test_each_block_has_every_case_once_a_side_in_an_order_of_its_own():
    made = versus("datapath.flow_tables=2", blocks=6)
    orders = {}
    for turn in made.turns():
        orders.setdefault((turn.block, turn.side), []).extend(case.frames.frame_bytes for case in turn.setup.cases)
    for block in range(6):
        assert orders[block, BASE] == orders[block, NEW]
        assert sorted(orders[block, BASE]) == sorted(case.frames.frame_bytes for case in made.base.cases)
    assert len({tuple(order) for order in orders.values()}) == 6


def test_the_order_is_that_of_the_seed():
    def names(seed: int) -> list[object]:
        made = versus("same", overrides=(f"seed={seed}",))
        return [(turn.side, turn.seed, [case.case_id for case in turn.setup.cases]) for turn in made.turns()]

    assert names(1) == names(1) != names(2)


def test_blocks_are_as_many_as_suit_the_profile_or_as_asked():
    blocks = [
        versus("same", blocks=wanted, quick=quick).blocks for wanted, quick in ((None, True), (None, False), (3, True))
    ]
    assert blocks == [8, 10, 3]


def test_the_expected_time_is_that_of_all_blocks():
    one, four = (versus("datapath.flow_tables=2", blocks=blocks) for blocks in (1, 4))
    ceilings = one.base.ceilings + one.new.ceilings
    assert one.bring_ups == ceilings + 2 * 2
    assert four.bring_ups == ceilings + 4 * 2 * 2
    cases = sum(case.expected_s for plan in (one.base, one.new) for case in plan.cases)
    assert four.expected_s - one.expected_s == pytest.approx(3 * (cases + 2 * 2 * 5))
    assert versus("same", overrides=SIMULATED).expected_s == 0


# -- what both runs hold -------------------------------------------------------------------------------------------


class Silent:
    def stage(self, text): ...
    def live(self, where, load_pps, duration_s, live): ...
    def trial(self, where, trial): ...
    def result(self, row): ...


STEADY = (*SIMULATED, "traffic.frame_bytes=64", "tests.latency=null")
ONE_CASE = (
    *STEADY,
    "datapath.capacity_noise=0.003",
    "tests={mrr: {duration_s: 0.2, repeats: 1}}",
    "quick.tests={}",
)


def measured(tmp_path, made: Versus, on_turn=lambda turn: None):
    """Both runs of a device that is simulated, by side."""
    with (
        bench(made.base.testbed) as held,
        RunWriter.create(tmp_path, RunHeader("p", "simulated")) as base,
        RunWriter.create(tmp_path, RunHeader("p", "simulated")) as new,
    ):
        stores = {BASE: base, NEW: new}
        sessions = {side: Session(made.plan(side), held, stores[side], Silent()) for side in Side}
        run_in_turn(made, sessions, on_turn)
    return {side: nvbench.open_results(stores[side].path) for side in Side}


def rates(found, side: Side) -> list[float]:
    return [row["rate_pps"] for row in found[side].results().to_pylist()]


def test_both_runs_are_stored_and_each_result_says_of_which_block_it_is(tmp_path):
    made = versus("datapath.capacity_mpps=2.45", blocks=3, overrides=(*ONE_CASE, "traffic.frame_bytes=[64,128]"))
    found = measured(tmp_path, made)
    for side in Side:
        rows = found[side].results().to_pylist()
        assert [row["block"] for row in rows] == [0, 0, 1, 1, 2, 2]
        assert {row["case_id"] for row in rows} == {case.case_id for case in made.plan(side).cases}
        assert found[side].runs[0].state == "finished"
    assert made.header(NEW) == {
        "side": "new",
        "change": "datapath.capacity_mpps=2.45",
        "keys": "capacity_mpps",
    }


def test_streams_are_stamped_with_their_block(tmp_path):
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as store:
        subject = Subject("c", "tcp_stream", "ovs_dpdk", "iperf3", 0)
        now = datetime.now(UTC)
        store.block = 7
        store.append_stream(
            StreamRow(subject=subject, repeat=1, tool="iperf3", parallel=1, started_at=now, duration_s=1.0)
        )
    (stored,) = nvbench.open_results(store.path).table("streams").to_pylist()
    assert stored["block"] == 7


def test_a_device_that_is_the_same_differs_within_its_noise(tmp_path):
    found = measured(tmp_path, versus("same", blocks=10, overrides=ONE_CASE))
    base, new = (rates(found, side) for side in Side)
    assert len(set(base)) == len(set(new)) == 10  # each block is a sample of its own
    assert wilcoxon(base, new).pvalue > 0.05
    assert statistics.median(new) == pytest.approx(statistics.median(base), rel=0.005)


def test_a_device_that_is_two_percent_slower_is_found(tmp_path):
    found = measured(tmp_path, versus("datapath.capacity_mpps=2.45", blocks=8, overrides=ONE_CASE))
    base, new = (rates(found, side) for side in Side)
    assert wilcoxon(base, new).pvalue < 0.01
    assert statistics.median(new) / statistics.median(base) == pytest.approx(0.98, abs=0.004)


def test_later_blocks_search_near_the_first_answer_and_not_at_one_load(tmp_path):
    found = measured(tmp_path, versus("same", blocks=3, overrides=STEADY))
    starts = []
    results = found[BASE]
    first = throughputs(results)
    assert first
    trials = results.trials().to_pylist()
    for row in results.results().to_pylist():
        starts.append(trials[0]["intended_pps"])
        trials = trials[row["trials"] :]
    first_answer = results.results().to_pylist()[0]["rate_pps"]
    assert starts[0] == pytest.approx(results.results().to_pylist()[0]["line_rate_pps"])
    assert all(start == pytest.approx(1.1 * first_answer, rel=0.021) for start in starts[1:])
    assert len(set(starts)) == 3


# -- what goes wrong -----------------------------------------------------------------------------------------------


def failing(monkeypatch, when, error):
    """Rigs of which some do not come up, by the set-up; how often each was asked for."""
    asked = Counter()
    real = session_module.frame_rig

    @contextmanager
    def frame_rig(held, setup, generator, **options):
        asked[setup.parameters.capacity_mpps] += 1
        if when(setup, asked):
            raise error
        with real(held, setup, generator, **options) as rig:
            yield rig

    monkeypatch.setattr(session_module, "frame_rig", frame_rig)
    return asked


def runs(tmp_path):
    """The runs in a folder by their side's state, the base first."""
    return [Run.open(path) for path in sorted(tmp_path.iterdir(), key=lambda path: (len(path.name), path.name))]


def test_a_case_that_breaks_on_one_side_is_marked_and_all_else_goes_on(tmp_path, monkeypatch):
    made = versus("datapath.capacity_mpps=2.45", blocks=3, overrides=ONE_CASE)
    failing(monkeypatch, lambda setup, asked: asked[2.45] == 2 and setup.parameters.capacity_mpps == 2.45, CRASH)
    with pytest.raises(RunBrokeError, match=r"^1 case broke; the first: it crashed$"):
        measured(tmp_path, made)
    base, new = runs(tmp_path)
    assert (base.state, new.state) == ("finished", "broke")
    rows = nvbench.open_results([base.path]).results().to_pylist()
    assert [row["block"] for row in rows if row["rate_pps"]] == [0, 1, 2]
    rows = nvbench.open_results([new.path]).results().to_pylist()
    assert [(row["block"], row["verdict"]) for row in rows if not row["rate_pps"]] == [(1, "broke: it crashed")]
    assert [row["block"] for row in rows if row["rate_pps"]] == [0, 2]


def test_what_one_side_cannot_have_is_not_tried_in_every_block(tmp_path, monkeypatch):
    made = versus("datapath.capacity_mpps=2.45", blocks=5, overrides=ONE_CASE)
    asked = failing(monkeypatch, lambda setup, _: setup.parameters.capacity_mpps == 2.45, NOT_HERE)
    found = measured(tmp_path, made)
    assert asked == {2.5: 1, 2.45: 1}
    assert [row["verdict"] for row in found[NEW].results().to_pylist()] == ["not possible here: no such build"]


def test_an_interrupted_run_leaves_both_sides_readable(tmp_path):
    made = versus("same", blocks=4, overrides=ONE_CASE)

    def on_turn(turn):
        if turn.block == 2 and turn.side is NEW:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path, made, on_turn)
    base, new = runs(tmp_path)
    assert (base.state, new.state) == ("interrupted", "interrupted")
    assert [row["block"] for row in nvbench.open_results([base.path]).results().to_pylist()] == [0, 1, 2]
    assert [row["block"] for row in nvbench.open_results([new.path]).results().to_pylist()] == [0, 1]


def test_a_side_with_other_cores_has_a_bench_of_its_own_on_the_same_hosts():
    made = versus("testbed.switch.socket_memory_mb=512", overrides=SIMULATED)
    with bench(made.base.testbed) as held:
        with arranged(held, made.base.testbed) as same:
            assert same is held
        with arranged(held, made.new.testbed) as other:
            assert other.testbed.switch.socket_memory_mb == 512
            assert other.journal is held.journal


# -- the command line ----------------------------------------------------------------------------------------------


def invoked(tmp_path, *words):
    asked = ["--quick", *(word for each in ONE_CASE for word in ("-s", each)), "--results", str(tmp_path), *words]
    return CliRunner().invoke(run_command.command, ["10ge-forwarding", *asked])


def test_two_runs_know_each_other_and_carry_the_label(tmp_path):
    done = invoked(tmp_path, "--versus", "datapath.capacity_mpps=2.45", "--blocks", "2", "--label", "tuned")
    base, new = runs(tmp_path)
    assert f"nvbench compare {base.run_id} {new.run_id}" in done.stderr
    assert "block 2 of 2, base: simulated-1q-64B" in done.stderr
    assert [run.record["label"] for run in (base, new)] == ["tuned base", "tuned new"]
    assert base.record["versus"] == {
        "side": "base",
        "partner": new.run_id,
        "change": "datapath.capacity_mpps=2.45",
        "keys": "capacity_mpps",
    }
    assert new.record["versus"] == base.record["versus"] | {"side": "new", "partner": base.run_id}
    assert new.record["overrides"] == base.record["overrides"] | {"datapath.capacity_mpps": "2.45"}


def test_the_plan_says_how_both_are_measured_in_turn():
    told = CliRunner().invoke(plan_command.command, ["ovs-regression", "--quick", "--versus", "datapath.flow_tables=2"])
    assert (
        "Measured in turn in 8 blocks, AB BA AB BA ...; A: as above, B: the same with datapath.flow_tables=2"
        in told.stdout
    )
    assert "18 set-ups of 5 s" in told.stdout


def test_blocks_need_a_second_side(tmp_path):
    done = invoked(tmp_path, "--blocks", "2")
    assert str(done.exception) == "--blocks: is of two sides measured in turn (add --versus, or drop it)"
