"""Plans: which cases there are, what they are called, how long they take."""

import hashlib
import re
from dataclasses import replace
from itertools import groupby
from pathlib import Path as FilePath

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from nvbench import profile as profile_module
from nvbench.axes import Path
from nvbench.cli import plan as plan_command
from nvbench.cli import profiles as profiles_command
from nvbench.datapaths.ovs_options import OvsDpdkParameters
from nvbench.endpoint import LinkKind
from nvbench.errors import UsageError
from nvbench.framing import ring_and_frames, without_switch
from nvbench.generators.capture import capture
from nvbench.generators.nvgen import NVGEN
from nvbench.naming import case_id
from nvbench.plan import Plan, expectation, make_plan
from nvbench.profile import load_profile
from nvbench.testbed import load_testbed
from nvbench.topology import Topology
from nvbench.traffic import Traffic

SIMULATED = ("datapath.kind=simulated", "generator=simulated")


def planned(*overrides: str, quick: bool = False, testbed: str = "local") -> Plan:
    return make_plan(load_profile("10ge-forwarding", overrides, quick), load_testbed(testbed))


def names(*overrides: str) -> list[str]:
    return [case.case_id for case in planned("traffic.frame_bytes=64", "datapath.queues=1", *overrides).cases]


def refused(testbed: str, *overrides: str) -> str:
    with pytest.raises(UsageError) as caught:
        planned(*overrides, testbed=testbed)
    return str(caught.value)


def test_the_forwarding_profile_has_seven_sizes_at_two_queue_counts() -> None:
    plan = planned()
    sizes = (64, 128, 256, 512, 1024, 1280, 1518)
    names = {f"ovs_dpdk-{queues}q-{size}B" for queues in (1, 2) for size in sizes}
    assert sorted(case.case_id for case in plan.cases) == sorted(names)
    assert sorted((setup.parameters.queues, len(setup.cases)) for setup in plan.setups) == [(1, 7), (2, 7)]
    assert next(plan.setups).max_frame_bytes == 1518


def test_the_order_is_shuffled_by_the_seed_and_never_takes_a_set_up_apart() -> None:
    orders = {tuple(case.case_id for case in planned(f"seed={seed}").cases) for seed in (1, 1, 2, 3)}
    assert len(orders) == 3
    for order in orders:
        assert len(list(groupby(order, key=lambda name: name.split("-")[1]))) == 2


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("traffic.flows=1000", "ovs_dpdk-1q-64B-flows1000"),
        ("traffic.vlan=10", "ovs_dpdk-1q-64B-vlan10"),
        ("traffic.direction=bidirectional", "ovs_dpdk-1q-64B-bidir"),
        ("traffic.vary=[udp_src, ip_src]", "ovs_dpdk-1q-64B-vary_ip_src+udp_src"),
        ("datapath.emc=false", "ovs_dpdk-1q-64B-no_emc"),
        ("datapath.flow_set=normal", "ovs_dpdk-1q-64B-flow_set_normal"),
        ("datapath.prefix=/opt/ovs-3.3/", "ovs_dpdk-1q-64B-prefix_opt_ovs-3.3"),
        (
            f"datapath.prefix='/opt/für Open vSwitch/{'x' * 300}'",
            "ovs_dpdk-1q-64B-prefix_opt_f_r_Open_vSwitch_xxxxxxxxxxxxxxxxxxx_dd1abb54",
        ),
        ("datapath.rxq_affinity='0:3,1:4'", "ovs_dpdk-1q-64B-rxq_affinity_0_3_1_4"),
        ("datapath.mtu=9000", "ovs_dpdk-1q-64B-mtu9000"),
        ("datapath.ingress_policing_kbps=5e6", "ovs_dpdk-1q-64B-ingress_policing_kbps5000000"),
        ("traffic.frame_bytes='imix:aaaaaaabbbbg'", "ovs_dpdk-1q-imix_a7b4g"),
        (
            f"traffic.frame_bytes='imix:{'ab' * 40}'",
            "ovs_dpdk-1q-imix_abababababababababababababababababababab_50010c60",
        ),
        ("datapath.mtu=1500", "ovs_dpdk-1q-64B"),  # a default, even if written, is left out
    ],
)
def test_a_name_says_what_differs_from_the_defaults(override: str, name: str) -> None:
    assert names(override) == [name]


def test_a_name_does_not_depend_on_what_else_is_swept() -> None:
    alone = {name for flows in (1, 1000) for name in names(f"traffic.flows={flows}")}
    assert set(names("traffic.flows=[1, 1000]", "datapath.kind=[ovs_dpdk, direct]")) > alone


def pcap(folder: FilePath, name: str, *sizes: int) -> FilePath:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(capture([bytes(size) for size in sizes]))
    return folder / name


NO_LATENCY = "tests.latency=null"


