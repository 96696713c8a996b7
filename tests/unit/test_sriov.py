"""Virtual functions: what is asked, what a driver grants or refuses, and what is put back."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from nvbench.datapaths.base import Place
from nvbench.datapaths.pci_driver import bind, bound_driver
from nvbench.datapaths.sriov import Sriov, SriovParameters
from nvbench.datapaths.sriov_output import VirtualFunction, parse_vfs, vf_readings
from nvbench.endpoint import Link, LinkKind
from nvbench.errors import CommandError, DatapathError
from nvbench.hosts import Completed, LocalHost
from nvbench.tables import Reading

RECORDED = Path(__file__).parent.parent / "recorded" / "iproute2-6.1"
PORT = "/sys/bus/pci/devices/0000:01:00.0"


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


ASKED = [
    VirtualFunction(0, "52:54:00:00:cc:10", vlan=100, max_tx_rate=300, spoofchk=False, trust=True, link_state="auto"),
    VirtualFunction(1, "52:54:00:00:cc:11", vlan=101, spoofchk=True, trust=False, link_state="auto"),
]


@pytest.mark.parametrize("form", ["json", "txt"])
def test_both_forms_tell_the_same(form):
    assert parse_vfs(recorded(f"link-show-vfs-asked.{form}")) == ASKED
    found = parse_vfs(recorded(f"link-show-vfs-found.{form}"))
    assert [(vf.mac, vf.vlan, vf.max_tx_rate) for vf in found] == [("00:00:00:00:00:00", 0, 0)] * 2


def test_the_form_of_older_tools():
    text = """    link/ether 50:6b:4b:2e:37:a0 brd ff:ff:ff:ff:ff:ff
    vf 0 MAC 00:00:00:00:00:00, tx rate 30000 (Mbps), max_tx_rate 30000Mbps, min_tx_rate 25000Mbps, \
spoof checking off, link-state disable, trust off, query_rss off
    vf 1 MAC 00:00:00:00:00:00, vlan 101, qos 3, vlan protocol 802.1ad, tx rate 40000 (Mbps), spoof checking off, \
link-state auto, trust off, query_rss off
"""
    none = "00:00:00:00:00:00"
    assert parse_vfs(text) == [
        VirtualFunction(0, none, 0, 0, "802.1q", 30000, 25000, spoofchk=False, trust=False, link_state="disable"),
        VirtualFunction(1, none, 101, 3, "802.1ad", 40000, 0, spoofchk=False, trust=False, link_state="auto"),
    ]


def test_counters_of_virtual_functions():
    text = recorded("link-show-vfs-counters.json")
    found = list(vf_readings(text))
    assert Reading("vf 1", "tx_packets", 0.0, "frames") in found
    assert Reading("vf 0", "rx_bytes", 0.0, "bytes") in found


class FakeHost:
    """A host with a port `pf0` that can have seven virtual functions."""

    name = "fake"

    def __init__(self, numvfs: str = "0\n", **answers: str) -> None:
        self.files = {
            "/sys/class/net/pf0": "",
            "/sys/class/net/pf0/device/sriov_totalvfs": "7\n",
            "/sys/class/net/pf0/carrier": "1\n",
            f"{PORT}/sriov_totalvfs": "7\n",
            f"{PORT}/sriov_numvfs": numvfs,
        }
        self.answers = {
            "ethtool -i pf0": "driver: igb\nversion: 6.1.0\nfirmware-version: 2.1.0\n",
            "readlink /sys/class/net/pf0/device": "../../../0000:01:00.0\n",
            f"readlink {PORT}/virtfn0": "../0000:01:10.0\n",
            f"readlink {PORT}/virtfn1": "../0000:01:10.2\n",
            "ls /sys/bus/pci/devices/0000:01:10.0/net": "eth1\n",
            "ls /sys/bus/pci/devices/0000:01:10.2/net": "eth2\n",
            "ip -j -d link show dev pf0": recorded("link-show-vfs-asked.json"),
        } | {line.replace("_", " "): answer for line, answer in answers.items()}
        self.did: list[str] = []

    def run(self, argv: Sequence[str], *, timeout_s=30.0, stdin="", check=True) -> Completed:
        line = " ".join(argv)
        self.did.append(line)
        answer = self.answers.get(line, "")
        if answer.startswith("refused: "):
            done = Completed(tuple(argv), 2, "", answer.removeprefix("refused: "), 0.0)
            return done.checked(self.name) if check else done
        return Completed(tuple(argv), 0, answer, "", 0.0)

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def write(self, path: str, text: str) -> None:
        self.did.append(f"write {path.removeprefix(PORT)} {text.strip()}")
        self.files[path] = text

    def exists(self, path: str) -> bool:
        return path in self.files


class FakeJournal:
    """Notes an undo among what the host does, so that a test sees which came first."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host

    def mark(self) -> int:
        return 0

    def record(self, host: FakeHost, undo: object) -> None:
        self._host.did.append(f"journal {undo}")

    def undo_since(self, mark: int) -> list[str]:
        self._host.did.append("undo")
        return []


