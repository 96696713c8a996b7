"""A bench of two hosts behind SSH: it measures as one machine does, and survives what connections do."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import nvbench
from nvbench.bench import bench
from nvbench.errors import NotReadyError, NvbenchError, RunBrokeError
from nvbench.hosts import ssh_process, ssh_reach
from nvbench.hosts.held import Hold
from nvbench.hosts.ssh import SshHost
from nvbench.hosts.ssh_connection import Connection
from nvbench.plan import make_plan
from nvbench.profile import load_profile
from nvbench.session import Session
from nvbench.store import RunHeader, RunWriter
from nvbench.testbed import load_testbed
from tests.lab.conftest import leaves_no_trace, running
from tests.lab.two_hosts import two_hosts
from tests.lab.waiting import PATIENCE_S, wait_until

FLOOD = (
    "traffic.frame_bytes=512",
    "datapath.queues=1",
    "tests={mrr: {duration_s: 1.0, repeats: 2}}",
    "drain_s=0.1",
    "link_gbps=0.05",
    "repeat_invalid=10",
)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    with leaves_no_trace(), two_hosts(tmp_path_factory.mktemp("hosts")) as both:
        yield both


@pytest.fixture(autouse=True)
def _as_found():
    with leaves_no_trace():
        yield


ATTEMPTS = 3


class Watcher:
    """Does something as soon as a trial runs, once."""

    def __init__(self, act) -> None:
        self._act = act

    def stage(self, text): ...
    def trial(self, where, trial): ...
    def result(self, row): ...

    def live(self, where, load_pps, duration_s, live):
        act, self._act = self._act, lambda: None
        act()


@contextmanager
def session(hosts, tmp_path, act, *overrides):
    """A run of short floods on the two hosts, into a store, with something that happens in its first trial."""
    plan = make_plan(load_profile("10ge-forwarding", (*FLOOD, *overrides), True), load_testbed(str(hosts.testbed)))
    with bench(plan.testbed) as held, RunWriter.create(tmp_path, RunHeader("p", "two-hosts")) as store:
        yield Session(plan, held, store, Watcher(act)), store.path


def generators() -> list[int]:
    """Processes of generators that live."""
    return [pid for pid, args in running("nvgen-").items() if "--file-prefix" in args]


def assert_held(host) -> None:
    """Nobody else can have a port of the generator's."""
    other = host.connect()
    with pytest.raises(NotReadyError, match="host sender: port-a0 is used by another nvbench"), Hold(other, "port-a0"):
        raise AssertionError
    other.close()


def assert_one_trial_was_lost(path: Path) -> None:
    """And it is told why; the others were measured."""
    results = nvbench.open_results(path)
    trials = results.trials().to_pylist()
    (reason,) = [row["reason"] for row in trials if row["validity"] == "gone"]
    assert "host sender: the SSH connection to" in reason
    assert_measured(path)


def assert_measured(path: Path) -> None:
    """One case, of which a rate is known."""
    [row] = nvbench.open_results(path).results().to_pylist()
    assert row["rate_pps"] > 1000, row["verdict"]


def clean() -> None:
    """What `nvbench clean` finds is put back."""
    done = subprocess.run(
        [sys.executable, "-m", "nvbench", "clean"], capture_output=True, text=True, check=False, timeout=180
    )
    assert (done.returncode, done.stdout.strip()) == (0, "two-hosts: as it was found"), done.stderr


