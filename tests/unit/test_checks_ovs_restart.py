"""A fast ping's answers, and where a core file will be."""

import pytest

from nvbench.checks.fast_ping import Answer, FastPing, longest_gap, parse_answer
from nvbench.checks.ovs_crash import Core, core_path, keep_core
from nvbench.checks.ovs_restart import STEADY, judge_recovery
from nvbench.hosts import LocalHost
from nvbench.stands import Record

LINE = "[1795426619.258980] 64 bytes from 10.99.0.2: icmp_seq=31 ttl=64 time=1025 ms"
UNREACHABLE = "[1795426630.889500] From 10.99.0.1 icmp_seq=52 Destination Host Unreachable"


class Told:
    """A process that has said all that it says."""

    def __init__(self, lines):
        self._lines = iter(lines)

    def receive(self, timeout_s):
        return next(self._lines, None)


def test_an_answer_has_its_time_by_this_machines_clock():
    assert parse_answer(LINE) == Answer(1795426619.25898, 31, LINE)
    assert parse_answer(LINE, ahead_s=-0.5).at == 1795426619.75898


@pytest.mark.parametrize("line", [UNREACHABLE, "PING 10.99.0.2 (10.99.0.2) 56(84) bytes of data.", ""])
def test_what_is_no_answer(line):
    assert parse_answer(line) is None


def answers_at(*pairs):
    return [Answer(at, number, f"{at} {number}") for at, number in pairs]


def test_the_longest_gap_and_what_was_lost_in_it():
    answers = answers_at((0.0, 1), (0.02, 2), (1.5, 60), (1.52, 61))
    gap = longest_gap(answers, 1.0)
    assert (gap.seconds, gap.lost) == (1.48, 57)
    assert longest_gap(answers, 1.5) is None
    assert longest_gap(answers[:1], 0.0) is None


def test_pings_that_a_ring_has_kept_were_late():
    assert longest_gap(answers_at((0.0, 1), (0.5, 2), (0.5, 3)), 0.1).seconds == 0.5


def recovered(tmp_path, *pairs):
    """What is told of answers up to 15.0 s, and many after, with the switch gone from 12.0 to 14.0 s."""
    ping = FastPing("vm1 to vm2", process=Told([]), ahead_s=0.0)
    ping.answers += answers_at(*pairs, *((15.0 + after / 50, 600 + after) for after in range(STEADY)))
    record = Record(tmp_path)
    judge_recovery(record, [ping], 12.0, 14.0)
    return record


def test_a_gap_before_the_restart_is_none_of_it(tmp_path):
    record = recovered(tmp_path, (1.0, 1), (8.0, 200), (11.98, 399))
    assert record.observations[0].told == (
        "vm1 to vm2: answered again 3.00 s after the switch ended, 1.00 s after it was up again (at most 10 s); "
        "200 pings lost in 3.02 s"
    )


def test_a_restart_that_no_ping_has_noticed(tmp_path):
    record = recovered(tmp_path, *((12.0 + number / 50, 450 + number) for number in range(150)))
    assert (
        record.observations[0].told == "vm1 to vm2: no gap, from the switch's end on none of its pings was lost or late"
    )
    assert record.grids[0].rows[-1] == ("vm1 to vm2 answered", "all the time", "0")


@pytest.mark.parametrize(("room", "told"), [(10_000, "is kept as core.gz"), (10, "stays on its host as long as")])
def test_a_core_file_that_is_too_large_is_not_told_as_kept(tmp_path, room, told):
    core = tmp_path / "core"
    core.write_bytes(b"no ELF")
    record = Record(tmp_path / "evidence", most_bytes=room)
    keep_core(LocalHost(), record, Core(str(core), "", "/bin/true"))
    assert told in record.observations[0].told
    assert (tmp_path / "core.gz").exists() is (room == 10)


def test_a_connection_is_several_answers_after_a_time():
    lines = [f"[{at}] 64 bytes from 10.99.0.2: icmp_seq={at} ttl=64" for at in ("10.0", "11.0", "12.0")]
    assert FastPing("", process=Told(lines), ahead_s=0.0).until(10.5, 2, 1.0)
    assert not FastPing("", process=Told(lines), ahead_s=0.0).until(11.5, 2, 1.0)


@pytest.mark.parametrize(
    ("pattern", "uses_pid", "path"),
    [
        ("core", False, "/root/core"),
        ("core", True, "/root/core.17"),
        ("/var/crash/core.%p", True, "/var/crash/core.17"),
        ("100%%", False, "/root/100%"),
        ("core.%e.%t", False, ""),
        ("|/usr/lib/systemd/systemd-coredump %P", False, ""),
    ],
)
def test_where_a_core_file_will_be(pattern, uses_pid, path):
    assert core_path(pattern, uses_pid, 17, "/root") == path