def sriov(host: FakeHost, *names: str, pf: str = "pf0", **options: object) -> Sriov:
    first, second = (Link(LinkKind.DEVICE, name) for name in (names or ("nvv0", "nvv1")))
    place = Place(host, "/run/x", (1,), 0, 0, ((first, second),))
    return Sriov(place, SriovParameters.model_validate(options), pf)


def test_virtual_functions_are_made_named_and_put_back():
    host = FakeHost()
    datapath = sriov(host, mac="52:54:00:00:cc:10", mtu=4000)
    assert datapath.missing() == ""
    datapath.up(FakeJournal(host))
    assert datapath.version == "igb 6.1.0, firmware 2.1.0"
    assert datapath.addresses == ("0000:01:10.0", "0000:01:10.2")
    changes = [line for line in host.did if line.startswith(("journal", "write", "ip link set"))]
    assert changes == [
        "journal RunBack(argv=('ip', 'link', 'set', 'pf0', 'mtu', '1500', 'up'))",
        "ip link set pf0 mtu 4000 up",
        f"journal Restore(path='{PORT}/sriov_numvfs', text='0\\n')",
        "write /sriov_numvfs 2",
        "ip link set pf0 vf 0 mac 52:54:00:00:cc:10",
        "ip link set pf0 vf 1 mac 52:54:00:00:cc:11",
        "ip link set eth1 down",
        "ip link set eth1 name nvv0",
        "ip link set nvv0 mtu 4000 up",
        "ip link set eth2 down",
        "ip link set eth2 name nvv1",
        "ip link set nvv1 mtu 4000 up",
    ]
    assert datapath.findings == []
    assert datapath.crashed() == ""
    host.files[f"{PORT}/sriov_numvfs"] = "0\n"
    assert datapath.crashed() == "pf0 has 0 virtual functions, not 2"
    datapath.down()
    assert host.did[-1] == "undo"


def test_a_link_to_the_port_itself_is_no_virtual_function():
    host = FakeHost()
    sriov(host, "pf0", "nvv1").up(FakeJournal(host))
    assert "write /sriov_numvfs 1" in host.did
    assert "ip link set eth1 name nvv1" in host.did


def test_a_refusal_is_a_fact_in_the_drivers_words():
    host = FakeHost()
    for number in (0, 1):
        unsupported = "refused: RTNETLINK answers: Operation not supported\n"
        host.answers[f"ip link set pf0 vf {number} state disable"] = unsupported
        host.answers[f"ip link set pf0 vf {number} vlan 100 qos 3 proto 802.1ad"] = (
            "refused: RTNETLINK answers: Protocol not supported\n"
        )
    datapath = sriov(host, link_state="disable", vlan=100, qos=3, vlan_protocol="802.1ad")
    datapath.up(FakeJournal(host))
    assert datapath.findings == [
        f"vf {number} {words}"
        for number in (0, 1)
        for words in (
            "vlan 100 qos 3 proto 802.1ad: refused: RTNETLINK answers: Protocol not supported",
            "state disable: refused: RTNETLINK answers: Operation not supported",
        )
    ]


