"""SR-IOV on a host behind SSH: a virtual machine with QEMU's igb, whose driver is the one of the real NIC."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import nvbench
from nvbench.datapaths.base import Place
from nvbench.datapaths.sriov import VF_PREFIX, Sriov, SriovParameters
from nvbench.endpoint import Link, LinkKind
from nvbench.errors import DatapathError
from nvbench.guests.base import GuestPlace
from nvbench.guests.image import Image, image
from nvbench.guests.qemu import Qemu, QemuParameters
from nvbench.hosts import Host, LocalHost
from nvbench.journal import Journal
from tests.lab.conftest import running
from tests.lab.waiting import wait_until

HOST = LocalHost()
FOLDER = "/run/nvbench/test-sriov"
COUNT = "/sys/class/net/nic0/device/sriov_numvfs"

TESTBED = """\
name: test-sriov
hosts:
  server: {{address: root@127.0.0.1, port: {port}, key: {key}}}
generator: {{host: server, ports: [{{virtual: true}}, {{virtual: true}}]}}
switch: {{host: server, ports: [{{virtual: true}}, {{virtual: true}}], sriov: nic0}}
"""

PROFILE = """\
name: virtual-functions
datapath:
  - kind: sriov
    topology: VM-to-VM
    guest: namespace
    vlan: 100
    vlan_protocol: 802.1ad
    max_tx_rate: 10
    min_tx_rate: 5
    link_state: disable
  - {kind: sriov, topology: VM-to-VM, guest: namespace, vlan: 100, vlan_step: 1}
tests:
  tcp_stream: {tool: iperf3, duration_s: 1.0, warmup_s: 0.0, repeats: 1}
