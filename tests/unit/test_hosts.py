"""A host runs commands in argv form, keeps programs, and says plainly what went wrong."""

import os
import signal
import socket
import time

import pytest

from nvbench.errors import CommandError, CommandTimeoutError, NotReadyError
from nvbench.hosts import LocalHost, NamespaceHost, held
from nvbench.hosts.recording import RecordingHost
from nvbench.hosts.tied import tied
from nvbench.journal import ended

HOST = LocalHost()


def test_a_command_and_its_output():
    done = HOST.run(["printf", "%s", "$HOME; rm -rf"])
    assert done.stdout == "$HOME; rm -rf"
    assert done.ok


def test_standard_input_is_passed_on():
    assert HOST.run(["cat"], stdin="x" * 1_000_000).stdout == "x" * 1_000_000


def test_a_failure_names_command_status_and_complaint():
    with pytest.raises(CommandError, match=r"host local: ls /no/such: status 2: .*No such file"):
        HOST.run(["ls", "/no/such"])


def test_a_missing_program():
    with pytest.raises(CommandError, match="cannot start no-such-program: No such file"):
        HOST.run(["no-such-program"])


def test_a_command_that_hangs_is_ended_with_all_its_children():
    with pytest.raises(CommandTimeoutError, match=r"took more than 0\.2 s"):
        HOST.run(["sh", "-c", "sleep 60 & sleep 60"], timeout_s=0.2)


def test_a_kept_program_speaks_in_lines_and_ends_with_its_input():
    cat = HOST.spawn(["cat"])
    cat.send("hello")
    assert cat.receive(30) == "hello"
    with pytest.raises(TimeoutError):
        cat.receive(0.01)
    assert cat.close() == 0
    assert cat.receive(30) is None


def test_the_complaints_of_a_program_that_died():
    child = HOST.spawn(["sh", "-c", "echo broken >&2; exit 3"])
    assert child.receive(30) is None
    assert child.complaints() == ["broken"]
    assert child.close() == 3
    with pytest.raises(CommandError, match="has gone"):
        child.send("anybody there?")


def test_a_program_that_ignores_everything_is_killed():
    child = HOST.spawn(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"])
    assert child.receive(30) == "up"
    assert child.close(timeout_s=0.3) == -9


def test_files(tmp_path):
    path = str(tmp_path / "a" / "b")
    assert HOST.read(path) is None
    HOST.make_folder(path)
    HOST.write(f"{path}/knob", "1")
    assert HOST.read(f"{path}/knob") == "1"
    HOST.remove(str(tmp_path / "a"))
    assert not HOST.exists(path)
    with pytest.raises(CommandError, match="cannot write"):
        HOST.write(f"{path}/knob", "1")


def test_a_file_is_copied_byte_by_byte(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)))
    HOST.upload(source, str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    with pytest.raises(CommandError, match=r"^host local: cannot write /no/such/copy: No such file"):
        HOST.upload(source, "/no/such/copy")


@pytest.mark.parametrize("host", [HOST, RecordingHost(HOST), NamespaceHost(HOST, "any")])
def test_a_port_of_the_loopback(host):
    assert host.local
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with host.dial(port) as stream:
            server.accept()[0].sendall(b"hi")
            assert stream.recv(2) == b"hi"
    with pytest.raises(CommandError, match=f"^host local: port {port} does not answer: Connection refused"):
        host.dial(port)


def test_a_port_is_held_by_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(held, "RUN_FOLDER", str(tmp_path / "nvbench"))
    with held.Hold(HOST, "0000:3b:00.0"), held.Hold(HOST, "eth2") as mine:
        mine.keep()
        with pytest.raises(NotReadyError, match=r"^host local: eth2 is used by another nvbench \(wait .*/eth2\.lock"):
            with held.Hold(HOST, "eth2"):
                pass
    with held.Hold(HOST, "eth2"):
        pass


def test_a_port_whose_holder_has_gone_is_held_anew_unless_somebody_else_was_faster(tmp_path, monkeypatch):
    monkeypatch.setattr(held, "RUN_FOLDER", str(tmp_path))
    with held.Hold(HOST, "eth2") as mine:
        mine._holder.kill()  # as when the connection breaks over which it was started
        mine.keep()
        other = held.Hold(HOST, "eth2")
        with pytest.raises(NotReadyError, match="eth2 is used by another nvbench"), other:
            pass
        mine._holder.kill()
        with other, pytest.raises(NotReadyError, match="eth2 is used by another nvbench"):
            mine.keep()
        mine.keep()


def test_what_cannot_be_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(held, "RUN_FOLDER", str(tmp_path))
    monkeypatch.setattr(HOST, "spawn", lambda argv: LocalHost.spawn(HOST, ["flock", "/no/such/folder/lock", "cat"]))
    with pytest.raises(CommandError, match=r"^host local: cannot lock .*eth2\.lock: flock: cannot open lock file"):
        with held.Hold(HOST, "eth2"):
            pass


@pytest.mark.parametrize("end", [lambda child: child.close(), lambda child: os.kill(child.pid, signal.SIGTERM)])
def test_a_program_that_is_tied_to_its_shell_ends_with_it(end):
    child = HOST.spawn(tied(["sh", "-c", "echo $$; exec sleep 77.73"]))
    pid = int(child.receive(30))
    end(child)
    deadline = time.monotonic() + 30
    while not ended(HOST, pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ended(HOST, pid)
    child.close()
