"""A host behind SSH: how it becomes root there, and what it does when its connection is lost. Real ones: tests/lab."""

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from paramiko import ChannelException, SSHException

from nvbench.errors import CommandError, LostConnectionError, NotReadyError
from nvbench.hosts import ssh, ssh_connection
from nvbench.hosts.ssh import SshHost
from nvbench.hosts.ssh_connection import Connection
from nvbench.hosts.ssh_process import STARTER, SshProcess


class FakeConnection:
    """Answers command lines by their last word; a client is a table of answers."""

    def __init__(self, client, place, address):
        self.answers, self.place, self.address, self.alive, self.lines = client, place, address, True, []

    def ask(self, line, given, limit_s):
        self.lines.append(line)
        assert line.startswith(("env LC_ALL=C timeout -k 2 ", "sudo -n env LC_ALL=C timeout -k 2 "))
        status, out, err = self.answers.get(line.split()[-1], (0, "", ""))
        return status, out.encode(), err.encode()

    def lost(self):
        return LostConnectionError(f"the SSH connection to {self.address} was lost", place=self.place)

    def close(self):
        self.alive = False


ROOT = {"-u": (0, "0\n", "")}
PLAIN = {"-u": (0, "1000\n", "")}


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    monkeypatch.setattr(ssh, "Connection", FakeConnection)
    monkeypatch.setattr(SshHost, "RETRY_S", 0.02)
    monkeypatch.setattr(SshHost, "RECONNECT_S", 0.1)


def test_root_needs_no_sudo_and_everything_is_quoted_once():
    host = SshHost("far", ROOT)
    host.run(["echo", "$HOME; it's"], timeout_s=5)
    assert host._connection.lines[-1] == """env LC_ALL=C timeout -k 2 5.000 echo '$HOME; it'"'"'s'"""


def test_who_is_not_root_takes_sudo():
    host = SshHost("far", PLAIN)
    host.run(["ovs-vsctl", "show"], timeout_s=5)
    assert host._connection.lines[-1] == "sudo -n env LC_ALL=C timeout -k 2 5.000 ovs-vsctl show"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((1, "", "sudo: a password is required\n"), "sudo asks for a password"),
        ((127, "", "timeout: failed to run command 'sudo': No such file or directory\n"), "there is no sudo"),
    ],
)
def test_without_a_way_to_root_a_host_is_not_ready(answer, why):
    with pytest.raises(NotReadyError, match=f"^host far: needs root, and {why} .log in as root, or allow sudo"):
        SshHost("far", PLAIN | {"true": answer})


def test_a_login_shell_that_prints_something_is_told_and_not_taken_for_an_answer():
    with pytest.raises(NotReadyError) as told:
        SshHost("far", {"-u": (0, "Welcome to far\n0\n", "")})
    assert str(told.value) == (
        "host far: its login shell prints 'Welcome to far' before a command's output "
        "(have ~/.bashrc and its like print only where somebody sits at a terminal)"
    )


def test_a_program_that_is_not_there_is_an_error_also_unchecked():
    answers = {"what": (127, "", "timeout: failed to run command 'what': No such file or directory\n")}
    with pytest.raises(CommandError, match=r"^host far: cannot start what: No such file or directory$"):
        SshHost("far", ROOT | answers).run(["what"], check=False)
    assert (
        SshHost("far", ROOT | {"-c": (127, "", "sh: x: not found\n")}).run(["sh", "-c"], check=False).returncode == 127
    )


def test_a_file_that_cannot_be_written():
    with pytest.raises(CommandError, match=r"^host far: cannot write /x: No space left on device$"):
        SshHost("far", ROOT | {"status=none": (1, "", "dd: error writing '/x': No space left on device\n")}).write(
            "/x", ""
        )


def test_an_upload_that_arrives_as_something_else(tmp_path):
    (tmp_path / "file").write_bytes(b"text")
    with pytest.raises(CommandError, match=r"^host far: /x is not what was sent there$"):
        SshHost("far", ROOT | {"/x": (0, f"{'0' * 64}  /x\n", "")}).upload(tmp_path / "file", "/x")