def test_frames_of_a_file_are_named_by_it_and_by_what_it_holds(tmp_path: FilePath) -> None:
    one = pcap(tmp_path / "a", "my web-vlan7-x.pcap", 60)
    other = pcap(tmp_path / "b", "my web-vlan7-x.pcap", 61)
    plan = planned(f"traffic.pcap=['{one}', '{other}']", "datapath.queues=1", NO_LATENCY)
    digests = [hashlib.sha256(file.read_bytes()).hexdigest()[:8] for file in (one, other)]
    assert len(list(plan.setups)) == 2  # what a switch has learned from one would be wrong for the other
    assert {case.case_id for case in plan.cases} == {f"ovs_dpdk-1q-pcap_my_web_vlan7_x_{digest}" for digest in digests}
    assert {setting.value for case in plan.cases for setting in case.settings if setting.name == "pcap"} == {
        f"my web-vlan7-x@{digest}" for digest in digests
    }


def test_the_line_rate_of_a_file_follows_from_its_mean_size(tmp_path: FilePath) -> None:
    plan = planned(f"traffic.pcap={pcap(tmp_path, 'x.pcap', 60, 60, 1514)}", NO_LATENCY)
    assert plan.cases[0].line_rate_pps == pytest.approx(10e9 / 8 / ((64 + 64 + 1518) / 3 + 20))
    assert next(plan.setups).max_frame_bytes == 1518


def test_a_file_is_played_by_tcpreplay_alone(tmp_path: FilePath) -> None:
    file = f"traffic.pcap={pcap(tmp_path, 'x.pcap', 60)}"
    assert [kind.name for kind in planned(file, NO_LATENCY).generators] == ["tcpreplay"]
    told = refused("local", file, NO_LATENCY, "generator=nvgen")
    assert "nvgen cannot play a capture file; tcpreplay can, over links of the kernel" in told
    assert "latency needs a generator that can measure latency, which tcpreplay cannot" in refused("local", file)


@settings(max_examples=20)
@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=3, unique=True),
    st.lists(st.sampled_from(["null", "1", "100"]), min_size=1, unique=True),
    st.lists(st.sampled_from(["unidirectional", "bidirectional"]), min_size=1, unique=True),
    st.lists(st.sampled_from(["true", "false"]), min_size=1, unique=True),
    st.lists(st.sampled_from(["[udp_src]", "[ip_src]", "[ip_src, udp_src]"]), min_size=1, unique=True),
)
def test_names_are_unique_and_fit_for_files(
    flows: list[int], vlans: list[str], directions: list[str], emc: list[str], vary: list[str]
) -> None:
    found = names(
        f"traffic.flows={flows}",
        f"traffic.vlan=[{', '.join(vlans)}]",
        f"traffic.direction=[{', '.join(directions)}]",
        f"datapath.emc=[{', '.join(emc)}]",
        f"traffic.vary=[{', '.join(vary)}]",
    )
    assert len(set(found)) == len(found) == len(flows) * len(vlans) * len(directions) * len(emc) * len(vary)
    assert all(re.fullmatch(r"[\w.+-]+", name) for name in found)


@given(st.text(max_size=300))
def test_a_name_is_fit_for_files_whatever_an_option_says(text: str) -> None:
    name = case_id(Path("ovs_dpdk", Topology.P2P, "", {}), OvsDpdkParameters(prefix=f"/{text}"), Traffic(64))
    assert re.fullmatch(r"[\w.+-]+", name, re.ASCII)
    assert len(name) < 100


def test_line_rate_is_that_of_the_link() -> None:
    (small,) = (case for case in planned().cases if case.case_id == "ovs_dpdk-1q-64B")
    assert small.line_rate_pps == pytest.approx(14_880_952, abs=1)
    assert planned("link_gbps=25").link_bps == 25e9


def test_the_expected_time_is_that_of_its_trials() -> None:
    plan = planned(testbed="two-servers")
    assert plan.cases[0].expected_s == 8 * (1 + 2) + 2 * (60 + 2) + 1 * (120 + 2)
    assert plan.expected_s == 14 * plan.cases[0].expected_s + 2 * 5
    assert expectation(plan.profile) == {
        "throughput": "8 of 1 s that search, 2 of 60 s that confirm",
        "latency": "1 of 120 s for latency",
    }
    assert planned(*SIMULATED, testbed="simulated").expected_s == 0
    assert planned(quick=True).expected_s < 300


@pytest.mark.parametrize("profile", ["rfc2544-full", "10ge-quality"])
def test_a_quick_look_takes_less_than_ten_minutes(profile: str) -> None:
    plan = make_plan(load_profile(profile, quick=True), load_testbed("local"))
    assert 60 < plan.expected_s < 8 * 60  # the rest is for trials that the host disturbs


def test_virtual_links_need_a_bring_up_more_for_each_number_of_queues() -> None:
    assert planned().bring_ups == 2 + 2
    assert planned(testbed="two-servers").bring_ups == 2