def test_a_profile_runs_between_two_hosts(hosts, tmp_path):
    words = ["traffic.frame_bytes=1518", "datapath.queues=1", "link_gbps=0.1", "drain_s=0.1"]
    command = [sys.executable, "-m", "nvbench", "run", "10ge-forwarding", "--quick", "--testbed", str(hosts.testbed)]
    options = [word for override in words for word in ("-s", override)]
    for attempt in range(ATTEMPTS):  # a host that takes cores away makes it lower
        folder = tmp_path / str(attempt)
        done = subprocess.run(
            [*command, *options, "--results", str(folder)], capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert "frames come from nvgen, the best that host sender has" in done.stderr
        [path] = [run.parent for run in folder.glob("*/run.json")]
        results = nvbench.open_results(path)
        throughput = next(row for row in results.results().to_pylist() if row["test"] == "throughput")
        if throughput["rate_pps"] == pytest.approx(1e8 / 8 / 1538, rel=0.02):
            break
    else:
        pytest.fail(f"{throughput['rate_pps']} pps, {throughput['verdict']}")
    clocks = results.runs[0].fingerprint["clocks"]
    assert set(clocks) == {"sender", "switch"}
    assert all(abs(clock["offset_s"]) <= clock["error_s"] < 0.1 for clock in clocks.values())  # one machine's clock


def test_a_generator_whose_connection_is_killed_stops_at_once_and_the_run_goes_on(hosts, tmp_path):
    sending = []

    def cut() -> None:
        sending.extend(generators())
        hosts.sender.kill_sessions()
        wait_until(lambda: not generators())  # while nobody has connected anew: it ends by itself

    with session(hosts, tmp_path, cut) as (made, path):
        made.run()
        assert_held(hosts.sender)
    assert sending
    assert_one_trial_was_lost(path)


def test_a_generator_whose_host_falls_silent_costs_that_trial_also_where_nobody_has_noticed_yet(
    hosts, tmp_path, monkeypatch
):
    """Its cable is out from within a trial until after that has been waited for in vain: no word, and no reset."""
    monkeypatch.setattr(ssh_process, "ANSWER_S", 1.0)
    monkeypatch.setattr(Connection, "KEEPALIVE_S", 60.0)
    before = []
    cable, pulled, given_up = ExitStack(), threading.Event(), threading.Event()
    reconnected = SshHost._reconnected

    def reconnect(host):
        if pulled.is_set():
            given_up.set()
        return reconnected(host)

    def replug() -> None:
        given_up.wait(PATIENCE_S)
        cable.close()

    def pull() -> None:
        before.extend(generators())
        cable.enter_context(hosts.sender.unplugged())
        pulled.set()
        threading.Thread(target=replug).start()

    monkeypatch.setattr(SshHost, "_reconnected", reconnect)
    with cable, session(hosts, tmp_path, pull) as (made, path):
        made.run()
        wait_until(lambda: not set(before) & set(generators()))
        assert_held(hosts.sender)
    assert before and given_up.is_set()
    assert_one_trial_was_lost(path)


def test_a_switch_whose_connection_is_killed_costs_one_trial_at_most(hosts, tmp_path):
    with session(hosts, tmp_path, hosts.switch.kill_sessions) as (made, path):
        made.run()
    validities = [trial["validity"] for trial in nvbench.open_results(path).trials().to_pylist()]
    assert validities.count("gone") <= 1
    assert_measured(path)


def test_a_host_that_cannot_be_reached_any_more_ends_the_run_and_is_cleaned_later(hosts, tmp_path, monkeypatch):
    monkeypatch.setattr(Connection, "KEEPALIVE_S", 0.5)
    began = time.monotonic()
    with ExitStack() as stack:

        def pull() -> None:
            stack.enter_context(hosts.sender.unplugged())
            # From now on, as a host that can be reached may be slow to answer.
            monkeypatch.setattr(SshHost, "RECONNECT_S", 1.0)
            monkeypatch.setattr(Connection, "PATIENCE_S", 2.0)
            monkeypatch.setattr(ssh_reach, "CONNECT_S", 1.0)

        with pytest.raises(NvbenchError, match="host sender") as caught, session(hosts, tmp_path, pull) as (made, _):
            made.run()
    assert time.monotonic() - began < 120
    assert "\n" not in str(caught.value)
    wait_until(lambda: not generators())  # its host learns of the loss as soon as it can be reached again
    clean()


def test_a_generator_that_is_killed_breaks_its_case_in_one_line_and_the_next_is_measured(hosts, tmp_path):
    def kill() -> None:
        for pid in generators():
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(RunBrokeError, match=r"1 case broke, the others were measured; the first: host sender: nvgen"):
        with session(hosts, tmp_path, kill, "traffic.frame_bytes=[512,1024]") as (made, path):
            made.run()
    rates = [row["rate_pps"] for row in nvbench.open_results(path).results().to_pylist()]
    assert sorted(rate is None for rate in rates) == [False, True]


def test_a_controller_that_is_killed_leaves_nothing_sending_and_clean_does_the_rest(hosts, tmp_path):
    endless = (*FLOOD, "tests={mrr: {duration_s: 1.0, repeats: 100}}")
    words = [word for override in endless for word in ("-s", override)]
    command = [sys.executable, "-m", "nvbench", "run", "10ge-forwarding", "--testbed", str(hosts.testbed)]
    child = subprocess.Popen(
        [*command, *words, "--results", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        # One trial is over: another is under way.
        wait_until(lambda: child.poll() is not None or any(tmp_path.glob("*/trials/*.parquet")), 180)
        assert child.poll() is None, child.stdout.read()
        assert generators()
    finally:
        child.kill()
        child.wait()
    wait_until(lambda: not generators())
    assert running("ovs-vswitchd")
    clean()


def test_two_benches_cannot_use_one_port(hosts):
    with bench(load_testbed(str(hosts.testbed))):
        other = hosts.testbed.with_name("other.yaml")
        other.write_text(hosts.testbed.read_text().replace("name: two-hosts", "name: other"))
        with pytest.raises(NotReadyError, match="host sender: port-a0 is used by another nvbench"):
            with bench(load_testbed(str(other))):
                raise AssertionError
