"""TRex's driver against a stand-in for its server and its client, made from its published protocol; nothing is sent."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvbench.abilities import Ability
from nvbench.endpoint import LinkKind, Port
from nvbench.errors import GeneratorError, LostConnectionError
from nvbench.generators import trex
from nvbench.generators.base import Layout, Live, Seat
from nvbench.generators.trex import TREX, Trex, find
from nvbench.generators.trex.account import Pace, account, directions, latency, overflowed
from nvbench.generators.trex.setup import TrexConfig, streams
from nvbench.hosts import Completed, LocalHost
from nvbench.traffic import Direction, FlowField, Template, Traffic, templates
from nvbench.trial import AbortRule, Counters, Step, Trial, Validity
from tests.unit.undisturbed import undisturbed

FAKE = Path(__file__).parent / "fake_trex"
RECORDED = Path(__file__).parent.parent / "recorded" / "trex-3.08"

KERNEL = Layout(
    ports=(
        Port(("--vdev", "net_af_packet0,iface=gen0"), "net_af_packet0", "gen0"),
        Port(("--vdev", "net_af_packet1,iface=gen1"), "net_af_packet1", "gen1"),
    ),
    cores=(1, 2, 3),
    memory_mb=1024,
)
PCI = replace(
    KERNEL, ports=(Port(("-a", "0000:3b:00.0"), "0000:3b:00.0"), Port(("-a", "0000:3b:00.1"), "0000:3b:00.1"))
)

# -- what TRex is told -----------------------------------------------------------------------------------------


def test_configuration_of_hardware() -> None:
    assert TrexConfig(PCI, 0, {0: 0, 1: 1, 2: 1, 3: 1}).text == (
        "- version: 2\n"
        "  port_limit: 2\n"
        '  interfaces: ["0000:3b:00.0", "0000:3b:00.1"]\n'
        "  limit_memory: 1024\n"
        "  port_info:\n"
        '    - src_mac: "02:00:00:00:01:00"\n'
        '      dest_mac: "02:00:00:00:02:00"\n'
        '    - src_mac: "02:00:00:00:02:00"\n'
        '      dest_mac: "02:00:00:00:01:00"\n'
        "  rx_desc: 1024\n"
        "  tx_desc: 1024\n"
        "  c: 2\n"
        "  platform:\n"
        "    master_thread_id: 0\n"
        "    rx_thread_id: 3\n"
        "    dual_if:\n"
        "      - socket: 1\n"
        "        threads: [1, 2]\n"
    )


def test_one_thread_serves_the_kernels_devices() -> None:
    text = TrexConfig(KERNEL, 0, {}).text
    assert 'interfaces: ["gen0", "gen1"]' in text
    assert "threads: [1]" in text
    assert "rx_desc" not in text


@pytest.mark.parametrize("cores", [(1,), (0, 1)])
def test_too_few_cores_for_its_threads(cores: tuple[int, ...]) -> None:
    text = TrexConfig(replace(KERNEL, cores=cores), 0, {}).text
    assert f"low_end: true\n  low_end_core: {cores[0]}\n" in text
    assert "platform" not in text


def test_a_port_without_a_device_is_a_dummy() -> None:
    layout = replace(PCI, ports=(PCI.ports[0], Port((), "")))
    assert 'interfaces: ["0000:3b:00.0", "dummy"]' in TrexConfig(layout, 0, {}).text


def asked(traffic: Traffic, load_pps: float = 1e6, duration_s: float = 1.0) -> list[dict[str, Any]]:
    return streams(templates(traffic)[0], load_pps, duration_s, 1)


def test_frames_that_measure_latency_are_taken_from_the_others() -> None:
    plain, probe = asked(Traffic(64))
    assert (plain["count"], plain["pps"], plain["group"]) == (990_000, 990_000.0, 0)
    assert (probe["count"], probe["pps"], probe["group"]) == (10_000, 10_000.0, 1)
    assert len(bytes.fromhex(plain["frame"])) == 60  # TRex counts no FCS
    assert [stream["count"] for stream in asked(Traffic(64), 1000.0)] == [900, 100]
    assert [stream["count"] for stream in asked(Traffic(64), 1000.0, 0.005)] == [5]


def test_a_genome_is_sent_by_shares() -> None:
    found = asked(Traffic.mixed("aaaaaaabbbbc"), 12_000_000.0)
    assert [stream["count"] for stream in found] == [6_994_167, 3_996_667, 999_166, 10_000]
    assert [len(bytes.fromhex(stream["frame"])) for stream in found] == [60, 124, 252, 60]


@given(st.text("abg", min_size=1, max_size=20), st.floats(1.0, 1e9), st.floats(1e-6, 100.0), st.sampled_from([0, 1]))
def test_streams_add_up_to_what_is_asked(genome: str, load_pps: float, duration_s: float, group: int) -> None:
    distinct = sorted(set(genome))
    template = Template(tuple(map(str.encode, distinct)), tuple(map(distinct.index, genome)), (), 1, 14, 42)
    found = streams(template, load_pps, duration_s, group)
    assert sum(stream["count"] for stream in found) == max(1, round(load_pps * duration_s))
    assert sum(stream["pps"] for stream in found) == pytest.approx(load_pps)
    assert all(stream["count"] > 0 for stream in found)


def test_the_checksum_follows_addresses_only() -> None:
    assert asked(Traffic(64, flows=10))[0]["checksum"] is None
    assert asked(Traffic(64, flows=10, vary=(FlowField.MAC_SRC, FlowField.UDP_DST)))[0]["checksum"] is None
    assert asked(Traffic(64, flows=10, vary=(FlowField.IP_DST,)))[0]["checksum"] == 14
    assert asked(Traffic(68, flows=10, vary=(FlowField.IP_SRC,), vlan=100))[0]["checksum"] == 18


# -- its account -----------------------------------------------------------------------------------------------


def paced(per_s: float, seconds: float, total: int | None = None) -> Pace:
    pace = Pace()
    for look in range(int(seconds / 0.05) + 2):
        pace.add(look * 0.05, min(round(look * 0.05 * per_s), total or round(seconds * per_s)))
    return pace


def event(ports: list[list[int]], **changes: Any) -> dict[str, Any]:
    plain = {"stopped_s": 1.0, "queue_full": 0, "aborted": False, "interrupted": False, "latency": []}
    rest = {"clock_step_us": 1.0, "started_at": 5.0, "waited_us": 0.0, "longest_wait_us": 0.0}
    return {"ports": ports, **plain, **rest, **changes}


def test_a_pace_is_that_of_the_time_in_which_frames_left() -> None:
    assert paced(100_000, 1.0).per_s == pytest.approx(100_000)
    assert paced(100_000, 0.1).per_s == 0  # too short to tell
    assert Pace().per_s == 0


@pytest.mark.parametrize(
    ("load_pps", "seen", "sent", "changes", "elapsed_s", "late"),
    [
        (1e5, paced(1e5, 1.0), 100_000, {}, 1.0, 0),
        (1e5, paced(1.005e5, 1.0), 100_000, {}, 1.0, 0),  # no look tells more than that
        (1e5, paced(0.998e5, 10.0), 1_000_000, {}, 10.02, 0),  # its clock is slow
        (1e5, paced(0.9e5, 1.07), 96_000, {"interrupted": True}, 1.0667, 10_667),  # it stretched its schedule
        (1e9, paced(5e5, 1.07), 535_000, {"interrupted": True}, 1.07, 1_069_465_000),
        (1e5, paced(1e5, 0.4), 40_000, {"aborted": True}, 0.4, 0),
        (5e6, Pace(), 10_000, {}, 0.002, 0),  # a short burst
    ],
)
def test_what_was_asked_and_not_sent_is_late(
    load_pps: float, seen: Pace, sent: int, changes: dict[str, Any], elapsed_s: float, late: int
) -> None:
    told = event([[sent, 0, 0, 0], [0, sent, 0, 0]], **changes)
    duration_s = {10_000: 0.002, 1_000_000: 10.0}.get(sent, 1.0)
    done = account(told, [(0, 1)], seen, load_pps, duration_s)
    assert done.elapsed_s == pytest.approx(elapsed_s, rel=1e-3)
    assert done.directions[0].late == pytest.approx(late, rel=1e-3)


def test_counters_of_ports_are_those_of_directions() -> None:
    ports = [[100, 93, 0, 0], [90, 98, 5, 0]]
    assert directions(ports, [(0, 1), (1, 0)]) == (
        Counters(sent=100, received=98),
        Counters(sent=90, refused=5, received=90, foreign=3),
    )
    assert directions([[100, 99, 0, 0]], [(0, 0)]) == (Counters(sent=100, received=99),)


def test_an_account_that_cannot_be_read() -> None:
    with pytest.raises(GeneratorError, match="cannot be read"):
        account({"ports": [[1]]}, [(0, 1)], Pace(), 1.0, 1.0)


def test_latency_is_told_at_the_upper_edge_of_microseconds() -> None:
    encoded = "HISTFAAAACd4nJNpmSzMwMDAyQABzFCaEUzOmNZg/wEq0cHHvoVxs7IIAHzBBnA="
    assert latency([encoded]).bins == ((3000, 900), (8000, 90), (2_502_000, 10))
    assert latency([encoded, encoded]).count == 2000
    assert latency([]).bins == ()


def test_frames_that_its_own_rings_lost_are_not_the_devices_loss() -> None:
    ports = [[1000, 0, 0, 0], [0, 900, 0, 100]]
    done = account(event(ports), [(0, 1)], Pace(), 1000, 1.0)
    assert overflowed(ports, done, 0) == 100
    assert overflowed(ports, done, 100) == 0  # within what may be lost
    assert overflowed([[1000, 0, 0, 0], [0, 900, 0, 40]], done, 0) == 0  # the device lost frames, too


# -- where it is -----------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for version in ("v2.99", "v3.06"):
        shutil.copytree(FAKE, tmp_path / version)
    return tmp_path


def test_the_newest_release_is_taken(home: Path) -> None:
    host = LocalHost()
    assert find(host, str(home)) == f"{home}/v3.06"
    assert find(host, f"{home}/v2.99") == f"{home}/v2.99"
    assert find(host, f"{home}/v2.99/t-rex-64") == f"{home}/v2.99"
    assert find(host, f"{home}/v2.99/automation") == ""


def test_what_lacks_is_told(home: Path) -> None:
    host = LocalHost()
    assert TREX.missing(host, str(home)) == ""
    assert TREX.missing(host, "/nowhere").startswith("no TRex in /nowhere: unpack a release there (https://trex-tgn")
    (home / "v3.06/automation/trex_control_plane/interactive/trex/stl/api.py").write_text("import no_zmq")
    assert TREX.missing(host, str(home)) == (
        f"TRex's client in {home}/v3.06 does not run there: ModuleNotFoundError: No module named 'no_zmq'"
    )


def test_a_host_that_cannot_be_heard_does_not_lack_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = LocalHost()
    run = host.run

    def lost_at_the_client(argv: Sequence[str], **options: Any) -> Completed:
        if argv[0] == "python3":
            raise LostConnectionError("the SSH connection is gone", place="host lab1")
        return run(argv, **options)

    monkeypatch.setattr(host, "run", lost_at_the_client)
    with pytest.raises(LostConnectionError):
        TREX.missing(host, str(home))


def test_what_it_can_do() -> None:
    assert TREX.abilities(TREX.links) == {Ability.PACED, Ability.BURSTS, Ability.LATENCY, Ability.ADDRESSES}
    assert LinkKind.VHOST_USER not in TREX.links
    assert TREX.cannot_send(Traffic(9018)) == ""
    assert TREX.cannot_send(Traffic(9300)) == "has no buffers for frames of more than 9242 bytes"
    assert TREX.memory_mb(256) == 1024


# -- driven for real, against the stand-in ---------------------------------------------------------------------


@pytest.fixture
def start(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Trex]]:
    """Starts one whose server has quirks; see fake_trex/server.py."""
    started: list[Trex] = []

    def starting(ready: bool = True, **quirks: Any) -> Trex:
        monkeypatch.setenv("FAKE_TREX", json.dumps(quirks))
        seat = Seat(LocalHost(), KERNEL, 0, "nv1-gen", f"{home}/nv1-gen", str(home), str(home))
        started.append(Trex.start(seat))
        if ready:
            started[-1].ready(60.0)
            started[-1].configure(Traffic(64))
        return started[-1]

    yield starting
    for generator in started:
        generator.close()
    assert gone(home)  # another one would find it


def requests(home: Path, method: str) -> list[dict[str, Any]]:
    rows = map(json.loads, (home / "nv1-gen/requests.jsonl").read_text().splitlines())
    return [row["params"] for row in rows if row["method"] == method]


def servers(home: Path) -> list[int]:
    found = subprocess.run(["pgrep", "-f", "--", f"--cfg {home}"], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def gone(home: Path) -> bool:
    deadline = time.monotonic() + 30.0
    while servers(home) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not servers(home)


def test_a_trial_and_its_server(start: Callable[..., Trex], home: Path) -> None:
    generator = start()
    assert generator.version == "TRex v3.06"
    argv = json.loads((home / "nv1-gen/argv.json").read_text())
    assert argv == [
        *("-i", "--stl", "--cfg", f"{home}/nv1-gen/trex.yaml", "--prefix", "nv1-gen"),
        *("--iom", "0", "--no-key", "--hdrh"),
    ]
    assert [each["force"] for each in requests(home, "acquire")] == [False, False]
    assert [each["attr"] for each in requests(home, "set_port_attr")] == 2 * [{"promiscuous": {"enabled": True}}]
    seen: list[Live] = []
    trial = generator.trial(50_000.0, 0.3, AbortRule(0), seen.append)
    assert trial.valid, trial.reason
    assert trial.directions == (Counters(sent=15_000, received=15_000),)
    assert trial.elapsed_s == pytest.approx(0.3, abs=0.01)
    assert trial.latency.percentile_us(50) == pytest.approx(3.0, abs=0.01)
    assert len(seen) >= 2
    assert seen[-1].total.sent == 15_000
    assert requests(home, "start_traffic")[0]["duration"] == pytest.approx(2.3)
    generator.close()
    assert gone(home)
    assert not (home / "nv1-gen").exists()


def test_streams_are_those_that_trexs_own_client_sends(start: Callable[..., Trex], home: Path) -> None:
    """Recorded: what the client of TRex 3.08 made of the same requests."""
    generator = start()
    vary = (FlowField.MAC_SRC, FlowField.IP_SRC, FlowField.UDP_SRC)
    generator.configure(Traffic.mixed("aab", flows=1000, vary=vary, vlan=100))
    generator.trial(10_000.0, 0.1, AbortRule())
    made = [each["stream"] for each in requests(home, "add_stream")]
    recorded = [json.loads(line) for line in (RECORDED / "add_stream.jsonl").read_text().splitlines()]
    for ours, theirs in zip(made, recorded, strict=True):
        for name in ("packet", "mode", "flags"):
            assert ours[name] == theirs[name]
        assert ours["flow_stats"].items() <= theirs["flow_stats"].items()
        for one, other in zip(ours["vm"]["instructions"], theirs["vm"]["instructions"], strict=True):
            assert one.items() <= other.items()


def test_both_directions_and_learning(start: Callable[..., Trex], home: Path) -> None:
    generator = start()
    generator.configure(Traffic(64, direction=Direction.BIDIRECTIONAL))
    generator.learn()
    counts = [(each["port_id"], each["stream"]["mode"]["total_pkts"]) for each in requests(home, "add_stream")]
    assert counts == [(0, 3), (1, 3)]
    burst = generator.trial(5e6, 0.002, AbortRule(0))
    assert burst.directions == 2 * (Counters(sent=10_000, received=10_000),)
    assert burst.elapsed_s == pytest.approx(0.002)


def test_a_load_beyond_the_line_rate_is_sent_as_far_as_it_goes(start: Callable[..., Trex]) -> None:

    def measured() -> Trial:
        generator = start(capacity_pps=40_000.0)
        trial = generator.trial(1e9, 0.4, AbortRule())
        generator.close()
        return trial

    def right(trial: Trial) -> bool:
        assert trial.validity is Validity.UNDERSENT
        assert trial.reason.startswith("sent 0.0")
        assert trial.reason.endswith("its transmit rings were full 17 times")
        exactly = trial.offered_pps == pytest.approx(40_000, rel=0.05)
        return exactly and trial.elapsed_s == pytest.approx(0.5, abs=0.2)

    assert undisturbed(measured, right)


def test_a_trial_that_has_lost_too_much_ends_early(start: Callable[..., Trex]) -> None:
    trial = start(pass_pps=50_000.0).trial(100_000.0, 30.0, AbortRule(1000))
    assert trial.aborted
    assert trial.elapsed_s < 20.0
    assert trial.validity is Validity.VALID
    assert trial.loss_ratio == pytest.approx(0.5, abs=0.05)


def test_its_own_rings_overflow(start: Callable[..., Trex]) -> None:
    trial = start(ierrors=70).trial(10_000.0, 0.1, AbortRule(0))
    assert trial.validity is Validity.PAUSED
    assert trial.reason == "TRex's own receive rings overflowed (70 frames)"


def test_loss_of_the_device_stands(start: Callable[..., Trex]) -> None:
    trial = start(loss=0.01).trial(10_000.0, 0.1, AbortRule())
    assert trial.valid
    assert trial.directions[0].lost == 10


@pytest.mark.parametrize(
    ("quirks", "message"),
    [
        ({"owner": "itay"}, "port is already taken by 'itay'"),
        ({"api": "Version mismatch: server 6.0, client 5.1"}, "Version mismatch: server 6.0, client 5.1"),
        ({"ports": 1}, "TRex has 1 of 2 ports"),
        (
            {"refuses": True},
            "TRex ended with status 1: Starting Scapy server; ERROR: could not find requested interface gen0",
        ),
        ({"garbage": "get_version"}, "Failed to decode response from server"),
    ],
)
def test_a_server_that_cannot_be_used(start: Callable[..., Trex], quirks: dict[str, Any], message: str) -> None:
    generator = start(ready=False, **quirks)
    with pytest.raises(GeneratorError, match=message) as raised:
        generator.ready(60.0)
    assert raised.value.place == "host local"


def test_a_link_that_stays_down_is_told_by_the_driver_before_anybody_gives_up_on_it(
    start: Callable[..., Trex], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trex, "START_S", 0.5)
    generator = start(ready=False, link=False)
    with pytest.raises(GeneratorError, match="the link of TRex's port 0 is down"):
        generator.ready()


def test_a_server_may_take_longer_to_start_than_other_generators() -> None:
    waits = inspect.signature(Trex.ready).parameters["timeout_s"].default
    assert waits > trex.START_S > 100.0


def test_a_server_of_somebody_else(start: Callable[..., Trex], tmp_path: Path) -> None:
    program = tmp_path / "_t-rex-64"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as other:
        try:
            generator = start(ready=False)
            with pytest.raises(GeneratorError, match=f"TRex is running already, process {other.pid}"):
                generator.ready(60.0)
        finally:
            other.kill()


@pytest.mark.parametrize(
    ("quirks", "message"),
    [
        ({"dies_after_s": 0.1}, r"TRex ended with status 6: \*\*\* a TRex that dies \*\*\*; DP core 0 is stuck"),
        ({"garbage": "get_global_stats"}, "Failed to decode response"),
        ({"hangs": "get_global_stats"}, "said nothing in time"),
    ],
)
def test_a_server_that_fails_in_a_trial(
    start: Callable[..., Trex], home: Path, monkeypatch: pytest.MonkeyPatch, quirks: dict[str, Any], message: str
) -> None:
    generator = start(**quirks)
    if "hangs" in quirks:
        monkeypatch.setattr(trex, "ANSWER_S", 0.3)
    with pytest.raises(GeneratorError, match=message):
        generator.trial(1000.0, 0.2, AbortRule())
    assert gone(home)  # nothing keeps sending


def test_a_server_does_not_outlive_its_driver(start: Callable[..., Trex], home: Path) -> None:
    generator = start()
    (driver,) = driver_pids(home)
    os.kill(driver, signal.SIGKILL)
    assert gone(home)
    with pytest.raises(GeneratorError, match="TRex's driver ended"):
        generator.trial(1000.0, 0.1, AbortRule())


def driver_pids(home: Path) -> list[int]:
    found = subprocess.run(
        ["pgrep", "-f", f"{home}/nv1-gen/trex_driver.py"], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]


def test_a_trial_ends_when_nobody_listens(start: Callable[..., Trex], home: Path) -> None:
    generator = start()

    class GoneError(Exception):
        pass

    def leave(_live: Live) -> None:
        generator.close()
        raise GoneError

    with pytest.raises(GoneError):
        generator.trial(1000.0, 60.0, AbortRule(), leave)
    assert gone(home)


def test_it_has_one_load_a_trial(start: Callable[..., Trex]) -> None:
    generator = start(ready=False)
    with pytest.raises(GeneratorError, match="configure comes before trial"):
        generator.trial(1.0, 1.0, AbortRule())
    with pytest.raises(GeneratorError, match="configure comes before learn"):
        generator.learn()
    with pytest.raises(GeneratorError, match="does not change the load"):
        generator.trial(1.0, 1.0, AbortRule(), then=Step(1.0, 1.0))


@pytest.mark.parametrize("line", ["[]", "nonsense", '{"event":"odd"}'])
def test_words_that_are_not_its_protocol(start: Callable[..., Trex], monkeypatch: Any, line: str) -> None:
    generator = start()
    monkeypatch.setattr(generator._process, "receive", lambda _timeout_s: line)
    with pytest.raises(GeneratorError, match="TRex's driver answered"):
        generator.trial(1.0, 0.1, AbortRule())
    with pytest.raises(GeneratorError, match="TRex's driver: "):
        generator.check_alive()