"""


@dataclass(frozen=True)
class Server:
    """The host with the NIC, and how nvbench is told of it.

    Attributes:
        host: The host.
        testbed: The testbed's file.
        home: Where SSH finds its key.
    """

    host: Host
    testbed: Path
    home: Path

    def command(self, *words: str) -> list[str]:
        return ["env", f"HOME={self.home}", sys.executable, "-m", "nvbench", *words]

    def run(self, results: Path) -> list[str]:
        profile = self.testbed.with_name("profile.yaml")
        profile.write_text(PROFILE)
        return self.command("run", str(profile), "--testbed", str(self.testbed), "--results", str(results))

    def state(self) -> dict[str, object]:
        """What a run changes and puts back."""
        links = json.loads(self.host.run(["ip", "-j", "address"]).stdout)
        return {
            "count": self.host.read(COUNT),
            "links": {link["ifname"]: (link["address"], link["mtu"], "UP" in link["flags"]) for link in links},
            "addresses": [address["local"] for link in links for address in link["addr_info"]],
            "namespaces": self.host.run(["ip", "netns", "list"]).stdout,
        }


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """Started once. The first time on a machine this takes a minute."""
    folder = tmp_path_factory.mktemp("sriov")
    Path(FOLDER).parent.mkdir(exist_ok=True)
    journal = Journal(folder / "journal", {HOST.name: HOST})
    place = GuestPlace(HOST, FOLDER, "", (0, 1))
    vm = Qemu("server", place, (), QemuParameters(flavour="generic", sriov_nics=1, memory_mb=512, vcpus=1))
    try:
        vm.up(journal)
        vm.ready()
        vm.host.run(["ip", "link", "set", "nic0", "mtu", "1400"])  # which no run asks for
        yield _told_of(vm, image(HOST, place.cache, "generic"), folder)
    finally:
        vm.down()
        assert journal.undo_since(0) == []
    assert running("test-sriov-server") == {}
    assert list(Path(FOLDER).parent.glob("test-sriov*[!k]")) == []  # but for the testbed's lock


def _told_of(vm: Qemu, booted: Image, folder: Path) -> Server:
    pid = Path(f"{FOLDER}-server/qemu.pid").read_text().strip()
    listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    port = re.search(rf"127\.0\.0\.1:(\d+) .*pid={pid},", listening)[1]
    known_hosts = folder / ".ssh" / "known_hosts"
    known_hosts.parent.mkdir()
    known_hosts.write_text(f"[127.0.0.1]:{port} {booted.host_key}\n")
    testbed = folder / "testbed.yaml"
    testbed.write_text(TESTBED.format(port=port, key=booted.key))
    return Server(vm.host, testbed, folder)


@dataclass(frozen=True)
class Ran:
    """A run of the profile, and the host before and after it."""

    results: list[dict[str, object]]
    warnings: list[str]
    before: dict[str, object]
    after: dict[str, object]

    def result(self, **settings: object) -> dict[str, object]:
        """The result of the case with these settings."""
        (found,) = (
            row
            for row in self.results
            if settings.items() <= {each["name"]: each["value"] for each in row["settings"]}.items()
        )
        return found


@pytest.fixture(scope="module")
def ran(server, tmp_path_factory) -> Ran:
    folder = tmp_path_factory.mktemp("results")
    before = server.state()
    done = subprocess.run(server.run(folder), capture_output=True, text=True, timeout=600, check=False)
    after = server.state()
    assert done.returncode == 0, done.stderr
    (path,) = folder.iterdir()
    record = json.loads((path / "run.json").read_text())
    return Ran(nvbench.open_results(path).results().to_pylist(), record["warnings"], before, after)


def test_tcp_passes_between_two_virtual_functions(ran):
    row = ran.result(vlan_step="0")
    assert row["verdict"] == "measured"
    assert row["value_median"] > 0
    assert row["packet_bytes"] > 1000


def test_refusals_are_kept_in_the_drivers_words(ran):
    told = {warning for warning in ran.warnings if "refused" in warning}
    assert told == {
        f"sriov: vf {number} {words}"
        for number in (0, 1)
        for words in (
            "vlan 100 proto 802.1ad: refused: RTNETLINK answers: Protocol not supported",
            "min_tx_rate 5: refused: RTNETLINK answers: Invalid argument",
            "state disable: refused: RTNETLINK answers: Operation not supported",
        )
    }


def test_a_limit_that_is_accepted_and_does_not_limit_is_a_finding(ran):
    row = ran.result(max_tx_rate="10")
    assert row["value_median"] > 1.15 * 10e6
    (told,) = row["warnings"]
    assert told.startswith("a limit of 10 Mbit/s was asked for and is not enforced: ")


def test_vlans_keep_virtual_functions_apart(ran):
    row = ran.result(vlan_step="1")
    assert row["value_median"] is None
    assert re.search("TCP does not pass|the endpoints do not reach each other", row["verdict"])


def test_a_run_leaves_the_host_as_it_was(ran):
    assert ran.before["count"] == "0\n"
    assert ran.before["links"]["nic0"][1:] == (1400, False)
    assert ran.after == ran.before


@pytest.mark.parametrize(
    ("found", "asked", "told"),
    [
        (1, 2, "host server, port nic0: in use: it has 1 virtual functions already: hands off"),
        (0, 8, "host server, port nic0: 8 virtual functions are asked for, it has 7 at most"),
    ],
)
def test_a_port_that_cannot_be_had_is_left_alone(server, tmp_path, found, asked, told):
    links = [Link(LinkKind.DEVICE, f"{VF_PREFIX}{number}") for number in range(asked)]
    place = Place(server.host, FOLDER, (1,), 0, 0, tuple(zip(links[::2], links[1::2], strict=True)))
    journal = Journal(tmp_path / "journal", {server.host.name: server.host})
    server.host.write(COUNT, f"{found}\n")
    try:
        before = server.state()
        with pytest.raises(DatapathError, match=told):
            Sriov(place, SriovParameters(), "nic0").up(journal)
        assert server.state() == before
    finally:
        server.host.write(COUNT, "0\n")
    assert journal.entries == []


def test_what_a_killed_run_leaves_is_taken_back(server, tmp_path):
    before = server.state()
    with subprocess.Popen(server.run(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            wait_until(
                lambda: child.poll() is not None or "-vm1" in server.host.run(["ls", "/run/netns"], check=False).stdout,
                180.0,
            )
            assert child.poll() is None, "ended early"
        finally:
            child.send_signal(signal.SIGKILL)
    assert server.host.read(COUNT) == "2\n"
    subprocess.run(server.command("clean", str(server.testbed)), check=True, timeout=180)
    assert server.state() == before