def test_nothing_is_asked_of_a_port_before_it_has_a_carrier(monkeypatch):
    host = FakeHost()
    told = iter(["0\n", "0\n", "1\n"])
    read = host.read
    host.read = lambda path: next(told) if path.endswith("carrier") else read(path)
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _seconds: host.did.append("wait"))
    monkeypatch.setattr("nvbench.datapaths.sriov.time", clock)
    datapath = sriov(host, max_tx_rate=300)
    datapath.up(FakeJournal(host))
    first = host.did.index("ip link set pf0 vf 0 max_tx_rate 300")
    assert (host.did[:first].count("wait"), host.did[first:].count("wait")) == (2, 0)


def test_a_port_without_a_carrier_is_a_fact(monkeypatch):
    host = FakeHost()
    host.files["/sys/class/net/pf0/carrier"] = "0\n"
    monkeypatch.setattr("nvbench.datapaths.sriov._PATIENCE_S", 0.0)
    datapath = sriov(host)
    datapath.up(FakeJournal(host))
    assert datapath.findings == ["the port pf0 has no carrier after 0 s"]


def test_what_was_accepted_and_not_granted_is_a_fact():
    host = FakeHost()
    datapath = sriov(host, vlan=100, max_tx_rate=300, trust=True)
    datapath.up(FakeJournal(host))
    assert datapath.findings == [
        "vf 1 vlan: accepted, but it is 101, not 100",
        "vf 1 max_tx_rate: accepted, but it is 0, not 300",
        "vf 1 trust: accepted, but it is False, not True",
    ]


def test_tools_without_json_are_understood():
    host = FakeHost()
    host.answers["ip link show dev pf0"] = recorded("link-show-vfs-asked.txt")
    datapath = sriov(host, vlan=100)
    told = host.answers["ip -j -d link show dev pf0"]
    host.run = lambda argv, **how: _first_json_then_none(host, told, argv, how)
    datapath.up(FakeJournal(host))
    assert datapath.findings == ["vf 1 vlan: accepted, but it is 101, not 100"]


def _first_json_then_none(host: FakeHost, told: str, argv: Sequence[str], how: dict[str, bool]) -> Completed:
    if "ip -j -d link show dev pf0" in host.did:
        host.answers["ip -j -d link show dev pf0"] = 'refused: Option "-j" is unknown, try "ip -help".'
    return FakeHost.run(host, argv, **how)


@pytest.mark.parametrize(
    ("numvfs", "names", "what"),
    [
        ("2\n", ("nvv0", "nvv1"), "in use: it has 2 virtual functions already: hands off"),
        ("0\n", ("nvv0", "nvv1"), "2 virtual functions are asked for, it has 1 at most"),
    ],
)
def test_a_port_in_use_or_too_small_is_left_alone(numvfs, names, what):
    host = FakeHost(numvfs)
    if "most" in what:
        host.files[f"{PORT}/sriov_totalvfs"] = "1\n"
    datapath = sriov(host, *names)
    with pytest.raises(DatapathError, match=what):
        datapath.up(FakeJournal(host))
    assert not [line for line in host.did if line.startswith(("journal", "write", "ip link set"))]


def test_what_is_missing_is_known_before():
    assert "names no physical function" in sriov(FakeHost(), pf="").missing()
    assert sriov(FakeHost(), pf="eth9").missing() == "there is no network device eth9"
    host = FakeHost()
    del host.files["/sys/class/net/pf0/device/sriov_totalvfs"]
    assert sriov(host).missing() == "pf0 has no virtual functions"


def test_parameters():
    assert SriovParameters(max_tx_rate=20).rate_limit_bps == 20e6
    assert SriovParameters().rate_limit_bps is None
    assert list(SriovParameters(max_tx_rate=300, min_tx_rate=100, spoofchk=False).settings(0)) == [
        ("max_tx_rate", "300"),
        ("min_tx_rate", "100"),
        ("spoofchk", "off"),
    ]
    assert SriovParameters(mac="02:00:00:00:00:ff").asked(1) == {"mac": "02:00:00:00:01:00"}
    apart = SriovParameters(vlan=100, vlan_step=2)
    assert [apart.asked(number)["vlan"] for number in (0, 1)] == [100, 102]
    assert list(apart.settings(1)) == [("vlan", "102")]
    wrongs = (
        {"qos": 3},
        {"mac": "02:00"},
        {"vlan_protocol": "802.1ad"},
        {"vlan_step": 1},
        {"vlan": 4094, "vlan_step": 1},
    )
    for wrong in wrongs:
        with pytest.raises(ValidationError):
            SriovParameters.model_validate(wrong)


