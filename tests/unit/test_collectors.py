"""Collectors: what the kernel's files say, and the recorder that looks around trials and during them."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nvbench
from nvbench.collectors import DpdkTelemetry, Inside, Recorder, base, find_process
from nvbench.collectors.cpu import Cpu
from nvbench.collectors.dpdk_telemetry import port_readings
from nvbench.collectors.files import Files, parse_tail
from nvbench.collectors.frequency import CPUINFO, frequency
from nvbench.collectors.guest import DEVICES, SOCKETS, Devices, Sockets
from nvbench.collectors.interrupts import Interrupts
from nvbench.collectors.memory import Memory
from nvbench.collectors.softnet import SOFTIRQS, STATISTICS, Softnet
from nvbench.collectors.tasks import Task, Tasks
from nvbench.datapaths.simulated import Simulated, SimulatedParameters
from nvbench.errors import DatapathError
from nvbench.generators.devices import Device, LoadedDevice
from nvbench.generators.simulated import SimulatedGenerator
from nvbench.hosts import Completed
from nvbench.store import RunHeader, RunWriter
from nvbench.streaming import Streaming
from nvbench.tables import Reading
from nvbench.traffic import Direction, Traffic
from nvbench.trial import AbortRule
from tests.unit.test_streaming import case, rig


class Host:
    """A machine with some files; elsewhere, they are had by tail(1) alone."""

    name = "fake"

    def __init__(self, files=None, **answers):
        self.files, self.answers, self.ran = files or {}, answers, []

    def read(self, path):
        return self.files.get(path)

    def exists(self, path):
        return path in self.files

    def run(self, argv, **_):
        self.ran.append(list(argv))
        text = self.answers.get(argv[0], "")
        if argv[0] == "tail":
            there = [path for path in argv if path in self.files]
            text = "\n".join(f"==> {path} <==\n{self.files[path]}" for path in there)
        return Completed(tuple(argv), 0, text, "", 0.0)


def values(readings):
    return {(each.source, each.metric): each.value for each in readings}


# -- files -----------------------------------------------------------------------------------------------------


def test_cores_are_told_in_seconds_with_what_is_nice_among_the_users():
    text = (
        "cpu  1000 10 300 5000 40 5 60 70 0 0\n"
        "cpu0 500 5 150 2500 20 2 30 35 0 0\n"
        "cpu1 500 5 150 2500 20 3 30 35 0 0\n"
        "intr 12345 0 0 7\nctxt 678\nbtime 1\n"
    )
    told = values(Cpu(frozenset({1})).parse({"/proc/stat": text}))
    assert told["cpu core 1", "user_s"] == 5.05
    assert told["cpu core 1", "steal_s"] == 0.35
    assert told["host", "interrupts"] == 12345
    assert told["host", "context_switches"] == 678
    assert {source for source, _ in told} == {"cpu core 1", "host"}
    assert {metric for source, metric in told if source == "cpu core 1"} == {
        *("user_s", "system_s", "idle_s", "iowait_s", "irq_s", "softirq_s", "steal_s")
    }


SOFTIRQ_TABLE = (
    "                    CPU0       CPU2\n      NET_TX:         11         12\n      NET_RX:        101        102\n"
)


@pytest.mark.parametrize("columns", [13, 11])
def test_the_network_stacks_rows_are_of_the_cores_that_are_online(columns):
    rows = [f"{count:08x} 00000003 00000002 " + "00000000 " * 9 + f"{core:08x}" for count, core in ((16, 0), (32, 2))]
    text = "\n".join(" ".join(row.split()[:columns]) for row in rows)
    told = values(Softnet().parse({STATISTICS: text, SOFTIRQS: SOFTIRQ_TABLE}))
    assert told["softnet core 0", "processed"] == 16
    assert told["softnet core 2", "processed"] == 32
    assert told["softnet core 2", "dropped"] == 3
    assert told["softnet core 2", "squeezed"] == 2
    assert told["softnet core 2", "net_rx"] == 102
    assert told["softnet core 0", "net_tx"] == 11


def test_interrupts_are_summed_by_what_made_them():
    text = (
        "           CPU0       CPU1\n 24:          1          5  IO-APIC   5-edge      ACPI:Ged\n"
        " 25:         10         20 PCI-MSIX 0-edge      virtio0\nLOC:        100        200   Local timer interrupts\n"
        "RES:          7          8   Rescheduling interrupts\nPIN:          3          4   Posted-interrupt events\n"
        "ERR:          9\n"
    )
    told = values(Interrupts().parse({"/proc/interrupts": text}))
    assert told["interrupts core 1", "device"] == 25
    assert told["interrupts core 1", "timer"] == 200
    assert told["interrupts core 1", "inter_processor"] == 8
    assert told["interrupts core 1", "total"] == 25 + 200 + 8 + 4


def test_frequency_is_cpufreqs_or_else_what_the_processor_says_of_itself():
    path = "/sys/devices/system/cpu/cpu3/cpufreq/scaling_cur_freq"
    here = Host({path: "3100000\n"})
    part = frequency(here, {3})
    assert part.paths == (path,)
    assert values(part.parse(here.files)) == {("frequency core 3", "hertz"): 3.1e9}
    virtual = frequency(Host(), {1})
    text = "processor\t: 0\ncpu MHz\t\t: 2500.000\nflags\t: a\n\nprocessor\t: 1\ncpu MHz\t\t: 2400.500\n"
    assert values(virtual.parse({CPUINFO: text})) == {("frequency core 1", "hertz"): 2_400_500_000.0}


def test_memory_that_is_left():
    text = "MemTotal: 4000 kB\nMemFree: 1 kB\nMemAvailable:    2000 kB\nHugePages_Total: 9\nHugePages_Free:        4\n"
    told = values(Memory().parse({"/proc/meminfo": text}))
    assert told == {("memory", "available_bytes"): 2_048_000.0, ("memory", "hugepages_free"): 4.0}


def test_a_task_ran_waited_and_was_switched():
    task = Task("switch", "pmd-c01/id:8", 70, 77)
    files = {
        "/proc/70/task/77/schedstat": "2500000000 1000000 42\n",
        "/proc/70/task/77/status": "Name:\tx\nvoluntary_ctxt_switches:\t3\nnonvoluntary_ctxt_switches:\t9\n",
        "/proc/70/task/77/stat": "77 (pmd (c01) x) R " + " ".join(str(field) for field in range(4, 53)),
    }
    gone = Task("switch", "gone", 70, 78)
    told = list(Tasks((task, gone)).parse(files))
    assert {each.source for each in told} == {"task switch pmd-c01/id:8/77"}
    assert {each.metric: each.value for each in told} == {
        "cpu_s": 2.5,
        "waited_s": 0.001,
        "switches_voluntary": 3.0,
        "switches_involuntary": 9.0,
        "core": 39.0,  # field 39 of proc(5)
    }


def test_a_program_is_found_by_its_name_and_not_by_who_looks_for_it():
    listing = "11 sudo -n env LC_ALL=C pgrep -a -f nv1-gen\n12 /var/cache/nvgen-a1b2 -l 0 --file-prefix nv1-gen\n"
    assert find_process(Host(pgrep=listing), "nvgen", "nv1-gen") == 12
    assert find_process(Host(pgrep=listing), "qemu-system", "nv1-gen") is None


def test_files_are_read_directly_here_and_in_one_go_elsewhere():
    files = {"/proc/meminfo": "MemAvailable: 1 kB\n", "/proc/stat": "cpu0 1 0 0 0 0 0 0 0\nctxt 5\n"}
    here, there = Host(files), Host(files)
    parts = (Memory(), Cpu(), Interrupts())  # there is no /proc/interrupts
    near = Files(here, parts, local=True).readings()
    far = Files(there, parts, local=False, prefix="generator ").readings()
    assert not here.ran
    assert len(there.ran) == 1
    assert [f"generator {each.source}" for each in near] == [each.source for each in far]
    assert [each.value for each in near] == [each.value for each in far]


@given(st.lists(st.text("ab \n=<>", max_size=20).map(lambda text: text.replace("==>", "")), min_size=1, max_size=4))
def test_what_tail_prints_of_several_files_comes_apart_again(texts):
    files = {f"/proc/{index}": text for index, text in enumerate(texts)}
    assert parse_tail("\n".join(f"==> {path} <==\n{text}" for path, text in files.items())) == files


NET_DEV = """Inter-|   Receive                                          |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo:    1       1    0    0    0     0          0         0      1      1    0    0    0     0       0          0
  eth1: 6000     100    1    2    3     0          0         0  12000    200    4    5    6     0       0          0
