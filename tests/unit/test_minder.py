"""A minder and what it minds: the real program, minding tools made for these tests. No root, no DPDK."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from nvbench.errors import CommandError, GeneratorError
from nvbench.generators.base import Live
from nvbench.generators.minder import Minder, Moving, PortCounters, Type, Watched, Window
from nvbench.hosts.local import LocalHost
from tests.unit.undisturbed import undisturbed

HOST = LocalHost()

SENDER = """
import json, os, socket, sys, threading, time
RATE_PPS, LOST = 100_000, 0.25
listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listening.bind(sys.argv[1])
listening.listen()
state = dict(sent=0.0, since=None)
def sent():
    return int(state["sent"] + ((time.monotonic() - state["since"]) * RATE_PPS if state["since"] else 0))
def answer():
    connection, _ = listening.accept()
    connection.send(json.dumps({"version": "DPDK 0", "max_output_len": 16384}).encode())
    while question := connection.recv(1024).decode():
        name, _, port = question.partition(",")
        row = dict(ipackets=0, opackets=sent(), imissed=0, oerrors=0)
        if port == "1":
            row.update(ipackets=int(sent() * (1 - LOST)), opackets=0)
        told = row if port in ("0", "1") else None
        connection.send(json.dumps({name: told}).encode())
threading.Thread(target=answer, daemon=True).start()
print("fake> ", end="", flush=True)
for line in sys.stdin:
    if line == "start\\n":
        state["since"] = time.monotonic()
    elif line == "stop\\n":
        state["sent"], state["since"] = sent(), None
    elif line == "die\\n":
        print("out of memory")
        os._exit(3)
    print("you said ", line, "\\x1b[1;31mfake> ", sep="", end="", flush=True)
