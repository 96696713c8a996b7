"""What differs beside the results is found and told, and what differs every time is not."""

import copy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nvbench.comparison import Comparison, Criteria, compare
from nvbench.reading import Results
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import Sample, Setting, StreamRow
from nvbench.trial import Counters, Trial
from nvbench.trial_rows import trial_row
from tests.unit.made_runs import SUBJECT, mrr, opened, result, run

BENCH: dict[str, Any] = {
    "hosts": {
        "switch": {
            "kernel": "6.1.0-28",
            "kernel_command_line": "quiet isolcpus=1-3 nohz_full=1-3",
            "governor": "performance",
            "memory": {"MemTotal": 100, "MemAvailable": 60, "HugePages_Total": 8, "HugePages_Free": 2},
            "versions": {"ovs": "3.1.0", "dpdk": "22.11"},
            "nics": [{"name": "eth1", "driver": "mlx5_core", "firmware-version": "22.36"}, {"name": "eth2"}],
        }
    },
    "ovs_dpdk": "OVS 3.1.0, DPDK 22.11",
    "linux_bridge": "Linux 6.1",
    "placement": "The switch polls on core 1",
    "clock": {"tsc_hz": 2.5e9},
}
PROFILE: dict[str, Any] = {
    "name": "p",
    "seed": 1,
    "link_gbps": 10.0,
    "drain_s": 2.0,
    "datapath": [{"kind": ["ovs_dpdk"], "queues": [1]}],
    "traffic": {"frame_bytes": [64], "flows": [1], "vary": [["udp_src"]], "direction": ["unidirectional"]},
    "tests": {"mrr": {"duration_s": 1.0, "repeats": 10}, "soak": None, "latency": {"loads": [1.0]}},
}
HEADER = RunHeader("p", "bench", profile=PROFILE, testbed={"name": "lab", "link_gbps": None}, fingerprint=BENCH)


def changed(header: RunHeader, part: str, path: str, value: object) -> RunHeader:
    """`header` with another value at a dotted place."""
    whole = copy.deepcopy(dict(getattr(header, part)))
    *above, last = path.split(".")
    place: Any = whole
    for name in above:
        place = place[int(name) if name.isdigit() else name]
    place[last] = value
    return replace(header, **{part: whole})


def compared(root: Path, new: RunHeader, expect: tuple[str, ...] | None = None) -> Comparison:
    sides = opened(run(root, [mrr(1.0)], HEADER)), opened(run(root, [mrr(1.0)], new))
    return compare(*sides, Criteria(expect=expect))


def test_runs_of_one_bench_differ_in_nothing(tmp_path: Path) -> None:
    found = compared(tmp_path, HEADER)
    assert found.differences == ()
    assert not found.environments_differ


@pytest.mark.parametrize(
    ("part", "path", "value", "name", "told"),
    [
        ("fingerprint", "hosts.switch.kernel", "6.12", "hosts.switch.kernel", ("6.1.0-28", "6.12")),
        ("fingerprint", "hosts.switch.governor", "powersave", "hosts.switch.governor", ("performance", "powersave")),
        (
            "fingerprint",
            "hosts.switch.nics.0.firmware-version",
            "22.40",
            "hosts.switch.nics.eth1.firmware-version",
            ("22.36", "22.40"),
        ),
        ("fingerprint", "placement", "none", "placement", ("The switch polls on core 1", "none")),
        ("profile", "tests.mrr.duration_s", 60.0, "profile.tests.mrr.duration_s", ("1.0", "60.0")),
        ("profile", "traffic.vary", [["ip_src"]], "profile.traffic.vary.0", ("udp_src", "ip_src")),
        ("profile", "drain_s", 0.1, "profile.drain_s", ("2.0", "0.1")),
        ("testbed", "link_gbps", 25.0, "testbed.link_gbps", ("-", "25.0")),
    ],
)
def test_what_differs_has_a_dotted_name_and_both_values(
    tmp_path: Path, part: str, path: str, value: object, name: str, told: tuple[str, str]
) -> None:
    found = compared(tmp_path, changed(HEADER, part, path, value))
    assert [(each.name, (each.base, each.new), each.expected) for each in found.differences] == [(name, told, False)]
    assert found.environments_differ


@pytest.mark.parametrize(
    ("part", "path", "value"),
    [
        ("fingerprint", "hosts.switch.memory.MemAvailable", 1),
        ("fingerprint", "hosts.switch.memory.HugePages_Free", 1),
        ("fingerprint", "clock.tsc_hz", 2.5000001e9),
        ("profile", "seed", 99),
        ("profile", "traffic.frame_bytes", [64, 1518]),
        ("profile", "tests.latency", {"loads": [0.5]}),
        ("testbed", "description", "another text"),
    ],
)
def test_what_differs_every_time_or_concerns_no_case_is_not_told(
    tmp_path: Path, part: str, path: str, value: object
) -> None:
    assert compared(tmp_path, changed(HEADER, part, path, value)).differences == ()