# -- drivers of PCI devices ------------------------------------------------------------------------------------

ADDRESS = "0000:01:10.0"


class FakeBus(LocalHost):
    """Files like those of the kernel's PCI bus; a write to them does what the kernel would do."""

    def __init__(self, folder: Path, driver: str) -> None:
        super().__init__("fake")
        self.folder = folder
        self.device = folder / "devices" / ADDRESS
        self.device.mkdir(parents=True)
        for name in ("igbvf", "vfio-pci"):
            (folder / "drivers" / name).mkdir(parents=True)
        (self.device / "driver_override").write_text("(null)\n")
        self.wrote: list[str] = []
        self.take(driver)

    def take(self, driver: str) -> None:
        link = self.device / "driver"
        link.unlink(missing_ok=True)
        if driver:
            link.symlink_to(self.folder / "drivers" / driver)
        (self.device / "uevent").write_text(f"DRIVER={driver}\nPCI_ID=8086:10CA\n")

    def write(self, path: str, text: str) -> None:
        self.wrote.append(f"{Path(path).relative_to(self.folder)} {text.strip()}")
        if path.endswith("drivers_probe"):
            self.take((self.device / "driver_override").read_text().strip())
        elif path.endswith("unbind"):
            self.take("")
        else:
            super().write(path, text)


class Records:
    def __init__(self) -> None:
        self.undos: list[object] = []

    def record(self, host: object, undo: object) -> None:
        self.undos.append(undo)


def test_a_driver_takes_a_device_and_lets_go_of_it(tmp_path):
    bus, journal = FakeBus(tmp_path, "igbvf"), Records()
    assert bound_driver(bus, ADDRESS, sysfs=str(tmp_path)) == "igbvf"
    bind(bus, journal, ADDRESS, "vfio-pci", sysfs=str(tmp_path))
    assert bus.wrote == [
        f"devices/{ADDRESS}/driver_override vfio-pci",
        f"devices/{ADDRESS}/driver/unbind {ADDRESS}",
        f"drivers_probe {ADDRESS}",
    ]
    assert bound_driver(bus, ADDRESS, sysfs=str(tmp_path)) == "vfio-pci"
    (undo,) = journal.undos
    undo.undo(bus)
    assert (bus.device / "driver_override").read_text() == "\n"
    assert (tmp_path / "drivers" / "vfio-pci" / "unbind").read_text() == f"{ADDRESS}\n"
    assert (tmp_path / "drivers_probe").read_text() == f"{ADDRESS}\n"


def test_an_undo_lets_a_device_alone_that_is_not_ours_any_more(tmp_path):
    bus, journal = FakeBus(tmp_path, "igbvf"), Records()
    bind(bus, journal, ADDRESS, "vfio-pci", sysfs=str(tmp_path))
    (undo,) = journal.undos
    bus.take("igbvf")
    undo.undo(bus)
    assert not (tmp_path / "drivers" / "igbvf" / "unbind").exists()
    assert (bus.device / "driver_override").read_text() == "\n"
    subprocess.run(["rm", "-r", str(bus.device)], check=True)
    undo.undo(bus)
    assert not os.path.lexists(bus.device)


def test_drivers_that_are_not_there_and_devices_that_are_theirs_already(tmp_path):
    bus, journal = FakeBus(tmp_path, "vfio-pci"), Records()
    bind(bus, journal, ADDRESS, "vfio-pci", sysfs=str(tmp_path))
    with pytest.raises(CommandError, match=r"the driver uio is not loaded .*modprobe uio"):
        bind(bus, journal, ADDRESS, "uio", sysfs=str(tmp_path))
    with pytest.raises(CommandError, match="there is no PCI device 0000:ff"):
        bind(bus, journal, "0000:ff:00.0", "vfio-pci", sysfs=str(tmp_path))
    assert (bus.wrote, journal.undos) == ([], [])
