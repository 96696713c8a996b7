"""nvgen's driver against recorded and invented words of the program: nothing runs here."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvbench.endpoint import Port
from nvbench.errors import CommandError, GeneratorError, LostConnectionError, NotReadyError
from nvbench.generators.base import Layout, Live
from nvbench.generators.nvgen import NVGEN, Done, Nvgen, NvgenCommand, build, judge
from nvbench.hosts.base import Completed
from nvbench.traffic import Direction, Traffic
from nvbench.trial import AbortRule, Counters, Latency, Pauses, Step, Timeline, Validity

# What nvgen said of a second through a dpdk-testpmd wire on a shared machine, its latency thinned out.
RECORDED = """{"event":"done","trial":4,"aborted":false,"started_at":1795366305.1181753,
"elapsed_s":0.9999999969108561,"directions":[{"asked":3000000,"sent":2932458,"late":58729,"refused":8813,
"received":2932446,"lost":12,"duplicate":1,"reordered":2,"foreign":3,"stale":4}],
"latency":[[654,1000000],[3070,1932000],[774144,446]],
"pauses":{"generator_longest_us":3223.607803072558,"generator_count":53,"generator_total_us":20642.831538947088,
"send_delay_max_us":85.33000083096945,"device_longest_us":910.3295443887472,
"device_total_us":1457.3423109722055,"refused_in_stall":4372},"clock_step_us":0.007,"tsc_hz":2500000152.7228603}"""

LAYOUT = Layout(
    ports=(
        Port(("--vdev", "net_virtio_user0,path=/run/a,server=1,queues=2"), "net_virtio_user0"),
        Port(("--vdev", "net_virtio_user1,path=/run/b,server=1,queues=2"), "net_virtio_user1"),
    ),
    cores=(2, 3),
    queues=2,
    max_frame_bytes=9018,
    memory_mb=128,
)


class FakeProcess:
    """Says what it is told to; `answers` maps a command to the events that follow it."""

    def __init__(self, answers: dict[str, list[Any]] | None = None, status: int | None = None) -> None:
        self.answers = answers or {}
        self.status = status
        self.lines: list[str | None] = []
        self.sent: list[dict[str, Any]] = []
        self.killed = False

    def send(self, line: str) -> None:
        command = json.loads(line)
        self.sent.append(command)
        for event in self.answers.get(command["cmd"], []):
            self.lines.append(event if event is None else json.dumps(event))

    def receive(self, timeout_s: float) -> str | None:
        if not self.lines:
            raise TimeoutError
        return self.lines.pop(0)

    def complaints(self) -> list[str]:
        return ["EAL: Detected CPU lcores: 2", "", "EAL: Cannot init memory"]

    def close(self, timeout_s: float = 5.0) -> int | None:
        return self.status

    def kill(self) -> None:
        self.killed = True


class FakeHost:
    name = "lab1"

    def __init__(self, process: FakeProcess | None = None) -> None:
        self.process = process or FakeProcess()
        self.removed: list[str] = []
        self.argv: Sequence[str] = ()
        self.ran: list[Sequence[str]] = []
        self.files: set[str] = set()
        self.respond: Callable[[Sequence[str]], Completed] = lambda argv: Completed(
            tuple(argv), 0, "22.11.11 2.14", "", 0.0
        )

    def spawn(self, argv: Sequence[str]) -> FakeProcess:
        self.argv = argv
        return self.process

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: str = "", check: bool = True) -> Completed:
        self.ran.append(argv)
        done = self.respond(argv)
        if done.ok and argv[0] == "mv":
            self.files.add(argv[-1])
        return done.checked(self.name) if check else done

    def exists(self, path: str) -> bool:
        return path in self.files

    def remove(self, path: str) -> None:
        self.removed.append(path)

    def make_folder(self, path: str) -> None:
        pass

    def upload(self, source: Path, path: str) -> None:
        assert source.exists()

    def read(self, path: str) -> str | None:
        return None

    def write(self, path: str, text: str) -> None:
        pass

    def close(self) -> None:
        pass


def started(process: FakeProcess) -> Nvgen:
    return Nvgen.start(FakeHost(process), LAYOUT, binary="/b", housekeeping_core=0, file_prefix="x")


def recorded(**changes: Any) -> dict[str, Any]:
    return {**json.loads(RECORDED), **changes}


NO_PAUSES = Pauses()


def done(counters: Counters, pauses: Pauses = NO_PAUSES, clock_step_us: float = 0.0, directions: int = 1) -> Done:
    return Done(1.0, (counters,) * directions, Latency(), pauses, False, clock_step_us, 0.0)


def test_command_with_hugepages() -> None:
    assert NvgenCommand("/opt/nvgen", LAYOUT, 0, "nvbench-7").argv == (
        *(
            "nice",
            "-n",
            "-20",
            "/opt/nvgen",
            "-l",
            "2,3",
            "--in-memory",
            "--single-file-segments",
            "--socket-mem",
            "128",
            "--no-pci",
        ),
        *("--file-prefix", "nvbench-7", "--no-telemetry"),
        *("--vdev", "net_virtio_user0,path=/run/a,server=1,queues=2"),
        *("--vdev", "net_virtio_user1,path=/run/b,server=1,queues=2"),
        *("--", "--ports", "net_virtio_user0,net_virtio_user1", "--queues", "2"),
        *("--descriptors", "1024", "--max-frame", "9018"),
        *("--housekeeping-core", "0"),
    )


def test_command_with_hardware_without_hugepages() -> None:
    ports = (Port(("-a", "0000:3b:00.0"), "0000:3b:00.0"), Port(("-a", "0000:3b:00.1"), "0000:3b:00.1"))
    command = NvgenCommand("n", Layout(ports=ports, cores=(1,), hugepages=False), 1, "x", receive=False)
    assert "--no-pci" not in command.argv
    assert command.argv[6:9] == ("--no-huge", "-m", "256")
    assert command.argv[-1] == "--no-receive"


def test_stale_sockets_are_removed_before_and_after() -> None:
    host = FakeHost()
    generator = Nvgen.start(host, LAYOUT, binary="/b", housekeeping_core=0, file_prefix="x")
    assert host.removed == ["/run/a", "/run/b"]
    generator.close()
    assert host.removed[2:] == ["/run/a", "/run/b", "/run/dpdk/x"]


def test_a_recorded_trial_is_read() -> None:
    seen = Done.parse(json.loads(RECORDED))
    assert seen.directions == (Counters(2932458, 58729, 8813, 2932446, 1, 2, 3),)
    assert seen.directions[0].offered + seen.directions[0].late == 3_000_000
    assert seen.latency.bins == ((654, 1000000), (3070, 1932000), (774144, 446))
    assert seen.latency.count == 2932446
    assert seen.pauses.refused_in_stall == 4372
    assert not seen.aborted


# Of half a second at 1000 frames/s and then half a second at 200, an interval a tenth of a second, with a device that
# stopped at the step.
DETAIL = {
    "timeline": {
        "interval_s": 0.1,
        "sent": [100, 100, 100, 100, 80, 5, 20, 20, 20, 20],
        "refused": [0, 0, 0, 0, 20, 15, 0, 0, 0, 0],
        "received": [100, 100, 100, 99, 80, 5, 20, 20, 20, 20],
    },
    "ipdv": [[1, 300], [812, 258], [100032, 2]],
}


def test_detail_is_read() -> None:
    seen = Done.parse(recorded(**DETAIL))
    assert seen.timeline == Timeline(
        0.1,
        (100, 100, 100, 100, 80, 5, 20, 20, 20, 20),
        (0, 0, 0, 0, 20, 15, 0, 0, 0, 0),
        (100, 100, 100, 99, 80, 5, 20, 20, 20, 20),
    )
    assert seen.timeline.lost == (0, 0, 0, 1, 20, 15, 0, 0, 0, 0)
    assert seen.ipdv.count == 560
    assert seen.ipdv.bins[1] == (812, 258)


@given(st.lists(st.tuples(*[st.integers(0, 10**9)] * 3), min_size=1, max_size=50))
def test_intervals_lose_what_the_trial_lost(rows: list[tuple[int, int, int]]) -> None:
    sent, refused, back = zip(*rows, strict=True)
    received = [min(pair) for pair in zip(sent, back, strict=True)]
    columns = {"interval_s": 0.001, "sent": sent, "refused": refused, "received": received}
    counters = {**recorded()["directions"][0], "sent": sum(sent), "refused": sum(refused), "received": sum(received)}
    seen = Done.parse(recorded(timeline=columns, directions=[counters]))
    assert seen.timeline
    assert sum(seen.timeline.lost) == seen.directions[0].lost + seen.directions[0].refused


def test_no_detail_without_being_asked() -> None:
    seen = Done.parse(recorded())
    assert seen.timeline is None
    assert seen.ipdv == Latency()


@pytest.mark.parametrize(
    "change",
    [
        {"latency": None},
        {"pauses": {}},
        {"directions": [{}]},
        {"elapsed_s": "soon"},
        {"timeline": {"sent": [1]}},
        {"timeline": {**DETAIL["timeline"], "refused": None}},  # type: ignore[dict-item]
        {"ipdv": [1]},
    ],
)
def test_an_account_that_cannot_be_read(change: dict[str, Any]) -> None:
    with pytest.raises(GeneratorError, match="cannot be read"):
        Done.parse(recorded(**change))


CLEAN = Counters(sent=1_000_000, received=1_000_000)
PAUSES = Pauses(generator_longest_us=4000, generator_count=20, generator_total_us=20_000)
STALL = Pauses(device_longest_us=6200, device_total_us=6200, refused_in_stall=412)


@pytest.mark.parametrize(
    ("counters", "pauses", "allowance", "verdict", "reason"),
    [
        (CLEAN, Pauses(), 0, Validity.VALID, ""),
        (CLEAN, PAUSES, 0, Validity.VALID, ""),
        (Counters(sent=999_500, late=500, received=999_500), PAUSES, 0, Validity.VALID, ""),
        (
            Counters(sent=978_000, late=22_000, received=978_000),
            PAUSES,
            0,
            Validity.PAUSED,
            "generator was not there for 20.0 ms (22000 frames not sent)",
        ),
        (
            Counters(sent=900_000, late=100_000, received=900_000),
            PAUSES,
            0,
            Validity.UNDERSENT,
            "sent 0.90 of 1.00 Mpps",
        ),
        (Counters(sent=1_000_000, received=999_000), Pauses(), 0, Validity.VALID, ""),
        (Counters(sent=900_000, late=22_000, refused=78_000, received=900_000), PAUSES, 0, Validity.VALID, ""),
        (Counters(sent=999_588, received=999_588, refused=412), STALL, 412, Validity.VALID, ""),
        (
            Counters(sent=999_588, received=999_588, refused=412),
            STALL,
            0,
            Validity.STALLED,
            "device took nothing for 6.2 ms (412 frames refused)",
        ),
        (Counters(sent=990_000, received=990_000, refused=10_000), STALL, 0, Validity.VALID, ""),
        (
            Counters(sent=990_000, received=990_000, refused=10_000),
            STALL,
            5000,
            Validity.STALLED,
            "device took",
        ),
        (
            Counters(sent=1_000_000, received=999_000),
            PAUSES,
            0,
            Validity.PAUSED,
            "generator was not there for 20.0 ms (1000 frames lost)",
        ),
        (
            Counters(sent=1_000_000, received=999_990),
            Pauses(generator_longest_us=110, generator_count=1, generator_total_us=110),
            0,
            Validity.VALID,
            "",
        ),
        (Counters(sent=1_000_000, received=1_000_000, foreign=10_000), Pauses(), 0, Validity.VALID, ""),
        (
            Counters(sent=1_000_000, received=1_000_000, foreign=6000, duplicate=4001),
            Pauses(),
            0,
            Validity.FOREIGN,
            "6000 foreign and 4001 duplicate frames, 1000000 received",
        ),
    ],
)
def test_verdicts(counters: Counters, pauses: Pauses, allowance: int, verdict: Validity, reason: str) -> None:
    seen, why = judge(done(counters, pauses), 1e6, allowance, ring_frames=128)
    assert seen is verdict
    assert why == reason or (reason and reason in why)


def test_a_clock_step_comes_first() -> None:
    assert judge(done(Counters(), clock_step_us=-2500.0), 1e6) == (Validity.CLOCK, "clock stepped by -2.5 ms")


def test_the_ceiling_is_named_in_mpps() -> None:
    counters = Counters(sent=3_100_000, late=400_000, received=3_100_000)
    assert judge(done(counters, directions=2), 3.5e6) == (Validity.UNDERSENT, "sent 3.10 of 3.50 Mpps")


def test_a_stepped_trial_is_judged_by_all_that_was_asked() -> None:
    # 1 s at 2 Mpps, of which the generator reached 1.999, and then 1 s at 0.1 Mpps: less than 0.1 % is missing.
    nearly = Counters(sent=2_098_000, late=2_000, received=2_098_000)
    assert judge(Done(2.0, (nearly,), Latency(), NO_PAUSES, False, 0.0, 0.0), 2e6)[0] is Validity.VALID
    # It reached 1.5 of 2 Mpps. Together 2.1 million frames were asked for in 2 s.
    half = Counters(sent=1_600_000, late=500_000, received=1_600_000)
    assert judge(Done(2.0, (half,), Latency(), NO_PAUSES, False, 0.0, 0.0), 2e6) == (
        Validity.UNDERSENT,
        "sent 0.80 of 1.05 Mpps",
    )


def test_a_pause_may_have_fallen_into_the_higher_load() -> None:
    """1000 frames lost: a pause of 1 ms explains them at the 1 Mpps of one step, not at the 0.1 Mpps of the other."""
    lost = Counters(sent=1_100_000, received=1_099_000)
    pause = Pauses(generator_longest_us=1000, generator_count=1, generator_total_us=1000)
    seen = Done(2.0, (lost,), Latency(), pause, False, 0.0, 0.0)
    assert judge(seen, max(1e6, 1e5), ring_frames=128)[0] is Validity.PAUSED


def test_a_stepped_trial_in_detail() -> None:
    counters = {**recorded()["directions"][0], "sent": 565, "late": 0, "refused": 35, "received": 564, "duplicate": 0}
    done = recorded(directions=[{**counters, "foreign": 0}], **DETAIL)
    process = FakeProcess({"start": [{"event": "started", "trial": 1}, done]})
    trial = started(process).trial(1000, 0.5, AbortRule(), then=Step(200, 0.5), detail=True)
    asked = process.sent[0]
    assert (asked["rate_pps"], asked["duration_s"]) == (1000, 0.5)
    assert asked["then"] == {"rate_pps": 200, "duration_s": 0.5}
    assert asked["detail"] is True
    assert (trial.intended_pps, trial.duration_s, trial.then) == (1000, 1.0, Step(200, 0.5))
    assert trial.timeline
    assert sum(trial.timeline.lost) == trial.total.lost + trial.total.refused == 36
    assert trial.ipdv.count == 560


def test_sizes_are_mixed_by_a_sequence_of_frames() -> None:
    process = FakeProcess({"configure": [{"event": "configured"}]})
    started(process).configure(Traffic.mixed("aagab"))
    (stream,) = process.sent[0]["streams"]
    assert [len(frame) / 2 + 4 for frame in stream["frames"]] == [64, 128, 1518]
    assert stream["sequence"] == [0, 0, 2, 0, 1]


def test_a_trial_is_asked_for_and_read() -> None:
    live = {"event": "live", "elapsed_s": 0.5, "directions": recorded()["directions"]}
    process = FakeProcess(
        {
            "configure": [{"event": "configured"}],
            "learn": [{"event": "learned"}],
            "start": [{"event": "started", "trial": 1}, live, recorded()],
        }
    )
    generator = started(process)
    generator.configure(Traffic(64, flows=10, direction=Direction.BIDIRECTIONAL))
    generator.learn()
    seen: list[Live] = []
    trial = generator.trial(3e6, 1.0, AbortRule(100), seen.append)
    assert [stream["tx_port"] for stream in process.sent[0]["streams"]] == [0, 1]
    assert process.sent[0]["streams"][0]["fields"] == [{"offset": 34, "width": 2, "first": 1024}]
    assert [frame["port"] for frame in process.sent[1]["frames"]] == [0, 1]
    assert process.sent[2] == {
        **{"cmd": "start", "trial": 1, "rate_pps": 3e6, "duration_s": 1.0, "drain_s": 0.1, "max_lost": 100},
        **{"then": None, "detail": False},
    }
    assert seen[0].total.sent == 2932458
    assert trial.validity is Validity.VALID  # it lost more than its pauses explain
    assert trial.total.late == 58729
    assert not process.killed


def test_death_names_status_and_last_complaint() -> None:
    process = FakeProcess({"start": [{"event": "started", "trial": 1}, None]}, status=-9)
    with pytest.raises(GeneratorError) as error:
        started(process).trial(1e6, 1.0, AbortRule())
    assert str(error.value) == (
        "host lab1: nvgen ended with status -9: EAL: Detected CPU lcores: 2; EAL: Cannot init memory"
    )


def test_death_seen_while_writing() -> None:
    class Gone(FakeProcess):
        def send(self, line: str) -> None:
            raise CommandError("nvgen has gone")

    with pytest.raises(GeneratorError, match="ended with status 1"):
        started(Gone(status=1)).configure(Traffic(64))


def test_a_hang_is_killed() -> None:
    process = FakeProcess({"start": [{"event": "started", "trial": 1}]})
    with pytest.raises(GeneratorError, match=r"said nothing in time .no live or done."):
        started(process).trial(1e6, 1.0, AbortRule())
    assert process.killed


def test_an_interrupt_stops_sending() -> None:
    live = {"event": "live", "elapsed_s": 0.5, "directions": recorded()["directions"]}
    process = FakeProcess({"start": [{"event": "started", "trial": 1}, live]})

    def interrupt(_: Live) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        started(process).trial(1e6, 1.0, AbortRule(), interrupt)
    assert process.killed


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"event": "error", "what": "there is no such port"}, "nvgen: there is no such port"),
        ({"event": "learned"}, "answered learned instead of configured"),
        (["odd"], "answered '\\[\"odd\"\\]'"),
    ],
)
def test_unexpected_answers(answer: Any, message: str) -> None:
    with pytest.raises(GeneratorError, match=message):
        started(FakeProcess({"configure": [answer]})).configure(Traffic(64))


def test_ready() -> None:
    process = FakeProcess()
    process.lines = [
        json.dumps({"event": "ready", "version": "DPDK 22.11.11", "tsc_hz": 2.0, "dpdk_hz": 1.0, "ports": []})
    ]
    generator = started(process)
    generator.ready()
    assert generator.version == "nvgen on DPDK 22.11.11"
    assert generator.clock == {"tsc_hz": 2.0, "dpdk_hz": 1.0}


def test_build_compiles_once() -> None:
    host = FakeHost()
    binary = build(host, "/var/cache")
    assert binary.startswith("/var/cache/nvgen-")
    compiled = [argv for argv in host.ran if argv[:2] == ["cc", "-o"]]
    assert len(compiled) == 1
    assert any(argument.endswith("/main.c") for argument in compiled[0])
    assert build(host, "/var/cache") == binary
    assert len([argv for argv in host.ran if argv[:2] == ["cc", "-o"]]) == 1


def test_build_follows_dpdk() -> None:
    host = FakeHost()
    first = build(host, "/c")
    host.respond = lambda argv: Completed(tuple(argv), 0, "23.11.0 2.14", "", 0.0)
    assert build(host, "/c") != first


def test_build_without_compiler() -> None:
    host = FakeHost()

    def missing(argv: Sequence[str]) -> Completed:
        raise CommandError(f"cannot start {argv[0]}: No such file or directory")

    host.respond = missing
    with pytest.raises(NotReadyError, match=r"cannot start pkg-config.*apt-get install"):
        build(host, "/c")


def test_build_names_the_first_error() -> None:
    host = FakeHost()

    def respond(argv: Sequence[str]) -> Completed:
        if argv[:2] == ["cc", "-o"]:
            folder = argv[2].rpartition("/")[0]
            stderr = f"In file included from x\n{folder}/main.c:3:1: fatal error: no rte_eal.h\nmore"
            return Completed(tuple(argv), 1, "", stderr, 0.0)
        return Completed(tuple(argv), 0, "22.11", "", 0.0)

    host.respond = respond
    with pytest.raises(NotReadyError, match=r"nvgen does not compile: main.c:3:1: fatal error: no rte_eal.h"):
        build(host, "/c")


def test_a_host_that_cannot_be_heard_does_not_lack_its_libraries() -> None:
    def lost_after_the_compiler(argv: Sequence[str]) -> Completed:
        if argv[0] == "pkg-config":
            raise LostConnectionError("the SSH connection is gone", place="host lab1")
        return Completed(tuple(argv), 0, "", "", 0.0)

    host = FakeHost()
    host.respond = lost_after_the_compiler
    with pytest.raises(LostConnectionError):
        NVGEN.missing(host, "")