"""
SNMP = """Tcp: RtoAlgorithm RetransSegs InErrs
Tcp: 1 17 2
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors
Udp: 8 0 40 9 39
"""


def test_a_guests_own_counters_bear_its_name():
    host = Host(
        {"/proc/stat": "cpu0 100 0 0 0 0 0 0 0\n", DEVICES: NET_DEV, SOCKETS: SNMP},
        xargs="NIC statistics:\n     rx_queue_0_packets: 100\n     rx_queue_0_drops: 7\n",
    )
    told = values(Inside("vm1", host, ["eth1"], own_cores=True).readings())
    assert told["guest vm1 cpu core 0", "user_s"] == 1.0
    assert told["guest vm1 port eth1", "rx_packets"] == 100
    assert told["guest vm1 port eth1", "tx_dropped"] == 5
    assert told["guest vm1 driver eth1", "rx_queue_0_drops"] == 7
    assert told["guest vm1 sockets", "udp_receive_buffer_errors"] == 39
    assert len(host.ran) == 2
    shared = Inside("vm1", host, ["eth1", "eth2"], own_cores=False).readings()
    assert not [
        each for each in shared if "driver" in each.source
    ]  # one has told nothing: whose the rest is, nobody knows
    assert not [each for each in shared if "cpu core" in each.source]


def test_devices_and_sockets_of_a_kernel_that_tells_of_neither():
    assert list(Devices(["eth1"]).parse({})) == []
    assert list(Sockets().parse({})) == []


def test_dpdks_ports_tell_packets_queues_and_causes_of_loss_once():
    xstats = {
        **{"rx_good_packets": 9, "tx_good_bytes": 540, "rx_missed_errors": 3, "rx_broadcast_packets": 1},
        **{"rx_q0_packets": 9, "rx_q0_good_packets": 9, "rx_q0_size_64_packets": 9, "tx_q1_guest_notifications": 4},
    }
    assert list(port_readings("nvp0", xstats)) == [
        Reading("port nvp0", "rx_packets", 9.0, "frames"),
        Reading("port nvp0", "tx_bytes", 540.0, "bytes"),
        Reading("port nvp0", "rx_missed_errors", 3.0, "frames"),
        Reading("port nvp0 queue 0", "rx_packets", 9.0, "frames"),
        Reading("port nvp0 queue 1", "tx_guest_notifications", 4.0, "count"),
    ]


def test_a_dpdk_program_that_has_gone_tells_nothing(tmp_path):
    assert DpdkTelemetry(str(tmp_path / "dpdk_telemetry.v2"), {0: "nvp0"}).readings() == []


# -- the recorder ----------------------------------------------------------------------------------------------


class Counter:
    """A collector that counts its own looks."""

    def __init__(self, source="port p0", takes_s=0.0, **more):
        self.source, self.takes_s, self.looks, self.more = source, takes_s, 0, more

    def readings(self):
        time.sleep(self.takes_s)
        self.looks += 1
        named = [Reading(self.source, name, value, "count") for name, value in self.more.items()]
        return [Reading(self.source, "looks", float(self.looks), "count"), *named]


def test_whoever_has_to_be_nearest_to_the_trial_looks_last_before_it_and_first_after_it():
    near, far = Counter("near"), Counter("far")
    with Recorder((near, far)).recording(0.1) as recording:
        assert (near.looks, far.looks) == (1, 1)
    assert [(each.source, each.value) for each in recording.samples] == [
        *(("far", 1), ("near", 1)),
        *(("near", 2), ("far", 2)),
    ]
    times = [each.time for each in recording.samples]
    assert times == sorted(times)


def test_long_trials_are_looked_at_while_they_run_and_the_cost_of_that_is_measured(monkeypatch):
    monkeypatch.setattr(base, "PERIOD_S", 0.02)
    monkeypatch.setattr(base, "SELDOM", 1)
    around, during = Counter("around"), Counter("during")
    recorder = Recorder((around,), (during,))
    with recorder.recording(base.LONG_S):
        deadline = time.monotonic() + 60.0
        while during.looks < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    with recorder.recording(base.LONG_S / 2) as short:
        seen = during.looks
        time.sleep(0.1)
    assert seen > 2
    assert during.looks == seen
    assert not [each for each in short.samples if each.source == "during"]
    costs = [each for each in short.samples if (each.source, each.metric) == ("collector", "cpu_s")]
    assert len(costs) == 2
    assert 0 < costs[0].value == costs[1].value


def test_who_answers_slowly_is_asked_seldom(monkeypatch):
    monkeypatch.setattr(base, "PERIOD_S", 0.01)
    slow = Counter(takes_s=0.02)
    began = time.monotonic()
    with Recorder((), (slow,)).recording(10.0):
        time.sleep(0.6)
    assert slow.looks <= 1 + (time.monotonic() - began) / (base.SELDOM * slow.takes_s)


def test_who_is_slow_looks_around_long_trials_alone():
    guest = Counter(takes_s=0.01)
    recorder = Recorder(slow=(guest,))
    with recorder.recording(base.LONG_S / 2) as recording:
        pass
    assert recording.samples == []
    with recorder.recording(base.LONG_S) as recording:
        pass
    assert [each.value for each in recording.samples] == [1, 2]


def test_a_long_trial_has_no_more_looks_than_a_short_one():
    assert 3600.0 / base.MOST_LOOKS > base.PERIOD_S
    assert base.LONG_S / base.MOST_LOOKS < base.PERIOD_S


def test_a_counter_that_is_first_named_after_the_trial_began_at_zero():
    coverage = Counter("coverage")
    with Recorder((coverage,)).recording(0.1) as recording:
        coverage.more["datapath_drop_meter"] = 250.0
    first, last = [each for each in recording.samples if each.metric == "datapath_drop_meter"]
    assert (first.value, last.value) == (0.0, 250.0)
    assert first.time <= recording.samples[0].time


def test_tasks_that_slept_are_left_out():
    idle, busy = Counter("task switch urcu3/7", cpu_s=1.0), Counter("task switch pmd/8", cpu_s=1.0)
    with Recorder((idle, busy)).recording(0.1) as recording:
        busy.more["cpu_s"] = 1.5
    assert {each.source for each in recording.samples} == {"task switch pmd/8"}


def test_one_that_has_gone_is_told_after_the_trial():
    class Gone(Counter):
        def readings(self):
            if self.looks:
                raise DatapathError("the switch has gone")
            return super().readings()

    with Recorder((Gone(),)).recording(0.1) as recording:
        assert recording.fault is None
    assert str(recording.fault) == "the switch has gone"
    assert len(recording.samples) == 1


# -- simulated devices and streams -----------------------------------------------------------------------------


@pytest.mark.parametrize("direction", list(Direction))
def test_a_simulated_switch_counts_what_the_generator_does(direction):
    parameters = SimulatedParameters(capacity_mpps=1.0)
    device = LoadedDevice(Device(capacity_pps=1e6), random.Random(1))  # noqa: S311
    generator, switch = SimulatedGenerator(device, 1), Simulated(device, parameters)
    generator.configure(Traffic(64, direction=direction))
    generator.trial(100_000.0, 1.0, AbortRule())
    before = values(switch.readings())
    assert before["pmd core 1", "processing_cycles"] < before["pmd core 1", "idle_cycles"]
    trial = generator.trial(1.5e6, 1.0, AbortRule())
    after = values(switch.readings())
    delta = {key: after[key] - before[key] for key in after}
    for port, one in enumerate(trial.directions):
        assert delta[f"port nvp{port}", "rx_packets"] == one.received
        assert delta[f"port nvp{1 - port}", "tx_packets"] == one.received
        assert delta[f"port nvp{port}", "rx_missed_errors"] == one.lost > 0
    assert delta["pmd core 1", "packets_received"] == trial.total.received
    assert delta["pmd core 1", "idle_cycles"] == 0
    assert delta["pmd core 1", "processing_cycles"] == 2.5e9


def test_a_stream_runs_samples_bear_its_rows_name(tmp_path):
    collector = Counter("host")
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as store:
        streaming = Streaming((case("a", repeats=2),), store, lambda text: None, 1)
        streaming.go_on(replace(rig(), recorder=Recorder((collector,))))
    results = nvbench.open_results(store.path)
    runs = [row["trial_id"] for row in results.table("streams").to_pylist()]
    samples = [(row["trial_id"], row["value"]) for row in results.table("samples").to_pylist()]
    assert samples == [(runs[0], 1.0), (runs[0], 2.0), (runs[1], 3.0), (runs[1], 4.0)]
