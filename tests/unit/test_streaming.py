"""Streams, on endpoints that a script plays: order, offloads, silence, crashes, answers."""

import json
from dataclasses import replace

import pytest

import nvbench
from nvbench.axes import Path
from nvbench.datapaths.ovs_options import OvsDpdkParameters
from nvbench.datapaths.sriov import SriovParameters
from nvbench.errors import DatapathError
from nvbench.generators.streams import StreamTest
from nvbench.hosts import Completed
from nvbench.offloads import ETHTOOL_NAMES, Offloads
from nvbench.plan import Case
from nvbench.profile import Tests as Asked
from nvbench.rigs import Endpoint, StreamRig
from nvbench.rising import CLIENT, SERVER
from nvbench.silence import why_silent
from nvbench.store import RunHeader, RunWriter
from nvbench.stream_run import Endpoints
from nvbench.streaming import FIRST_PORT, Streaming
from nvbench.streams import StreamSection
from nvbench.topology import Topology


class Process:
    """A tool that prints its lines and ends; a server that stays."""

    def __init__(self, lines, status=0):
        self.lines, self.status = list(lines), status

    def receive(self, timeout_s):
        if self.lines is None:
            raise TimeoutError
        return self.lines.pop(0) if self.lines else None

    def complaints(self):
        return []

    def close(self, timeout_s=5.0):
        return self.status

    def kill(self): ...


class Host:
    """An endpoint whose flags can be switched, but for those that are fixed, and whose tool reaches `mbps`."""

    name = "fake"

    def __init__(self, mbps=1000.0, fixed=()):
        self.mbps, self.fixed, self.bytes, self.port = mbps, fixed, 0, 0
        self.flags = dict.fromkeys(ETHTOOL_NAMES, True)
        self.spawned = []

    def run(self, argv, *, timeout_s=30.0, stdin="", check=True):
        text = ""
        if argv[:3] == ["ethtool", "--json", "-k"]:
            flags = {
                ETHTOOL_NAMES[name]: {"active": on, "fixed": name in self.fixed} for name, on in self.flags.items()
            }
            text = json.dumps([{"ifname": argv[3], **flags}])
        elif argv[:2] == ["ethtool", "-K"]:
            for word, state in zip(argv[3::2], argv[4::2], strict=True):
                name = {"tx": "tx_checksum"}.get(word, word)
                if name not in self.fixed:
                    self.flags[name] = state == "on"
        elif argv[0] == "cat":
            self.bytes += 100_000_000
            text = f"{self.bytes // 10000}\n{self.bytes}\n{self.bytes // 10000}\n{self.bytes}\n"
        elif argv[0] == "ss":
            text = f"tcp LISTEN 0 4096 *:{self.port} *:*\n"
        return Completed(tuple(argv), 0, text, "", 0.0)

    def read(self, path):
        return "cpu 100 0 100 1000 0 0 0 0 0 0\n"

    def spawn(self, argv):
        self.spawned.append(argv)
        if "-s" in argv:
            self.port = int(argv[argv.index("-p") + 1])
            return Process(["server"])
        rate = {"bits_per_second": self.mbps * 1e6, "seconds": 1.0, "retransmits": 3}
        cpu = {"host_total": 50.0, "remote_total": 60.0}
        told = {"end": {"sum_sent": rate, "sum_received": rate, "cpu_utilization_percent": cpu}}
        return Process(json.dumps(told, indent=1).splitlines())


class Guest:
    def __init__(self, host, emulated=False):
        self.host, self.emulated, self.version, self.name = host, emulated, "fake", "vm1"

    def check_alive(self): ...


class Datapath:
    version = "fake"

    def __init__(self):
        self.findings, self.crash = [], ""

    def crashed(self):
        return self.crash


def rig(client=None, server=None, datapath=None, emulated=False):
    ends = Guest(client or Host(), emulated), Guest(server or Host())
    return StreamRig(
        datapath or Datapath(), Endpoint(ends[0], "eth0", CLIENT), Endpoint(ends[1], "eth0", SERVER), ends, Host()
    )


def case(name, parameters=None, *, repeats=2, **offloads):
    path = Path("ovs_dpdk", Topology.VM_TO_VM, "namespace", {})
    tests = Asked(tcp_stream=StreamSection(duration_s=1.0, warmup_s=0.0, repeats=repeats))
    return Case(name, path, parameters or OvsDpdkParameters(), None, Offloads(**offloads), tests, 0.0, 0.0)


def measured(tmp_path, cases, made=None, seed=1):
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as store:
        streaming = Streaming(tuple(cases), store, lambda text: None, seed)
        streaming.go_on(made or rig())
        rows = {row.subject.case_id: row for row in streaming.answers()}
    return rows, nvbench.open_results(store.path).table("streams").to_pylist()


def test_an_answer_is_the_median_with_its_least_and_most(tmp_path):
    client = Host()
    rates = iter([900.0, 1000.0, 950.0])
    spawn = client.spawn

    def changing(argv):
        client.mbps = next(rates)
        return spawn(argv)

    client.spawn = changing
    rows, runs = measured(tmp_path, [case("a", repeats=3)], rig(client))
    row = rows["a"]
    assert (row.value_min, row.value_median, row.value_max) == (900e6, 950e6, 1000e6)
    assert (row.goodput_bps, row.repeats, row.verdict, row.retransmits) == (950e6, 3, "measured", 3)
    assert row.packet_bytes == pytest.approx(10_000)
    assert [run["repeat"] for run in runs] == [1, 2, 3]


