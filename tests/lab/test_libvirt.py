"""Domains of libvirt on this machine: defined, started, joined to switches, reached, and forgotten."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from nvbench.cabling import make_namespace
from nvbench.endpoint import Link, LinkKind
from nvbench.errors import CommandError, GuestError
from nvbench.guests.base import GuestPlace, Nic
from nvbench.guests.image import image
from nvbench.guests.libvirt import URI, Libvirt, LibvirtParameters
from nvbench.guests.libvirt_xml import Domain
from nvbench.hosts import LocalHost, NamespaceHost
from nvbench.journal import Journal, Remove
from tests.lab.conftest import running
from tests.lab.waiting import wait_until

HOST = LocalHost()
NAMESPACE = "nvtl"
FOLDER = "/run/nvbench/test-libvirt"
CACHE = GuestPlace(HOST, FOLDER, "", ()).cache


def libvirt_is_absent() -> str:
    """Why there is no libvirt to test with; it is not installed for that."""
    if shutil.which("virsh") is None:
        return "needs virsh: apt-get install libvirt-daemon-system libvirt-clients"
    try:
        HOST.run(["virsh", "-c", URI, "version", "--daemon"])
    except CommandError as error:
        return f"needs a running libvirt with QEMU: {error}"
    return ""


pytestmark = pytest.mark.skipif(bool(libvirt_is_absent()), reason=libvirt_is_absent() or "none")


def ours() -> dict[str, list[str]]:
    """What guests of these tests could leave behind."""
    return {
        "domains": HOST.run(["virsh", "-c", URI, "list", "--all", "--name"]).stdout.split(),
        "processes": sorted(running("test-libvirt").values()),
        "links": sorted(path.name for path in Path("/sys/class/net").glob("nvt*")),
        "files": sorted(path.name for path in Path(FOLDER).parent.glob("test-libvirt*")),
        "namespaces": sorted(path.name for path in Path("/run/netns").glob(NAMESPACE)),
        "hugepages": [Path("/proc/sys/vm/nr_hugepages").read_text()],
    }


@contextmanager
def bench(path: Path) -> Iterator[Journal]:
    """A journal of our own, and a machine that is in the end as it was."""
    before = ours()
    Path(FOLDER).parent.mkdir(exist_ok=True)
    journal = Journal(path / "journal", {HOST.name: HOST})
    try:
        yield journal
    finally:
        assert journal.undo_since(0) == []
    with suppress(AssertionError):  # what differs is told below
        wait_until(lambda: ours() == before)
    assert ours() == before


def guest(name: str, *nics: Nic, namespace: str = "", **parameters: object) -> Libvirt:
    return Libvirt(name, GuestPlace(HOST, FOLDER, namespace, (0, 1)), nics, LibvirtParameters(**parameters))


def tap(index: int) -> Nic:
    return Nic(Link(LinkKind.TAP, f"nvtlt{index}"), f"52:54:00:00:09:0{index}", f"10.99.9.{index}/24", 4000, 2)


def vhost(index: int, *, served: bool) -> Nic:
    link = Link(LinkKind.VHOST_USER, f"{FOLDER}/s{index}.sock", served)
    return Nic(link, f"52:54:00:00:09:1{index}", f"10.99.10.{index}/24", queues=2)


def test_a_machine_with_a_tap_is_reached_and_its_frames_come_out_at_the_switch(tmp_path):
    with bench(tmp_path) as journal:
        make_namespace(HOST, journal, NAMESPACE)
        vm = guest("vm1", tap(1), namespace=NAMESPACE)
        vm.up(journal)
        vm.ready()
        assert vm.devices == ("eth1",)
        assert vm.version.startswith(f"Linux {vm.host.run(['uname', '-r']).stdout.strip()} on QEMU ")
        assert vm.version.endswith("TCG") is vm.emulated
        assert "Combined:\t2" in vm.host.run(["ethtool", "-l", "eth1"]).stdout.split("Current")[1]
        near = NamespaceHost(HOST, NAMESPACE)
        near.run(["ip", "address", "add", "10.99.9.9/24", "dev", "nvtlt1"])
        vm.host.run(["ping", "-c", "2", "-i", "0.2", "-W", "5", "-M", "do", "-s", "3900", "10.99.9.9"])
        vm.down()


@pytest.mark.parametrize("served", [False, True], ids=["the guests serve", "the switch serves"])
def test_two_machines_are_joined_by_vhost_user_whichever_end_serves(tmp_path, served):
    with bench(tmp_path) as journal:
        journal.record(HOST, Remove("/run/dpdk/nvtl"))
        journal.record(HOST, Remove(FOLDER))
        HOST.make_folder(FOLDER)
        vms = [guest(f"end{index}", vhost(index, served=served)) for index in (1, 2)]
        for vm in vms:
            vm.up(journal)
        with switch([f"{FOLDER}/s{index}.sock" for index in (1, 2)], served=served):
            for vm in vms:
                vm.ready()
            vms[0].host.run(["ping", "-c", "3", "-i", "0.2", "-W", "10", "10.99.10.2"])
            assert "Combined:\t2" in vms[0].host.run(["ethtool", "-l", "eth1"]).stdout.split("Current")[1]
            for vm in vms:
                vm.check_alive()
        for vm in reversed(vms):
            vm.down()


def test_a_machine_that_no_switch_connects_to_goes_from_the_journal_alone(tmp_path):
    with bench(tmp_path) as journal:
        orphan = guest("vm1", vhost(1, served=False), vhost(2, served=False))
        orphan.up(journal)
        orphan.check_alive()
        assert orphan.domain in ours()["domains"]
        assert Journal(tmp_path / "journal", {HOST.name: HOST}).undo_since(0) == []
        assert orphan.domain not in ours()["domains"]
        orphan.down()


def test_a_machine_that_dies_is_noticed(tmp_path):
    with bench(tmp_path) as journal:
        doomed = guest("vm1")
        doomed.up(journal)
        doomed.ready()
        HOST.run(["virsh", "-c", URI, "destroy", doomed.domain])
        with pytest.raises(GuestError, match=r"guest vm1: the domain is shut off \(destroyed\)"):
            doomed.check_alive()
        doomed.down()


@pytest.mark.skipif(shutil.which("virt-xml-validate") is None, reason="needs virt-xml-validate")
@pytest.mark.skipif(shutil.which("xmllint") is None, reason="needs xmllint: apt-get install libxml2-utils")
def test_a_domain_is_what_the_schema_says(tmp_path):
    function = Nic(Link(LinkKind.PCI, "0000:3b:02.1"), "52:54:00:00:09:09")
    nics = (tap(1), vhost(1, served=False), vhost(2, served=True), function)
    domain = Domain("x", image(HOST, CACHE, "cloud"), "/c", 384, 2, kvm=True, cores=(0, 1), nics=nics)
    document = tmp_path / "domain.xml"
    document.write_text(domain.xml())
    HOST.run(["virt-xml-validate", str(document), "domain"])


@contextmanager
def switch(sockets: list[str], *, served: bool) -> Iterator[None]:
    """A switch of two ports."""
    client = int(not served)
    vdevs = [f"--vdev=net_vhost{index},iface={path},client={client},queues=2" for index, path in enumerate(sockets)]
    eal = ["-l", "0,1", "--no-huge", "-m", "256", "--no-pci", "--no-telemetry", "--file-prefix", "nvtl", *vdevs]
    own = ["--total-num-mbufs=8192", "--rxq=2", "--txq=2", "--auto-start", "--no-lsc-interrupt", "-i"]
    with subprocess.Popen(
        ["dpdk-testpmd", *eal, "--", *own], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as child:
        try:
            yield
            assert child.poll() is None
        finally:
            child.kill()
