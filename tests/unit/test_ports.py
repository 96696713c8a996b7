"""Physical ports: what DPDK can have stays, what it should have is bound and goes back, what is in use is let be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from nvbench.bench import Bench
from nvbench.errors import LostConnectionError, NotReadyError
from nvbench.hosts import Completed, LocalHost
from nvbench.journal import Journal
from nvbench.placement import place_cores
from nvbench.ports import make_ports_ready, port_names
from nvbench.testbed import Testbed, read_testbed

FIRST, SECOND = "0000:3b:00.0", "0000:3b:00.1"
DRIVERS = ("ixgbe", "vfio-pci", "mlx5_core", "igb_uio")


def bed(first: str = "", second: str = "", address: str = FIRST) -> Testbed:
    ports = f'{{pci: "{address}"{first}}}, {{pci: "{SECOND}"{second}}}'
    text = f"""\
name: one
hosts: {{near: {{address: local}}, far: {{address: local}}}}
generator: {{host: near, ports: [{ports}]}}
switch: {{host: far, ports: [{{vdev: net_null0}}, {{vdev: net_null1}}]}}
"""
    return read_testbed("one.yaml", text.encode())


class FakeServer(LocalHost):
    """A host with two ports, in files like those of the kernel; a write to them does what the kernel would do."""

    def __init__(self, folder: Path, first: str = "vfio-pci", second: str = "vfio-pci") -> None:
        super().__init__("near")
        self.bus, self.network = folder / "pci", folder / "net"
        self.addresses = ""
        for driver in DRIVERS:
            (self.bus / "drivers" / driver).mkdir(parents=True)
        for index, (address, driver) in enumerate(((FIRST, first), (SECOND, second))):
            device = self.bus / "devices" / address
            device.mkdir(parents=True)
            (device / "driver_override").write_text("(null)\n")
            (device / "name").write_text(f"eth{index}")
            self.take(address, driver)

    def take(self, address: str, driver: str) -> None:
        device = self.bus / "devices" / address
        (device / "driver").unlink(missing_ok=True)
        if driver:
            (device / "driver").symlink_to(self.bus / "drivers" / driver)
        (device / "uevent").write_text(f"DRIVER={driver}\n")
        name = (device / "name").read_text()
        if driver in ("ixgbe", "mlx5_core"):
            for folder in (device / "net" / name, self.network / name):
                folder.mkdir(parents=True, exist_ok=True)
            (self.network / name / "operstate").write_text("down\n")  # the other end of its cable is
            (self.network / name / "flags").write_text("0x1003\n")

    def write(self, path: str, text: str) -> None:
        if path.endswith("drivers_probe"):
            override = self.bus / "devices" / text.strip() / "driver_override"
            self.take(text.strip(), override.read_text().strip())
        elif path.endswith("unbind"):
            self.take(text.strip(), "")
        else:
            super().write(path, text)

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: str = "", check: bool = True) -> Completed:
        if argv[0] == "ip":
            return Completed(tuple(argv), 0, self.addresses, "", 0.0)
        return super().run(argv, timeout_s=timeout_s, stdin=stdin, check=check)

    def driver(self, address: str) -> str:
        return (self.bus / "devices" / address / "driver").resolve().name


def make_ready(server: FakeServer, wanted: Testbed, folder: Path) -> Journal:
    journal = Journal(folder / "journal", {"near": server})
    make_ports_ready(wanted, {"near": server}, journal, sysfs=str(server.bus), network=str(server.network))
    return journal


@pytest.mark.parametrize(("first", "second"), [("vfio-pci", "igb_uio"), ("mlx5_core", "mlx5_core")])
def test_ports_that_dpdk_can_have_are_left_as_they_are(tmp_path, first, second) -> None:
    server = FakeServer(tmp_path, first, second)
    assert make_ready(server, bed(), tmp_path).entries == []
    assert (server.driver(FIRST), server.driver(SECOND)) == (first, second)


@pytest.mark.parametrize(
    ("driver", "what"),
    [("ixgbe", "is bound to the kernel's ixgbe (eth1)"), ("", "has no driver")],
)
def test_a_port_of_the_kernel_is_told_with_both_ways_out(tmp_path, driver, what) -> None:
    with pytest.raises(NotReadyError) as caught:
        make_ready(FakeServer(tmp_path, second=driver), bed(), tmp_path)
    assert str(caught.value) == (
        f"host near: generator.ports.1, {SECOND}, {what} "
        f"(dpdk-devbind.py --bind=vfio-pci {SECOND}, or say `bind: vfio-pci` beside it in the testbed)"
    )


def test_a_port_that_is_not_there(tmp_path) -> None:
    with pytest.raises(NotReadyError, match=re.escape("generator.ports.0, 0000:99:00.0, is not there")):
        make_ready(FakeServer(tmp_path), bed(address="0000:99:00.0"), tmp_path)


def test_a_device_of_the_kernel_that_is_not_there(tmp_path) -> None:
    (tmp_path / "eth1").mkdir()
    sides = (
        "generator: {ports: [{vdev: net_null0}, {vdev: net_null1}]}\nswitch: {ports: [{device: eth1}, {device: eth7}]}"
    )
    testbed = read_testbed("t.yaml", f"name: t\n{sides}\n".encode())
    with pytest.raises(NotReadyError, match=r"host local: switch\.ports\.1, eth7, is not there"):
        make_ports_ready(testbed, {"local": LocalHost()}, Journal(tmp_path / "journal", {}), network=str(tmp_path))


def test_a_port_that_is_to_be_bound_is_bound_and_what_it_takes_back_is_written_down_first(tmp_path) -> None:
    server = FakeServer(tmp_path, "ixgbe")
    server.addresses = "2: eth0    inet6 fe80::1/64 scope link \\       valid_lft forever preferred_lft forever\n"
    journal = make_ready(server, bed(", bind: vfio-pci"), tmp_path)
    assert server.driver(FIRST) == "vfio-pci"
    up, back = journal.entries
    assert (up["argv"], up["returns"]) == (["ip", "link", "set", "dev", "eth0", "up"], True)
    assert back["argv"][0] == "awk"
    assert "found=ixgbe" in back["argv"]
    assert make_ready(server, bed(", bind: vfio-pci"), tmp_path).entries == journal.entries  # bound already


def test_a_port_that_is_down_is_not_put_up_in_the_end(tmp_path) -> None:
    server = FakeServer(tmp_path, "ixgbe")
    (server.network / "eth0" / "flags").write_text("0x1002\n")
    [back] = make_ready(server, bed(", bind: vfio-pci"), tmp_path).entries
    assert back["argv"][0] == "awk"


def test_a_connection_that_is_lost_meanwhile_is_no_fault_of_the_port(tmp_path) -> None:
    class LostServer(FakeServer):
        def write(self, path: str, text: str) -> None:
            raise LostConnectionError("the SSH connection to near was lost")

    with pytest.raises(LostConnectionError):
        make_ready(LostServer(tmp_path, "ixgbe"), bed(", bind: vfio-pci"), tmp_path)


def test_what_is_there_once_has_one_name_whatever_a_testbed_calls_it(tmp_path) -> None:
    bus, network = tmp_path / "pci0000:00", tmp_path / "net"
    behind = {
        "eth0": "0000:3b:00.0",
        "eth1": "0000:3b:00.1",
        "ens3": "0000:00:03.0/virtio1",
        "enx0": "0000:00:14.0/1-1",
    }
    for name, path in behind.items():
        (bus / path).mkdir(parents=True)
        (network / name).mkdir(parents=True)
        (network / name / "device").symlink_to(bus / path)
    (network / "veth0").mkdir()

    def names(ports: str) -> list[str]:
        switch = "[{vdev: net_null0}, {vdev: net_null1}]"
        testbed = read_testbed(
            "t.yaml", f"name: t\ngenerator: {{ports: {ports}}}\nswitch: {{ports: {switch}}}\n".encode()
        )
        return [name for _, name in port_names(testbed, {"local": LocalHost()}, network=str(network))]

    assert names('[{pci: "0000:3B:00.0"}, {device: eth1}]') == [FIRST, SECOND]
    assert names('[{vdev: "net_af_packet0,iface=eth0"}, {vdev: "net_af_xdp0,iface=veth0"}]') == [FIRST, "veth0"]
    assert names("[{device: ens3}, {device: enx0}]") == ["0000:00:03.0", "enx0"]  # one of many on a USB controller
    assert names('[{device: eth0}, {pci: "0000:3b:00.0"}]') == [FIRST]  # two ports of one address, as mlx4_core has


def test_two_benches_on_one_host_do_not_use_the_same_names() -> None:
    """Nor do they with one process id, as runs in containers have."""
    testbed = bed()
    names = [
        Bench(testbed, {}, Journal(Path("journal"), {}), place_cores(testbed, {0: 0, 1: 0})).new_name()
        for _ in range(10)
    ]
    assert len(set(names)) == 10
    assert all(re.fullmatch(r"nv[0-9a-f]{8}-1", name) for name in names)


ADDRESS = "2: eth0    inet 192.0.2.2/24 brd 192.0.2.255 scope global eth0\\       valid_lft forever\n"


def in_use(server: FakeServer, how: str) -> None:
    if how == "address":
        server.addresses = ADDRESS
    elif how == "bond":
        (server.network / "eth0" / "upper_bond0").mkdir()
    else:
        (server.bus / "devices" / FIRST / "sriov_numvfs").write_text("4\n")


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("address", "is eth0, which has the address 192.0.2.2/24"),
        ("bond", "is eth0, part of bond0"),
        ("functions", "has 4 virtual functions"),
    ],
)
def test_a_port_in_use_is_never_taken_away(tmp_path, how, what) -> None:
    server = FakeServer(tmp_path, "ixgbe")
    in_use(server, how)
    with pytest.raises(NotReadyError, match=re.escape(f"generator.ports.0, {FIRST}, {what}")):
        make_ready(server, bed(", bind: vfio-pci"), tmp_path)
    assert server.driver(FIRST) == "ixgbe"
    assert not (tmp_path / "journal").exists()


def test_a_nic_that_stays_with_its_driver_is_not_bound_away(tmp_path) -> None:
    with pytest.raises(NotReadyError, match="is driven through mlx5_core, which has to stay"):
        make_ready(FakeServer(tmp_path, "mlx5_core"), bed(", bind: vfio-pci"), tmp_path)


def test_a_driver_that_is_not_loaded(tmp_path) -> None:
    with pytest.raises(NotReadyError, match=r"cannot be bound: the driver uio_pci_generic is not loaded.*modprobe"):
        make_ready(FakeServer(tmp_path, "ixgbe"), bed(", bind: uio_pci_generic"), tmp_path)