"""
"""Has a prompt and telemetry; sends at one rate, out of port 0, and gets three of four frames back at port 1."""

PROMPT = "fake> "


@pytest.fixture
def minder(tmp_path: Path) -> Iterator[Minder]:
    minder = Minder.start(HOST, str(tmp_path / "folder"), f"nvunit-{tmp_path.name}")
    yield minder
    minder.close()


@pytest.fixture
def sender(minder: Minder, tmp_path: Path) -> int:
    (tmp_path / "sender.py").write_text(SENDER)
    path = str(tmp_path / "telemetry")
    tool = minder.spawn([sys.executable, str(tmp_path / "sender.py"), path], name="sender", telemetry=path)
    minder.read(tool, PROMPT)
    return tool


def window(tool: int, *, duration_s: float = 0.2, max_lost: int | None = None) -> Window:
    return Window(
        go=(Type(tool, "start\n", PROMPT), Moving(tool, 0)),
        halt=(Type(tool, "stop\n", PROMPT),),
        ports=((tool, 0), (tool, 1)),
        duration_s=duration_s,
        drain_s=0.05,
        max_lost=max_lost,
    )


def alive(mark: str) -> bool:
    found = subprocess.run(["pgrep", "-f", mark], capture_output=True, check=False)
    return found.returncode == 0


def gone(mark: str) -> bool:
    """Whether it has ended; who has been killed stays to be seen for a moment."""
    deadline = time.monotonic() + 30
    while alive(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(mark)


def test_what_a_tool_prints_is_read_up_to_a_match_without_colours(minder: Minder, sender: int) -> None:
    assert minder.act(Type(sender, "hello\n", PROMPT)) == "you said hello\nfake> "
    assert minder.ask(sender, "/ethdev/stats,0")["opackets"] == 0
    minder.check_alive()


def test_a_trial_is_counted_from_before_the_first_frame_until_after_the_last(minder: Minder, sender: int) -> None:
    lives: list[Live] = []
    watched = minder.trial(window(sender), lives.append)
    sent, back = watched.total
    assert watched.before[0].opackets == 0
    assert sent.opackets >= 0.2 * 100_000
    assert back.ipackets == pytest.approx(0.75 * sent.opackets, abs=1)
    times = [at for at, _ in watched.samples]
    assert times == sorted(times)
    assert times[-1] - times[0] >= 0.15
    assert watched.texts == ("you said start\nfake> ", "", "you said stop\nfake> ")
    assert abs(watched.clock_step_us) < 1000
    assert abs(watched.started_at - time.time()) < 5
    assert lives
    assert lives[-1].total.sent > lives[-1].total.received > 0
    assert not watched.aborted


def test_its_looks_tell_the_rates(minder: Minder, sender: int) -> None:
    def right(watched: Watched) -> bool:
        times = [at for at, _ in watched.samples]
        rates = [watched.sent_pps(0), watched.received_pps(1)]
        soon = len(times) >= 4 and times[-1] - times[0] == pytest.approx(0.2, abs=0.1)
        return soon and rates == pytest.approx([100_000, 75_000], rel=0.05)

    assert undisturbed(lambda: minder.trial(window(sender)), right)


def test_a_trial_that_has_lost_too_much_ends_early(minder: Minder, sender: int) -> None:
    began = time.monotonic()
    assert minder.trial(window(sender, duration_s=20.0, max_lost=2_000)).aborted
    assert time.monotonic() - began < 20.0
    assert not minder.trial(window(sender, max_lost=1_000_000)).aborted


def test_ports_beyond_the_ends_are_watched_and_not_missed(minder: Minder, sender: int) -> None:
    seen = Window((), (), ((sender, 1), (sender, 0)), 0.1, 0.0, max_lost=0, ends=1)
    minder.act(Type(sender, "start\n", PROMPT))
    watched = minder.trial(seen)
    assert not watched.aborted
    assert watched.total[1].opackets > 0


@pytest.mark.parametrize(
    ("go", "told"),
    [
        (Type(0, "die\n", PROMPT), r"host local: sender ended with status 3: .*out of memory"),
        (Type(0, "hello\n", "goodbye", 0.1), r"host local: sender did not answer in 0.1 s: .*fake>"),
        (Moving(0, 0, 0.1), "host local: sender sent nothing in 0.1 s"),
    ],
)
def test_a_trial_that_goes_wrong_ends_all_tools(
    minder: Minder, sender: int, tmp_path: Path, go: Type | Moving, told: str
) -> None:
    with pytest.raises(GeneratorError, match=told) as raised:
        minder.trial(Window((go,), (), ((sender, 0), (sender, 1)), 0.1, 0.0))
    assert "\n" not in str(raised.value)
    assert gone(f"{tmp_path}/sender.py")


def test_a_tool_that_is_not_there_says_so(minder: Minder) -> None:
    tool = minder.spawn(["/nowhere/tool"])
    with pytest.raises(GeneratorError, match=r"^host local: tool ended with status 127: /nowhere/tool: .*No such file"):
        minder.read(tool, PROMPT)
    with pytest.raises(GeneratorError, match="tool ended"):
        minder.check_alive()


def test_a_tool_that_floods_its_terminal_is_one_line(minder: Minder) -> None:
    tool = minder.spawn(["yes", "garbage \x07 \x1b[31m"])
    minder.read(tool, "garbage")
    with pytest.raises(GeneratorError, match=r"yes did not answer in 0.3 s: [^\n]*ga[^\n]*") as told:
        minder.read(tool, PROMPT, 0.3)
    assert len(str(told.value)) < 400
    minder.check_alive()


def test_a_tool_without_telemetry_or_port_is_a_fault(minder: Minder, sender: int) -> None:
    mute = minder.spawn(["sleep", "60"], telemetry="/nowhere")
    with pytest.raises(GeneratorError, match="sleep does not answer by telemetry"):
        minder.ask(mute, "/info")
    with pytest.raises(GeneratorError, match="sender has no counters of port 7"):
        minder.trial(Window((), (), ((sender, 7),), 0.1, 0.0))


@pytest.mark.parametrize("how", ["closed", "killed", "terminated"])
def test_tools_end_with_their_minder_in_the_middle_of_a_trial(tmp_path: Path, how: str) -> None:
    source = Path(sys.modules[Minder.__module__].__file__ or "").with_name("far.py")
    (tmp_path / "sender.py").write_text(SENDER)
    path, mark = str(tmp_path / "telemetry"), f"{tmp_path}/sender.py"
    process = subprocess.Popen([sys.executable, source, "x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    spawned = f'{{"do": "spawn", "name": "s", "argv": ["{sys.executable}", "{mark}", "{path}"], "telemetry": "{path}"}}'
    print(
        spawned, '{"do": "read", "tool": 0, "until": "> ", "timeout_s": 30}', sep="\n", file=process.stdin, flush=True
    )
    assert "answer" in process.stdout.readline()
    assert "answer" in process.stdout.readline()
    going = '{"do": "type", "tool": 0, "text": "start\\n", "until": "> ", "timeout_s": 30}'
    trial = (
        f'"go": [{going}], "halt": [], "ports": [[0, 0]], "duration_s": 60, "drain_s": 0, "max_lost": null, "ends": 1'
    )
    print(f'{{"do": "trial", {trial}}}', file=process.stdin, flush=True)
    assert "live" in process.stdout.readline()
    assert alive(mark)
    if how == "closed":
        process.stdin.close()
    else:
        os.kill(process.pid, signal.SIGKILL if how == "killed" else signal.SIGTERM)
    process.wait(30)
    assert gone(mark)
    process.stdout.close()
    with suppress(BrokenPipeError):
        process.stdin.close()


class FakeProcess:
    """A minder that says what it is told to."""

    def __init__(self, *lines: str | None) -> None:
        self.lines = list(lines)
        self.killed = False

    def send(self, line: str) -> None:
        if self.lines == [None]:
            raise CommandError("python3 has gone")

    def receive(self, timeout_s: float) -> str | None:
        if not self.lines:
            raise TimeoutError
        return self.lines.pop(0)

    def complaints(self) -> list[str]:
        return ["Traceback", "SyntaxError: too old"]

    def close(self, timeout_s: float = 5.0) -> int | None:
        return 1

    def kill(self) -> None:
        self.killed = True


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ((None,), "minder of its tools ended with status 1: Traceback; SyntaxError: too old"),
        (("Last login", None), "answered 'Last login'"),
        (('{"other": 1}',), "answered"),
        ((), "said nothing in time"),
        (('{"answer": {"before": []}}',), "account of a trial cannot be read"),
    ],
)
def test_a_minder_that_says_something_else_ends_the_trial(lines: tuple[str | None, ...], told: str) -> None:
    process = FakeProcess(*lines)
    with pytest.raises(GeneratorError, match=told):
        Minder(process, HOST).trial(Window((), (), (), 0.1, 0.1))
    assert process.killed


def test_rates_need_two_samples() -> None:
    look = (PortCounters(1, 2, 0, 0),)
    watched = Watched(look, look, ((0.0, look),), False, 0.0, 0.0, 0.001, 0.0005, ())
    assert watched.sent_pps(0) == watched.received_pps(0) == 0.0
    assert watched.pauses.generator_total_us == 1000.0