def test_each_round_measures_every_case_once_in_an_order_of_its_own(tmp_path):
    cases = [case(name, repeats=8) for name in "abcd"]
    _, runs = measured(tmp_path, cases)
    rounds = [[run["case_id"] for run in runs[start : start + 4]] for start in range(0, 32, 4)]
    assert all(sorted(each) == list("abcd") for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1
    _, again = measured(tmp_path / "again", cases)
    assert [run["case_id"] for run in again] == [run["case_id"] for run in runs]


def test_no_run_waits_for_the_last_ones_port(tmp_path):
    server = Host()
    measured(tmp_path, [case("a", repeats=3)], rig(server=server))
    ports = [argv[argv.index("-p") + 1] for argv in server.spawned]
    assert len(set(ports)) == 3
    assert min(map(int, ports)) >= FIRST_PORT


def test_flags_are_switched_at_both_ends_and_what_was_not_asked_for_is_put_back(tmp_path):
    client, server = Host(), Host()
    _, runs = measured(tmp_path, [case("off", tso=False), case("found")], rig(client, server))
    for run in runs:
        tso = {each["name"]: each["value"] for each in run["client_offloads"]}["tcp-segmentation-offload"]
        assert tso == ("off" if run["case_id"] == "off" else "on")
        assert run["client_offloads"] == run["server_offloads"]


def test_a_flag_that_cannot_be_switched_makes_a_case_impossible_and_says_so(tmp_path):
    rows, runs = measured(tmp_path, [case("a", tso=False), case("b", gso=False)], rig(Host(fixed=("tso",))))
    told = "not possible here: client: tso: asked for off, it is on [fixed]"
    assert rows["a"].verdict == told
    assert rows["b"].verdict == "measured"
    assert {run["case_id"] for run in runs} == {"b"}


def test_a_tool_that_fails_is_told_and_tried_again(tmp_path):
    client = Host()
    spawn, fails = client.spawn, iter([True, False, False])
    client.spawn = lambda argv: Process(['{"error": "Connection refused"}'], 1) if next(fails) else spawn(argv)
    rows, runs = measured(tmp_path, [case("a", OvsDpdkParameters(userspace_tso=True))], rig(client))
    assert (rows["a"].verdict, rows["a"].repeats, rows["a"].trials, rows["a"].invalid_trials) == ("measured", 2, 3, 1)
    assert "refused" in runs[0]["reason"].lower()


def test_checksums_that_nobody_fills_in_are_named_as_the_cause(tmp_path):
    client = Host()
    client.spawn = lambda argv: Process(['{"error": "Connection timed out"}'], 1)
    rows, runs = measured(tmp_path, [case("a", repeats=5)], rig(client))
    assert rows["a"].verdict == "TCP does not pass: checksums are left unfilled"
    assert len(runs) == 1  # more of the same would tell nothing
    cause = why_silent(case("a"), Endpoints(rig()).flags(rig().client))
    assert cause is not None
    assert cause.told.endswith("switch tx_checksum off at both ends, or userspace_tso on")
    assert why_silent(case("a", OvsDpdkParameters(userspace_tso=True)), Endpoints(rig()).flags(rig().client)) is None


def test_a_switch_that_goes_costs_the_case_at_hand_and_the_rest_goes_on(tmp_path):
    datapath = Datapath()
    client = Host()
    spawn = client.spawn

    def crashing(argv):
        datapath.crash = "ovs-vswitchd has gone: Segmentation fault"
        return Process(["not json"], 1)

    cases = [case(name) for name in "ab"]
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as store:
        streaming = Streaming(tuple(cases), store, lambda text: None, 1)
        client.spawn = crashing
        with pytest.raises(DatapathError, match="Segmentation fault"):
            streaming.go_on(rig(client, datapath=datapath))
        client.spawn = spawn
        assert not streaming.done
        streaming.go_on(rig(client))
        verdicts = sorted(row.verdict for row in streaming.answers())
    assert verdicts == ["broke: ovs-vswitchd has gone: Segmentation fault", "measured"]


def test_what_is_given_up_is_marked(tmp_path):
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as store:
        streaming = Streaming((case("a"),), store, lambda text: None, 1)
        streaming.give_up("broke: no switch")
        assert streaming.done
        assert [row.verdict for row in streaming.answers()] == ["broke: no switch"]


def test_a_limit_that_does_not_limit_is_a_finding(tmp_path):
    limited = replace(
        case("a", SriovParameters(max_tx_rate=20)), path=Path("sriov", Topology.VM_TO_VM, "namespace", {})
    )
    rows, _ = measured(tmp_path, [limited], rig(Host(mbps=225.0)))
    assert "a limit of 20 Mbit/s was asked for and is not enforced: 225 pass" in rows["a"].warnings
    rows, _ = measured(tmp_path / "kept", [limited], rig(Host(mbps=19.5)))
    assert not rows["a"].warnings


def test_an_emulated_guest_marks_every_answer(tmp_path):
    rows, runs = measured(tmp_path, [case("a")], rig(emulated=True))
    assert rows["a"].emulated
    assert all(run["emulated"] for run in runs)


def test_a_section_asks_its_tool_for_what_the_profile_says():
    ask = StreamSection(parallel=4, rate_mbps=20.0, duration_s=2.0).ask(StreamTest.UDP_STREAM, "10.0.0.1", 5300)
    assert (ask.parallel, ask.rate_bps, ask.port, ask.limit_s) == (4, 20e6, 5300, 13.0)