def test_the_next_command_after_a_loss_connects_anew():
    tries = iter([NotReadyError("not up yet"), OSError("no route"), ROOT])

    def again():
        found = next(tries)
        if isinstance(found, Exception):
            raise found
        return found

    host = SshHost("far", ROOT, again, "root@192.0.2.2")
    host._connection.alive = False
    assert host.run(["true"]).ok
    assert next(tries, "all used") == "all used"


class Clock:
    """A clock that goes on only where somebody sleeps."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_a_loss_that_lasts_is_told_with_its_reason_and_later_commands_try_once_only(monkeypatch):
    monkeypatch.setattr(ssh, "time", Clock())
    tries = []

    def again():
        tries.append(ssh.time.now)
        raise NotReadyError("192.0.2.2 port 22 does not answer: timed out", place="host far")

    host = SshHost("far", ROOT, again, "root@192.0.2.2")
    host._connection.alive = False
    lost = (
        r"^host far: the SSH connection to root@192\.0\.2\.2 was lost, and no other could be made in 0 s: "
        r"192\.0\.2\.2 port 22 does not answer: timed out$"
    )
    with pytest.raises(LostConnectionError, match=lost):
        host.run(["true"])
    first = len(tries)
    assert first >= 2
    with pytest.raises(LostConnectionError, match=lost):
        host.run(["true"])
    assert len(tries) == first + 1


class CountingLock:
    """A lock that tells how many wait for it."""

    def __init__(self):
        self.lock, self.waiting = threading.Lock(), []

    def __enter__(self):
        if not self.lock.acquire(blocking=False):
            self.waiting.append(threading.get_ident())
            self.lock.acquire()

    def __exit__(self, *_exception):
        self.lock.release()


def test_threads_that_wait_for_one_reconnect_share_what_comes_of_it():
    tries, may_go_on = [], threading.Event()

    def again():
        tries.append(1)
        may_go_on.wait(60)
        raise NotReadyError("down")

    host = SshHost("far", ROOT, again)
    host._connection.alive = False
    host.RECONNECT_S = 0.0
    host._reconnecting = CountingLock()
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(host.run, ["true"]) for _ in range(4)]
        deadline = time.monotonic() + 30
        while (len(tries), len(host._reconnecting.waiting)) != (1, 3) and time.monotonic() < deadline:
            time.sleep(0.01)
        may_go_on.set()
        assert all(isinstance(one.exception(30), LostConnectionError) for one in asked)
    assert len(tries) == 1


def test_without_a_way_to_connect_again_and_after_its_end_a_host_stays_lost():
    host = SshHost("vm1", ROOT)
    host._connection.alive = False
    with pytest.raises(LostConnectionError, match=r"^host vm1: the SSH connection to vm1 was lost$"):
        host.run(["true"])
    closed = SshHost("far", ROOT, lambda: ROOT)
    closed.close()
    with pytest.raises(LostConnectionError, match="was lost"):
        closed.run(["true"])


STAT = b"4711 (cat) S 1 4711 4711 0 -1 4194304 90 0 0 0 0 0 0 0 20 0 1 0 123456 2600960\n"


class FakeChannel:
    """A channel on which a program says so much, and then nothing until the connection goes."""

    def __init__(self, said):
        self._said, self._end = queue.SimpleQueue(), threading.Event()
        self.say(said)
        self.status_event, self.exit_status, self.eof_received = threading.Event(), -1, False

    def say(self, said):
        self._said.put(said)

    def recv(self, size):
        return self._said.get(timeout=60)

    def recv_stderr(self, size):
        self._end.wait(60)
        return b""

    def exit_status_ready(self):
        return self.status_event.is_set()

    def close(self):
        self.say(b"")
        self._end.set()
        self.status_event.set()


class SilentConnection:
    """A connection over which a program was started; `cut` has nothing come through any more, and nobody notice."""

    def __init__(self, said=STAT):
        self.channel, self.alive, self.silent, self.asked = FakeChannel(said), True, False, 0

    def start(self, line):
        return self.channel

    def answers(self, within_s):
        self.asked += 1
        if self.silent:
            self.alive = False
            self.channel.close()
        return self.alive

    def broke(self, channel):
        return not self.alive

    def lost(self):
        return LostConnectionError("the SSH connection to root@192.0.2.2 was lost", place="host far")


class FarHost:
    """The host of a program: reached over another connection as soon as the first is known to be lost."""

    name = "far"

    def __init__(self, connection):
        self.connection, self.ran = connection, []

    def run(self, argv):
        if self.connection.alive and not self.connection.answers(1.0):
            self.ran.append("lost")
            raise self.connection.lost()
        self.ran.append(" ".join(argv))

    def read(self, path):
        assert path == "/proc/4711/stat"
        return STAT.decode()


@pytest.fixture
def kept(monkeypatch):
    """A program, its connection and its host."""
    monkeypatch.setattr("nvbench.hosts.ssh_process.LONG_S", 0.02)
    monkeypatch.setattr("nvbench.hosts.ssh_process.ORPHAN_S", 0.0)
    connection = SilentConnection()
    host = FarHost(connection)
    yield SshProcess(connection, STARTER, ["cat"], host), connection, host
    connection.channel.close()


def test_a_program_that_says_nothing_for_long_is_asked_after_and_who_only_looks_does_not_ask(kept):
    process, connection, _ = kept
    with pytest.raises(TimeoutError):
        process.receive(0.0)
    assert connection.asked == 0
    with pytest.raises(TimeoutError):
        process.receive(0.02)
    assert connection.asked == 1
    connection.silent = True
    for timeout_s in (0.02, 0.0):  # the end stays readable
        with pytest.raises(LostConnectionError, match=r"^host far: the SSH connection to root@192\.0\.2\.2 was lost$"):
            process.receive(timeout_s)


def test_what_was_said_while_the_host_could_not_be_heard_is_not_lost(kept):
    process, connection, _ = kept

    def answers(within_s):
        connection.channel.say(b"done\n")  # with its answer all comes that was said before
        return True

    connection.answers = answers
    assert process.receive(0.02) == "done"


def test_a_program_whose_connection_is_lost_is_ended_over_another(kept):
    process, connection, host = kept
    connection.silent = True
    with pytest.raises(LostConnectionError):
        process.receive(0.02)
    process.kill()
    assert host.ran[-2:] == ["kill -TERM 4711", "kill -KILL 4711"]


def test_a_loss_that_is_noticed_as_a_program_is_killed_does_not_leave_it_running(kept):
    process, connection, host = kept
    connection.silent = True
    process.kill()
    assert host.ran == ["lost", "kill -TERM 4711", "kill -KILL 4711"]


def test_a_program_behind_a_login_shell_that_prints_something_is_not_spoken_to():
    connection = SilentConnection(b"Welcome to far\n" + STAT)
    with pytest.raises(CommandError, match=r"^host far: cannot start cat: its login shell prints 'Welcome to far' bef"):
        SshProcess(connection, STARTER, ["cat"], FarHost(connection))


# -- channels ------------------------------------------------------------------------------------------------------


class FakeTransport:
    """Opens channels, or refuses as told, first to last."""

    def __init__(self, *refusals):
        self.refusals, self.started, self.active = [*refusals], [], True

    def get_transport(self):
        return self

    def is_active(self):
        return self.active

    def global_request(self, kind):
        assert kind == "keepalive@openssh.com"

    def close(self):
        self.active = False

    def open_session(self, timeout):
        if self.refusals:
            raise self.refusals.pop(0)
        return self

    def exec_command(self, line):
        self.started.append(line)


CLOSED, REFUSED = SSHException("Unable to open channel."), ChannelException(4, "Resource shortage")


def test_a_channel_that_is_closed_or_refused_before_anything_is_started_is_opened_again():
    far = FakeTransport(CLOSED, REFUSED, CLOSED)
    connection = Connection(far, "host far", "root@192.0.2.2")
    connection.start("true")
    assert far.started == ["true"]
    connection.close()


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (CLOSED, r"^host far: SSH: Unable to open channel\.$"),
        (REFUSED, "^host far: allows no further SSH session .raise MaxSessions in its sshd_config.$"),
    ],
)
def test_channels_that_are_never_opened_are_told(monkeypatch, refusal, told):
    monkeypatch.setattr(ssh_connection, "BUSY_S", 0.0)
    far = FakeTransport(*[refusal] * 9)
    connection = Connection(far, "host far", "root@192.0.2.2")
    with pytest.raises(CommandError, match=told):
        connection.start("true")
    assert far.started == []
    connection.close()
