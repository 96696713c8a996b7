"""Profiles: what they say, what --quick and -s change, and what is refused."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nvbench.errors import UsageError
from nvbench.profile import GENERATORS, Profile, load_profile, packaged_profiles, read_profile
from nvbench.rfc2544 import TESTS
from nvbench.traffic import FlowField

SMALL = """\
name: small
datapath:
  kind: ovs_dpdk
traffic:
  frame_bytes: 64
tests:
  throughput: {}
"""
SIMULATED = ("datapath.kind=simulated", "generator=simulated")


def refused(text: str, *overrides: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        read_profile("f.yaml", text.encode(), overrides)
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def small(*overrides: str) -> Profile:
    return read_profile("f.yaml", SMALL.encode(), overrides)


def test_packaged_profiles_are_named_after_their_files_and_described() -> None:
    assert set(packaged_profiles()) >= {"10ge-forwarding", "rfc2544-full", "offload-tso", "netperf-paths", "mtu-sweep"}
    for name, description in packaged_profiles().items():
        assert load_profile(name).name == name
        assert description


def test_the_full_profile_makes_every_test_at_the_durations_of_the_rfc() -> None:
    profile = load_profile("rfc2544-full")
    assert [test.name for test in profile.tests.each()] == [test.name for test in TESTS]
    assert profile.tests.throughput.final_s == profile.tests.frame_loss.duration_s == 60
    assert profile.tests.latency.repeats == 20
    assert profile.tests.back_to_back.repeats == 50


def test_the_forwarding_profile_is_rfc_2544s() -> None:
    profile = load_profile("10ge-forwarding")
    assert profile.traffic.frame_bytes == (64, 128, 256, 512, 1024, 1280, 1518)
    assert profile.tests.throughput is not None
    assert profile.tests.latency is not None
    assert (profile.tests.throughput.final_s, profile.tests.latency.duration_s) == (60.0, 120.0)
    assert (profile.drain_s, profile.quick) == (2.0, False)


def test_quick_lays_its_section_over_the_rest_and_overrides_win() -> None:
    profile = load_profile("10ge-forwarding", ["tests.throughput.final_s=3"], quick=True)
    assert profile.tests.throughput is not None
    assert (profile.tests.throughput.search_s, profile.tests.throughput.final_s) == (0.3, 3.0)
    assert profile.tests.throughput.width == 0.005
    assert (profile.drain_s, profile.quick) == (0.05, True)


def test_resolved_is_json_with_defaults_filled_in() -> None:
    resolved = json.loads(json.dumps(small("datapath.queues=[1,2]").resolved()))
    assert resolved["datapath"] == [
        {"kind": ["ovs_dpdk"], "topology": ["P2P"], "guest": ["namespace"], "queues": [1, 2]}
    ]
    assert resolved["traffic"]["vary"] == [["udp_src"]]
    assert resolved["tests"]["throughput"]["goals"] == [{"loss_ratio": 0.0, "strictness": "rfc2544"}]
    assert resolved["tests"]["latency"] is None
    assert resolved["seed"] == 1


def test_any_scalar_may_be_a_list_and_vary_a_list_of_lists() -> None:
    traffic = small("traffic.vlan=[null, 10]", "traffic.vary=[[udp_src], [ip_dst, ip_src]]").traffic
    assert traffic.vlan == (None, 10)
    assert traffic.vary == ((FlowField.UDP_SRC,), (FlowField.IP_SRC, FlowField.IP_DST))
    assert small("traffic.vary=ip_src").traffic.vary == ((FlowField.IP_SRC,),)
    assert small("traffic.flows=1e5", "traffic.vary=[ip_src]").traffic.flows == (100_000,)


def test_a_profile_becomes_simulated_by_two_overrides() -> None:
    profile = load_profile("10ge-forwarding", SIMULATED)
    assert profile.simulated
    assert profile.default_testbed == "simulated"
    assert load_profile("10ge-forwarding").default_testbed == "local"


def test_a_test_is_left_out_by_null() -> None:
    assert load_profile("10ge-forwarding", ["tests.latency=null"]).tests.latency is None


def test_every_fault_is_told_with_its_line() -> None:
    text = """\
name: on
descriptin: x
traffic:
  frame_bytes: [64, 12, abc]
  direction: bidirektional
datapath:
  kind: ovs_dpkd
tests:
  throughput:
    final: 2
    goals: [{loss_ratio: 2}]
generator: nvgne
quick:
  drain_s: -1
