"""The doctor reads a host, judges versions, and names the command that mends."""

from collections.abc import Sequence

import pytest

from nvbench.doctor import Role, State, examine, mend, missing, roles
from nvbench.errors import CommandError
from nvbench.fingerprint import steal_ticks
from nvbench.hosts import Completed
from nvbench.testbed import load_testbed, read_testbed

MEMINFO = """MemTotal:       24000000 kB
MemAvailable:   23000000 kB
HugePages_Total:       0
HugePages_Free:        0
Hugepagesize:       2048 kB
"""
CPUS = '{"cpus": [{"cpu": 0, "node": 0, "online": true}, {"cpu": 1, "node": 0, "online": true}]}'


TOOLS = ("iperf3", "iperf", "netperf", "netserver", "sockperf", "python3", "tcpreplay", "ping")


class FakeHost:
    """A host that answers from a table."""

    name = "fake"

    def __init__(self, **changes: str | None) -> None:
        self.answers = {
            "id -u": "0\n",
            "uname -r": "6.1.0-18-amd64\n",
            "lscpu --json --extended=CPU,NODE,ONLINE": CPUS,
            "ovs-vsctl --version": "ovs-vsctl (Open vSwitch) 3.1.0\n",
            "pkg-config --modversion libdpdk": "22.11.4\n",
            "qemu-system-x86_64 --version": "QEMU emulator version 7.2.9\n",
        } | {
            f"which {name}": f"/usr/bin/{name}\n"
            for name in ("gcc", "pkg-config", "dpdk-testpmd", "ovs-vsctl", "taskset", "ip", "ethtool", "sysctl", *TOOLS)
        }
        self.answers |= changes
        self.files = {
            "/proc/meminfo": MEMINFO,
            "/proc/stat": "cpu0 1 2 3 4 5 6 7 8 9 10\n",
            "/proc/uptime": "1000 1",
        }
        self.ran: list[str] = []

    def run(self, argv: Sequence[str], *, timeout_s=30.0, stdin="", check=True) -> Completed:
        line = " ".join(argv)
        self.ran.append(line)
        answer = self.answers.get(line)
        done = Completed(tuple(argv), 1 if answer is None else 0, answer or "", "", 0.0)
        if "apt-get" in argv:
            return Completed(tuple(argv), 0, "", "", 0.0)
        return done.checked(self.name) if check else done

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def exists(self, path: str) -> bool:
        return path.endswith("ovs-vswitchd-dpdk")


def found(host: FakeHost) -> dict[str, State]:
    return {check.name: check.state for check in examine(host)}


def test_a_good_host_is_ready():
    checks = examine(FakeHost())
    assert missing(checks) == []
    assert found(FakeHost())["isolated cores"] is State.WARNING


@pytest.mark.parametrize(
    ("answer", "text", "check"),
    [
        ("uname -r", "2.6.32\n", "kernel version"),
        ("ovs-vsctl --version", "ovs-vsctl (Open vSwitch) 2.4.9\n", "ovs version"),
        ("pkg-config --modversion libdpdk", "16.07\n", "dpdk version"),
        ("id -u", "1000\n", "root"),
        ("which gcc", None, "C compiler"),
    ],
)
def test_what_is_old_or_absent_is_told(answer, text, check):
    assert found(FakeHost(**{answer: text}))[check] is State.MISSING


def test_what_some_generators_alone_need_is_a_warning_until_one_is_chosen():
    host = FakeHost(**{"which tcpreplay": None, "which python3": None})
    assert (found(host)["tcpreplay"], found(host)["Python"]) == (State.WARNING, State.WARNING)
    lacking = missing(examine(host, {"tcpreplay", "python3"}))
    assert [check.name for check in lacking] == ["Python", "tcpreplay"]
    assert lacking[1].remedy == "apt-get install tcpreplay"


def test_a_dpdk_too_old_for_nvgen_stops_a_run_by_nvgen():
    host = FakeHost(**{"pkg-config --modversion libdpdk": "20.11.2\n"})
    assert found(host)["dpdk version"] is State.WARNING
    (lacking,) = missing(examine(host, {"nvgen"}))
    assert lacking.found == "20.11.2, below 21.11, which nvgen needs"
    assert missing(examine(host, {"testpmd"})) == []


GUESTS = """\
name: three
hosts: {a: {address: local}, b: {address: root@b}, c: {address: root@c}}
generator: {host: a, ports: [{device: eth1}, {device: eth2}]}
switch: {host: b, ports: [{device: eth1}, {device: eth2}]}
guests: {machines: [{host: c, device: eth0, port: tap0}]}
"""


def test_each_host_has_its_roles():
    assert roles(load_testbed("local")) == {"local": {Role.GENERATOR, Role.SWITCH}}
    assert roles(read_testbed("t.yaml", GUESTS.encode())) == {"a": {"generator"}, "b": {"switch"}, "c": {"guest"}}


def test_a_host_is_judged_by_its_roles_alone():
    bare = FakeHost(**{f"which {name}": None for name in ("gcc", "pkg-config", "dpdk-testpmd", "ovs-vsctl")})
    bare.exists = lambda _: False
    bare.answers["ovs-vsctl --version"] = bare.answers["pkg-config --modversion libdpdk"] = None

    def lacks(role):
        return {check.name for check in missing(examine(bare, of={role}))}

    assert lacks(Role.SWITCH) == {"testpmd", "Open vSwitch", "OVS with DPDK", "ovs version"}
    assert lacks(Role.GENERATOR) == {"C compiler", "pkg-config", "DPDK headers", "dpdk version"}
    assert lacks(Role.GUEST) == set()


def test_fix_installs_what_is_missing_and_nothing_else():
    host = FakeHost(**{"which gcc": None, "which ethtool": None})
    assert mend(host, examine(host)) == ["build-essential", "ethtool"]
    assert host.ran[-1].endswith("build-essential ethtool")
    good = FakeHost()
    assert mend(good, examine(good)) == []
    assert not [line for line in good.ran if "apt-get" in line]


def test_a_host_that_does_not_answer_is_an_error_not_a_verdict():
    with pytest.raises(CommandError):
        examine(FakeHost(**{"id -u": None}))


def test_steal_is_the_eighth_number_of_a_core():
    assert steal_ticks("cpu  9 9\ncpu0 1 2 3 4 5 6 7 42 0 0\ncpu1 1 2 3 4 5 6 7 8 0 0\n") == {0: 42, 1: 8}
