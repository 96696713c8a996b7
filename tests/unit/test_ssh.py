"""A host behind SSH: how it becomes root there, and what it does when its connection is lost. Real ones: tests/lab."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from nvbench.errors import CommandError, LostConnectionError, NotReadyError
from nvbench.hosts import ssh
from nvbench.hosts.ssh import SshHost


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


def test_a_loss_that_lasts_is_told_with_its_reason_and_later_commands_try_once_only():
    tries = []

    def again():
        tries.append(time.monotonic())
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


def test_threads_that_wait_for_one_reconnect_share_what_comes_of_it():
    tries, may_go_on = [], threading.Event()

    def again():
        tries.append(1)
        may_go_on.wait(5)
        raise NotReadyError("down")

    host = SshHost("far", ROOT, again)
    host._connection.alive = False
    host.RECONNECT_S = 0.0
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(host.run, ["true"]) for _ in range(4)]
        time.sleep(0.1)
        may_go_on.set()
        assert all(isinstance(one.exception(5), LostConnectionError) for one in asked)
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