def test_what_cannot_be_run_is_refused_with_what_helps() -> None:
    assert "add -s datapath.kind=simulated -s generator=simulated" in refused("simulated")
    assert "give --testbed simulated" in refused("local", *SIMULATED)
    assert "links' speed is not known" in refused("local", "link_gbps=null")
    assert "more than 10000" in refused("local", f"traffic.flows={list(range(1, 1001))}")
    equal = refused("simulated", *SIMULATED, "datapath.capacity_mpps=[2, 2.0]")
    assert "simulated-1q-64B-capacity_mpps2 is there twice" in equal
    assert "names do not tell apart" in refused("local", "datapath.prefix=[/opt/ovs_3, /opt/ovs/3]")
    assert "must be an absolute path, not opt/ovs" in refused("local", "datapath.prefix=opt/ovs")


def test_the_command_prints_cases_changes_and_time() -> None:
    result = CliRunner().invoke(plan_command.command, ["10ge-forwarding", "--quick", "-s", "datapath.queues=1"])
    assert result.exit_code == 0, result.output
    assert "7 cases in 1 set-up; in each: throughput, latency" in result.output
    assert re.search(r"ovs_dpdk-1q-64B +14\.88 Mpps +6 s", result.output)
    assert "  latency: 1 of 1 s for latency" in result.output
    assert "host local: a private ovsdb-server and ovs-vswitchd run" in result.output
    assert "Expected time: " in result.output


def test_the_profiles_command_lists_both_rooms() -> None:
    result = CliRunner().invoke(profiles_command.command)
    assert result.exit_code == 0
    assert "10ge-forwarding  Forwarding performance" in result.output
    assert "two-servers" in result.output


def test_options_are_judged_together() -> None:
    tunnel = planned("datapath.dot1q_tunnel=5", "datapath.flow_set=normal", "datapath.queues=1")
    assert {case.parameters.dot1q_tunnel for case in tunnel.cases} == {5}  # type: ignore[attr-defined]
    assert "dot1q_tunnel needs flow_set: normal" in refused("local", "datapath.dot1q_tunnel=5")


def test_each_kind_of_port_has_a_ceiling_of_its_own() -> None:
    cases = planned("datapath.kind=[ovs_dpdk, linux_bridge]", "datapath.queues=1", "traffic.frame_bytes=64").cases
    wires = {ring_and_frames(case, NVGEN) for setup in without_switch(cases, NVGEN) for case in setup.cases}
    assert wires == {ring_and_frames(case, NVGEN) for case in cases}
    assert len(wires) == 2


def test_a_ceiling_can_be_left_out() -> None:
    swept = ("datapath.kind=ovs_dpdk", "datapath.queues=[1, 2]")
    with_it, without = planned(*swept), planned(*swept, "ceiling=false")
    assert (with_it.ceilings, without.ceilings) == (2, 0)
    assert with_it.bring_ups - without.bring_ups == 2


UNPACED = replace(
    NVGEN,
    name="flood",
    links=(LinkKind.VHOST_USER,),
    abilities=lambda links: frozenset(),
    cannot_send=lambda traffic: "has no tags" if traffic.vlan is not None else "",
)
MRR = "tests={mrr: {repeats: 2}}"


@pytest.fixture
def with_flood(monkeypatch):
    """A generator that can only send flat out stands behind nvgen."""
    monkeypatch.setattr(profile_module, "KINDS", (NVGEN, UNPACED))
    monkeypatch.setattr(profile_module, "GENERATORS", ("auto", "nvgen", "flood", "simulated"))


def test_auto_keeps_every_generator_that_can_do_it_all(with_flood):
    assert [kind.name for kind in planned(MRR).generators] == ["nvgen", "flood"]
    assert [kind.name for kind in planned().generators] == ["nvgen"]
    assert [kind.name for kind in planned(MRR, "traffic.vlan=[null, 5]").generators] == ["nvgen"]


def test_what_a_generator_cannot_do_is_refused_before_anything_starts(with_flood):
    assert refused("local", "generator=flood") == (
        "10ge-forwarding: not possible here: throughput needs a generator that can offer a set load, "
        "which flood cannot (-s tests.throughput=null leaves it out)"
    )
    assert "flood cannot send these frames: it has no tags" in refused(
        "local", "generator=flood", MRR, "traffic.vlan=5"
    )
    assert "joins links of the kind veth, tap, device; flood can have vhost_user" in refused(
        "local", "generator=flood", MRR, "datapath={kind: linux_bridge}"
    )


def test_a_generator_that_can_do_some_cases_does_those(with_flood):
    plan = planned("generator=flood", MRR, "traffic.vlan=[null, 5]", "traffic.frame_bytes=128")
    assert [case.traffic.vlan for case in plan.cases] == [None] * len(plan.cases)
    assert {each.reason for each in plan.impossible} == {"flood cannot send these frames: it has no tags"}