"""
    assert refused(text) == [
        "f.yaml:1: `on` is ambiguous: write true, false or 'on'",
        "f.yaml:2: descriptin: unknown key (did you mean `description`?)",
        "f.yaml:4: traffic.frame_bytes.1: must be at least 64, not 12",
        "f.yaml:4: traffic.frame_bytes.2: must be a whole number, not 'abc'",
        "f.yaml:5: traffic.direction: must be one of unidirectional, bidirectional; not 'bidirektional' "
        "(did you mean `bidirectional`?)",
        "f.yaml:7: datapath.kind: no datapath is called 'ovs_dpkd' (did you mean `ovs_dpdk`?)",
        "f.yaml:10: tests.throughput.final: unknown key (did you mean `final_s`?)",
        "f.yaml:11: tests.throughput.goals.0.loss_ratio: must be below 1.0, not 2",
        f"f.yaml:12: generator: must be one of {', '.join(GENERATORS)}; not 'nvgne' (did you mean `nvgen`?)",
        "f.yaml:14: drain_s: must be at least 0.0, not -1",
    ]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("traffic.frme_bytes=1", "unknown key (did you mean `frame_bytes`?)"),
        ("tests.throughput.final_s=long", "must be a number, not 'long'"),
        ("tests.throughput.final_s=0", "must be above 0.0, not 0"),
        ("tests.throughput.width=0.9", "must be at most 0.5, not 0.9"),
        (
            "tests.throughput.goals=[{loss_ratio: 0.1}, {loss_ratio: 0.1}]",
            "asks for the loss ratio 0.1 twice (one goal a loss ratio)",
        ),
        ("tests.throughput.goals=[{loss_ratio: 0, strictness: rfc2545}]", "(did you mean `rfc2544`?)"),
        (
            "tests.throughput={min_load: 0.5, max_load: 0.4}",
            "max_load: must be above min_load, 0.5, not 0.4 (there is nothing between them)",
        ),
        (
            "tests.throughput={final_s: 1, search_s: 2}",
            "final_s: must be at least search_s, 2, not 1 (shorten search_s as well)",
        ),
        (
            "tests.throughput={final_s: 60, budget_s: 30}",
            "budget_s: is less than one full-length trial, final_s, of 60 s",
        ),
        ("tests={throughput: {}, latency: {loads: 1.5}}", "must be at most 1.0, not 1.5"),
        ("tests={throughput: {}, latency: {loads: [0.5, 0.5]}}", "lists 0.5 twice"),
        ("tests={frame_loss: {step: 0.2}}", "must be at most 0.1, not 0.2"),
        ("tests={fram_loss: {}}", "unknown key (did you mean `frame_loss`?)"),
        ("traffic.frame_bytes='imix:'", "a genome has 1 to 1024 letters, this one has 0"),
        ("traffic.frame_bytes=[64, 'imix:aaz']", "f=1280, g=1518, h=2112, i=9000)"),
        ("traffic.frame_bytes=mix", "must be a whole number, not 'mix'"),
        ("traffic.frame_bytes='imix:ai'", "carries an IP packet of 8982, the MTU is 1500 (raise datapath.mtu to 8982)"),
        ("traffic.frame_bytes=63", "must be at least 64, not 63"),
        ("traffic.frame_bytes=true", "must be a whole number, not true"),
        ("traffic.frame_bytes=[]", "needs 1 or more entries, has 0"),
        ("traffic.frame_bytes=[64, 64]", "lists 64 twice"),
        ("traffic.vlan=4095", "must be at most 4094, not 4095"),
        ("traffic.vary=[udp_source]", "(did you mean `udp_src`?)"),
        ("name=7", "must be text, not 7 (put it in quotes)"),
        ("name=a/b", "must be made of letters, digits, `.`, `_` and `-` (it becomes part of file names)"),
        ("datapath=7", "must be a mapping of keys, not 7"),
        ("datapath.queus=2", "unknown option of ovs_dpdk (did you mean `queues`?)"),
        ("datapath.queues=[1, 0]", "datapath.queues.1: must be at least 1, not 0"),
        ("datapath.emc=1", "must be true or false, not 1"),
        ("quick=1", "must be a mapping of the keys that --quick changes"),
        ("tests={throughput: null}", "asks for nothing (add `throughput: {}`, or `tcp_stream: {}`)"),
        (
            "traffic.frame_bytes=9018",
            "a frame of 9018 carries an IP packet of 9000, the MTU is 1500 (raise datapath.mtu to 9000)",
        ),
        ("traffic.flows=70000", "udp_src can tell 65536 flows apart, not 70000 (add ip_src to traffic.vary)"),
        (
            "generator=simulated",
            "the simulated generator cannot drive ovs_dpdk (add -s datapath.kind=simulated)",
        ),
        (
            "datapath.kind=simulated",
            "a simulated datapath needs the simulated generator (add -s generator=simulated)",
        ),
    ],
)
def test_a_bad_value_says_what_helps(override: str, line: str) -> None:
    (told,) = refused(SMALL, override)
    assert told.endswith(line)
    key = override.partition("=")[0]
    assert f"-s {key}: " in told or told.startswith("f.yaml:3: datapath.kind")


def test_an_option_must_be_one_of_every_swept_kind() -> None:
    (told,) = refused(SMALL, "datapath.kind=[ovs_dpdk, direct]", "datapath.emc=true")
    assert told == (
        "-s datapath.emc: is no option of the datapath direct, which is swept too "
        "(make `datapath` a list, with an entry for each)"
    )


@pytest.mark.parametrize("test", ["latency", "recovery", "reset", "soak"])
def test_a_share_of_the_throughput_needs_a_throughput(test: str) -> None:
    (told,) = refused(SMALL, f"tests={{{test}: {{}}}}")
    assert told.endswith(
        f"tests.{test}: its load is a share of the throughput found, which is not searched (add tests.throughput)"
    )


def test_other_tests_stand_alone_and_so_does_a_probe() -> None:
    assert [test.name for test in small("tests={mrr: {}, frame_loss: {}}").tests.each()] == ["frame_loss", "mrr"]
    assert [test.name for test in small("tests={latency: {loads: 0}}").tests.each()] == ["latency"]


def test_there_is_a_key_for_each_test() -> None:
    everything = small(f"tests={{{', '.join(f'{test.name}: {{}}' for test in TESTS)}}}")
    assert [type(test) for test in everything.tests.each()] == list(TESTS)


def test_frame_sizes_may_be_mixed() -> None:
    profile = small("traffic.frame_bytes=[64, 'imix:aaaaaaabbbbg']")
    plain, mixed = profile.traffic.each()
    assert (plain.imix, mixed.imix) == ("", "aaaaaaabbbbg")
    assert mixed.average_frame_bytes == (7 * 64 + 4 * 128 + 1518) / 12
    assert json.loads(json.dumps(profile.resolved()))["traffic"]["frame_bytes"] == [64, "imix:aaaaaaabbbbg"]


def test_a_tag_leaves_less_room_for_the_packet() -> None:
    assert small("traffic.vlan=10", "traffic.frame_bytes=1522").traffic.frame_bytes == (1522,)
    assert "raise datapath.mtu to 1504" in refused(SMALL, "traffic.frame_bytes=1522")[0]


def test_a_missing_key_is_named() -> None:
    assert "f.yaml:1: `datapath` is missing" in refused("name: x\ntests: {tcp_stream: {}}\n")


def test_frames_have_to_be_described_before_they_can_be_sent() -> None:
    (told,) = refused("name: x\nlink_gbps: 1\ndatapath: {kind: direct}\ntests: {throughput: {}}\n")
    assert told.endswith("tests.throughput: sends frames, and `traffic` says none (add traffic.frame_bytes)")


KEYS = st.sampled_from(
    ["name", "datapath", "kind", "traffic", "frame_bytes", "vary", "tests", "throughput", "quick", "mtu", "x"]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["ovs_dpdk", "simulated", "udp_src"]),
)
TREES = st.recursive(
    SCALARS,
    lambda below: st.one_of(st.lists(below, max_size=4), st.dictionaries(KEYS, below, max_size=4)),
    max_leaves=12,
)


@settings(max_examples=60)
@given(st.dictionaries(KEYS, TREES))
def test_no_tree_ends_in_a_traceback(tree: dict[str, object]) -> None:
    whole = {**yaml.safe_load(SMALL), **tree}
    for candidate in (tree, whole):
        try:
            read_profile("f.yaml", yaml.safe_dump(candidate).encode())
        except UsageError as error:
            assert str(error)


@settings(max_examples=60)
@given(st.sampled_from(["traffic", "datapath", "tests", "quick", "traffic.vary", "datapath.mtu"]), TREES)
def test_no_override_ends_in_a_traceback(key: str, tree: object) -> None:
    value = yaml.safe_dump(tree, default_flow_style=True, width=10_000)
    try:
        small(f"{key}={value}")
    except UsageError as error:
        assert str(error)


def test_an_override_for_the_quick_section_is_not_held_against_the_rest():
    profile = load_profile("10ge-forwarding", ["tests.throughput.budget_s=15"], quick=True)
    assert profile.tests.throughput.budget_s == 15
    with pytest.raises(UsageError, match="full-length trial"):
        load_profile("10ge-forwarding", ["tests.throughput.budget_s=15"])
