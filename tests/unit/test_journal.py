"""Whatever is in the journal is undone: at the end, after an error, and after a kill."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from nvbench.errors import NotReadyError
from nvbench.hosts import LocalHost
from nvbench.journal import EndPrograms, Remove, Restore, RunBack, StopDaemon, ended, left_behind, locked

HOST = LocalHost()
HOSTS = {"local": HOST}


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    folder = tmp_path / "state"
    monkeypatch.setattr("nvbench.journal.state_folder", lambda: folder)
    return folder


def test_a_changed_file_gets_back_what_was_found(tmp_path):
    knob = tmp_path / "nr_hugepages"
    knob.write_text("7\n")
    with locked("bed", HOSTS) as journal:
        journal.record(HOST, Restore(str(knob), "7\n"))
        knob.write_text("512\n")
    assert knob.read_text() == "7\n"


def test_undo_runs_backwards_and_also_after_an_error(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(RuntimeError), locked("bed", HOSTS) as journal:
        journal.record(HOST, Remove(str(folder)))
        folder.mkdir()
        (folder / "knob").write_text("before")
        journal.record(HOST, Restore(str(folder / "knob"), "before"))
        (folder / "knob").write_text("after")
        raise RuntimeError
    assert not folder.exists()


def test_a_part_of_the_journal_can_be_undone_alone(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    with locked("bed", HOSTS) as journal:
        journal.record(HOST, Remove(str(first)))
        first.touch()
        mark = journal.mark()
        journal.record(HOST, Remove(str(second)))
        second.touch()
        journal.undo_since(mark)
        assert first.exists()
        assert not second.exists()
    assert not first.exists()


def test_a_second_run_is_refused_and_told_who_holds_the_testbed(state):
    with locked("bed", HOSTS):
        with pytest.raises(NotReadyError, match=f"in use by process {os.getpid()}"), locked("bed", HOSTS):
            pass
    with locked("bed", HOSTS):
        pass  # free again


HOLDER = """
import sys, time
from pathlib import Path
import nvbench.journal as j
from nvbench.hosts import LocalHost
j.state_folder = lambda: Path(sys.argv[1])
host = LocalHost()
with j.locked("bed", {"local": host}) as journal:
    journal.record(host, j.Remove(sys.argv[2]))
    Path(sys.argv[2]).mkdir()
    print("made", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_run_left_is_undone_by_the_next(state, tmp_path):
    made = tmp_path / "made"
    child = subprocess.Popen([sys.executable, "-c", HOLDER, state, made], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "made\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert made.exists()
    assert left_behind() == ["bed"]
    with locked("bed", HOSTS):
        assert not made.exists()
    assert left_behind() == []


def test_a_half_written_last_line_is_no_change(state, tmp_path):
    made = tmp_path / "made"
    made.touch()
    state.mkdir()
    entry = json.dumps({"host": "local", "kind": "remove", "path": str(made)})
    (state / "bed.journal").write_text(entry + "\n" + entry[:20])
    with locked("bed", HOSTS):
        assert not made.exists()


def test_what_comes_back_a_little_later_is_waited_for_and_then_put_back(tmp_path):
    device = tmp_path / "eth2"
    with locked("bed", HOSTS) as journal:
        journal.record(HOST, RunBack(("touch", str(device / "up")), needs=str(device), returns=True))
        threading.Timer(0.15, device.mkdir).start()  # the kernel gives it back when it has time
    assert (device / "up").exists()


def test_what_does_not_come_back_is_waited_for_no_longer_than_that(tmp_path, monkeypatch):
    monkeypatch.setattr("nvbench.journal.RETURN_S", 0.2)
    device, looks = str(tmp_path / "eth2"), []
    monkeypatch.setattr(HOST, "exists", looks.append)
    for returns in (True, False):
        began = time.monotonic()
        RunBack(("touch", str(tmp_path / "up")), needs=device, returns=returns).undo(HOST)
        if returns:
            assert time.monotonic() - began >= 0.2
            looks.clear()
    assert looks == [device]
    assert not (tmp_path / "up").exists()


def test_a_daemon_is_ended_by_its_own_pid_and_mark_only(tmp_path):
    mark = str(tmp_path / "run-folder")
    ours = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", mark])
    theirs = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        for name, child in (("ours", ours), ("theirs", theirs)):
            (tmp_path / name).write_text(f"{child.pid}\n")
            until = time.monotonic() + 30
            while not (HOST.read(f"/proc/{child.pid}/cmdline") or "") and time.monotonic() < until:
                time.sleep(0.01)
        StopDaemon(str(tmp_path / "theirs"), mark).undo(HOST)
        assert theirs.poll() is None
        StopDaemon(str(tmp_path / "ours"), mark).undo(HOST)
        assert ours.wait(timeout=30) == -signal.SIGTERM
    finally:
        ours.kill()
        theirs.kill()
        ours.wait()
        theirs.wait()


def test_programs_of_our_own_have_ended_when_that_is_undone(tmp_path):
    mark = str(tmp_path / "a-run")
    words = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    with (
        subprocess.Popen([*words, mark], stdout=subprocess.PIPE) as ours,
        subprocess.Popen(words, stdout=subprocess.PIPE) as theirs,
    ):
        try:
            assert ours.stdout.readline() and theirs.stdout.readline()
            EndPrograms(mark).undo(HOST)
            assert ended(HOST, ours.pid) and not ended(HOST, theirs.pid)
            EndPrograms(mark).undo(HOST)  # there are none any more
        finally:
            ours.kill()
            theirs.kill()


def test_what_cannot_be_undone_stays_in_the_journal_and_is_told(tmp_path):
    with (
        pytest.raises(NotReadyError, match="not everything could be undone"),
        locked("bed", HOSTS) as journal,
    ):
        journal.record(HOST, Restore(str(tmp_path / "gone" / "knob"), "1"))
    assert left_behind() == ["bed"]
