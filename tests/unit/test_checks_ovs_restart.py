"""A fast ping's answers, and where a core file will be."""

import pytest

from nvbench.checks.fast_ping import Answer, FastPing, longest_gap, parse_answer
from nvbench.checks.ovs_crash import core_path

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


def test_the_longest_gap_and_what_was_lost_in_it():
    answers = [Answer(at, number, "") for at, number in ((0.0, 1), (0.02, 2), (1.5, 60), (1.52, 61))]
    gap = longest_gap(answers)
    assert (gap.seconds, gap.lost) == (1.48, 57)
    assert longest_gap(answers[:1]) is None


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