def test_quick_runs_are_not_those_of_full_length(tmp_path: Path) -> None:
    found = compared(tmp_path, replace(HEADER, quick=True))
    assert [(each.name, each.base, each.new) for each in found.differences] == [("profile.quick", "False", "True")]
    assert "quick: short trials, not RFC 2544 durations (new)" in found.warnings


def test_versions_of_what_is_compared_are_expected_unless_something_else_is_said(tmp_path: Path) -> None:
    newer = changed(HEADER, "fingerprint", "ovs_dpdk", "OVS 3.2.0, DPDK 22.11")
    newer = changed(newer, "fingerprint", "hosts.switch.versions.ovs", "3.2.0")
    assert [each.expected for each in compared(tmp_path, newer).differences] == [True, True]
    named = compared(tmp_path, newer, expect=("ovs_*",))
    assert {each.name: each.expected for each in named.differences} == {
        "hosts.switch.versions.ovs": False,
        "ovs_dpdk": True,
    }
    other = compared(tmp_path, changed(HEADER, "fingerprint", "linux_bridge", "Linux 6.12"))
    assert [(each.name, each.expected) for each in other.differences] == [("linux_bridge", False)]


def test_every_value_of_a_side_is_told_where_its_runs_differ(tmp_path: Path) -> None:
    newer = changed(HEADER, "fingerprint", "hosts.switch.kernel", "6.12")
    base = opened(run(tmp_path, [mrr(1.0)], HEADER), run(tmp_path, [mrr(1.0)], newer))
    found = compare(base, opened(run(tmp_path, [mrr(1.0)], newer)))
    assert [(each.name, each.base, each.new) for each in found.differences] == [
        ("hosts.switch.kernel", "6.1.0-28; 6.12", "6.12")
    ]


def test_warnings_of_one_side_are_told(tmp_path: Path) -> None:
    found = compared(tmp_path, replace(HEADER, warnings=["cores are shared"]))
    assert "cores are shared (new only)" in found.warnings


def streams(root: Path, tso: str) -> Results:
    subject = replace(SUBJECT, test="tcp_stream", frame_bytes=0)
    flags = (Setting("tcp-segmentation-offload", tso), Setting("scatter-gather", "on"))
    row = StreamRow(
        subject=subject,
        repeat=1,
        tool="iperf3",
        parallel=1,
        started_at=datetime.now(UTC),
        duration_s=1.0,
        goodput_bps=1.0,
        client_offloads=flags,
        server_offloads=flags[1:],
    )
    return opened(run(root, [result(None, subject, goodput_bps=1.0)], HEADER, streams=[row]))


def test_offloads_are_told_as_they_were_found(tmp_path: Path) -> None:
    found = compare(streams(tmp_path, "on"), streams(tmp_path, "off"))
    assert [(each.name, each.base, each.new) for each in found.differences] == [
        ("offloads.client.tcp-segmentation-offload", "on", "off")
    ]


def polled(root: Path, core: float) -> Results:
    with RunWriter.create(root, HEADER) as writer:
        trial = trial_row(replace(SUBJECT, test="mrr"), Trial(1.0, 1.0, 1.0, (Counters(),)), purpose="p")
        name = writer.append_trial(trial)
        writer.append_samples(
            name,
            [
                Sample(1.0, "port p0 queue 0", "polling_core", core, "core"),
                Sample(1.0, "port p0 queue 1", "polling_core", 2.0, "core"),
                Sample(1.0, "pmd core 2", "busy_cycles", 1e9 * core, "cycles"),
            ],
        )
        writer.append_result(mrr(1.0))
    return opened(writer.path)


def test_a_queue_that_another_core_polls_is_told(tmp_path: Path) -> None:
    found = compare(polled(tmp_path, 1.0), polled(tmp_path, 3.0))
    assert [(each.name, each.base, each.new) for each in found.differences] == [
        ("queues.1.port p0 queue 0", "core 1", "core 3")
    ]


@pytest.mark.parametrize("facts", [{}, {"hosts": None}, {"nics": []}, {"hosts": {"a": [1, [2, {"x": None}]]}}])
def test_records_of_any_shape_are_read(tmp_path: Path, facts: dict[str, object]) -> None:
    assert compared(tmp_path, replace(HEADER, fingerprint=facts)).environments_differ
