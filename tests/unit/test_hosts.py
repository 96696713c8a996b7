"""A host runs commands in argv form, keeps programs, and says plainly what went wrong."""

import pytest

from nvbench.errors import CommandError
from nvbench.hosts import LocalHost

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
    with pytest.raises(CommandError, match=r"took more than 0\.2 s"):
        HOST.run(["sh", "-c", "sleep 60 & sleep 60"], timeout_s=0.2)


def test_a_kept_program_speaks_in_lines_and_ends_with_its_input():
    cat = HOST.spawn(["cat"])
    cat.send("hello")
    assert cat.receive(5) == "hello"
    with pytest.raises(TimeoutError):
        cat.receive(0.01)
    assert cat.close() == 0
    assert cat.receive(1) is None


def test_the_complaints_of_a_program_that_died():
    child = HOST.spawn(["sh", "-c", "echo broken >&2; exit 3"])
    assert child.receive(5) is None
    assert child.complaints() == ["broken"]
    assert child.close() == 3
    with pytest.raises(CommandError, match="has gone"):
        child.send("anybody there?")


def test_a_program_that_ignores_everything_is_killed():
    child = HOST.spawn(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"])
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
