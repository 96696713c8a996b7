"""What came of pings between all pairs."""

from pathlib import Path

import pytest

from nvbench.hosts import Completed
from nvbench.stands import Record
from nvbench.stands.reach import Voice, among, draw, parse_ping, ping, reach
from tests.unit.test_flooding import evidence_of

HEAD = "PING 10.99.0.2 (10.99.0.2) 56(84) bytes of data.\n64 bytes from 10.99.0.2: icmp_seq=1 ttl=64 time=5.76 ms\n"
ALL = "3 packets transmitted, 3 received, 0% packet loss, time 103ms"
TWICE = "3 packets transmitted, 3 received, +2 duplicates, 0% packet loss, time 103ms"
SOME = "3 packets transmitted, 1 received, 66.6667% packet loss, time 103ms"
UNREACHABLE = "3 packets transmitted, 0 received, +3 errors, 100% packet loss, time 2030ms"
NO_ROUTE = "ping: connect: Network is unreachable"
TOO_LONG = "ping: local error: message too long, mtu=1500"


class Printing:
    """A process that has printed what it prints, and complained."""

    def __init__(self, text, complaint=""):
        self.lines, self.complaint = text.splitlines(), complaint

    def receive(self, timeout_s):
        return self.lines.pop(0) if self.lines else None

    def complaints(self):
        return [self.complaint]

    def kill(self):
        pass


class Pinging:
    """A host whose pings print what is known of each address."""

    def __init__(self, answers):
        self.answers = answers

    def spawn(self, argv):
        return self.answers[argv[-1]]


class Telling:
    """A host on which every command prints the same."""

    def __init__(self, stdout, stderr=""):
        self.told, self.asked = (stdout, stderr), []

    def run(self, argv, check):
        self.asked.append(argv)
        return Completed(tuple(argv), 1, *self.told, 0.0)


def test_what_ping_prints():
    assert parse_ping(f"{HEAD}\n{ALL}\nrtt min/avg/max/mdev = 1.3/2.8/5.8/2.1 ms").line == ALL
    assert [parse_ping(HEAD + line).holds for line in (ALL, TWICE, SOME, UNREACHABLE)] == [True, False, False, False]
    assert parse_ping(TWICE).duplicates == 2
    assert parse_ping(UNREACHABLE).received == 0


@pytest.mark.parametrize("told", [NO_ROUTE, 'exec of "ping" failed: No such file or directory', ""])
def test_a_ping_that_cannot_begin_shows_no_silence(told):
    pinged = parse_ping(told)
    assert (pinged.holds, pinged.silent, pinged.sent) == (False, False, 0)
    assert pinged.line == (told or "ping says nothing")
    assert parse_ping(UNREACHABLE).silent


def test_what_is_refused_at_once():
    host = Telling(UNREACHABLE, TOO_LONG + "\n")
    pinged = ping(host, "10.0.0.2", count=1, patience_s=0.3, packet_bytes=1501, source="eth0")
    assert (pinged.silent, pinged.line) == (True, f"{TOO_LONG}; {UNREACHABLE}")
    words = "ping -n -c 1 -i 0.05 -W 0.3 -I eth0 -M do -s 1473 10.0.0.2"
    assert host.asked == [words.split()]


def test_an_answer_that_is_late_is_asked_for_again():
    host = Telling(SOME)
    assert ping(host, "10.0.0.2").received == 1
    assert [argv[argv.index("-i") + 1] for argv in host.asked] == ["0.05", "0.7"]


def test_all_pairs_as_a_table(tmp_path: Path):
    answers = {"10.0.0.1": Printing(ALL), "10.0.0.2": Printing("", NO_ROUTE)}
    one, other = (Voice(name, Pinging(answers), f"10.0.0.{number}") for number, name in ((1, "a"), (2, "b")))
    record = Record(tmp_path)
    found = reach(record, among([one, other]), "before")
    assert found["b", "a"].holds
    assert found["a", "b"].line == NO_ROUTE
    draw(record, "Who reaches whom", [one, other], found)
    assert record.grids[0].rows == (("a", "-", "NO"), ("b", "yes", "-"))
    assert "[b pings a]\n3 packets" in evidence_of(tmp_path, "pings-before.txt")
