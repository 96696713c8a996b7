"""What is said of copies of frames."""

from pathlib import Path

from nvbench.checks.flooding import EVERYBODY, KNOWN, Sent, judge
from nvbench.stands import Record

FRAME = bytes.fromhex("ffffffffffff5254009900 0188b5") + bytes(46)


def evidence_of(folder: Path, name: str) -> str:
    return (folder / name).read_text()


def sent(kind, wanted, **copies):
    return Sent(
        kind, "vm1", FRAME, frozenset(wanted.split()), {name: [FRAME] * count for name, count in copies.items()}
    )


def judged(tmp_path, *frames):
    record = Record(tmp_path)
    judge(record, frames)
    return record


def test_frames_where_they_should_be(tmp_path):
    frames = (sent(EVERYBODY, "vm2 peer", vm1=0, vm2=1, peer=1), sent(KNOWN, "vm2", vm1=0, vm2=1, peer=0))
    record = judged(tmp_path, *frames)
    assert [seen.holds for seen in record.observations] == [True, True, True]
    assert record.observations[-1].quote == "copies of a broadcast from vm1: vm1 0, vm2 1, peer 1"
    assert record.grids[0].rows[1] == (KNOWN, "vm1", "vm2", "0", "1", "0", "yes")


def test_a_frame_that_is_lacking(tmp_path):
    record = judged(tmp_path, sent(EVERYBODY, "vm2 peer", vm1=0, vm2=1, peer=0))
    told = "broadcast from vm1 should arrive once at peer and vm2: at peer it does not arrive"
    assert record.observations[0].told == told


def test_a_frame_that_comes_twice(tmp_path):
    record = judged(tmp_path, sent(KNOWN, "vm2", vm1=0, vm2=2, peer=0))
    assert record.observations[0].told.endswith("at vm2 it arrives 2 times")


def test_a_frame_that_leaks(tmp_path):
    record = judged(tmp_path, sent(KNOWN, "vm2", vm1=0, vm2=1, peer=1))
    assert record.observations[0].told.endswith("it reaches peer, which it is not for")
    assert record.grids[0].rows[0][-1] == "NO"


def test_a_frame_that_comes_back(tmp_path):
    record = judged(tmp_path, sent(EVERYBODY, "vm2", vm1=1, vm2=1))
    assert [seen.holds for seen in record.observations] == [True, False]
    assert record.observations[1].told == (
        "nothing should come back to its sender: 1 of 1 frames do (broadcast of vm1)"
    )
