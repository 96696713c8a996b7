"""Virtual machines on this machine: built, booted, saved, restored, reached, lost, and gone without a trace."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nvbench.cabling import make_namespace
from nvbench.endpoint import Link, LinkKind
from nvbench.errors import CommandError, GuestError
from nvbench.guests import initramfs
from nvbench.guests.base import GuestPlace, Nic
from nvbench.guests.emulator import Machine, find_emulator
from nvbench.guests.image import Image, image
from nvbench.guests.monitor import Monitor
from nvbench.guests.qemu import Qemu, QemuParameters
from nvbench.guests.saved import boot
from nvbench.hosts import LocalHost, NamespaceHost
from nvbench.journal import Journal, Remove
from tests.lab.conftest import running

HOST = LocalHost()
NAMESPACE = "nvtg"
FOLDER = "/run/nvbench/test-guests"
CACHE = GuestPlace(HOST, FOLDER, "", ()).cache
SOON_S = 30.0
"""Far above what a restored guest takes, and below what a boot and its patience do."""


def ours() -> dict[str, list[str]]:
    """What guests of these tests could leave behind."""
    return {
        "processes": sorted(running("test-guests").values()),
        "links": sorted(path.name for path in Path("/sys/class/net").glob("nvt*")),
        "files": sorted(path.name for path in Path(FOLDER).parent.glob("test-guests*")),
        "namespaces": sorted(path.name for path in Path("/run/netns").glob(NAMESPACE)),
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
    assert ours() == before


def tap(index: int = 1, **changes: object) -> Nic:
    values = {"address": f"10.99.7.{index}/24", "mtu": 4000, "queues": 2} | changes
    return Nic(Link(LinkKind.TAP, f"nvtgt{index}"), f"52:54:00:00:07:0{index}", **values)


def guest(name: str, *nics: Nic, namespace: str = NAMESPACE, **parameters: object) -> Qemu:
    place = GuestPlace(HOST, FOLDER, namespace, (0, 1))
    return Qemu(name, place, nics, QemuParameters.model_validate(parameters))


@pytest.fixture(scope="module")
def machine() -> Machine:
    """Made once: the first time on a machine this takes a minute."""
    return Machine(find_emulator(HOST, CACHE), image(HOST, CACHE, "cloud"), memory_mb=384, vcpus=1, kvm=False)


@pytest.fixture(scope="module")
def vm(machine, tmp_path_factory) -> Iterator[Qemu]:
    """A machine with two taps in a namespace, the second with its address given last."""
    with bench(tmp_path_factory.mktemp("vm")) as journal:
        make_namespace(HOST, journal, NAMESPACE)
        made = guest("vm1", tap(1), tap(2, address="", mtu=1500, queues=1))
        made.up(journal)
        try:
            made.ready()
            yield made
        finally:
            made.down()


def test_it_answers_and_says_what_it_is(vm):
    release = vm.host.run(["uname", "-r"]).stdout.strip()
    assert vm.version.startswith(f"Linux {release} on QEMU ")
    assert vm.version.endswith("TCG") is vm.emulated
    assert abs(float(vm.host.run(["date", "+%s"]).stdout) - time.time()) < SOON_S
    vm.check_alive()


def test_its_devices_are_as_asked_and_their_offloads_untouched(vm):
    assert vm.devices == ("eth1", "eth2")
    first, second = (json.loads(vm.host.run(["ip", "-j", "address", "show", name]).stdout)[0] for name in vm.devices)
    assert (first["address"], first["mtu"]) == ("52:54:00:00:07:01", 4000)
    assert [found["local"] for found in first["addr_info"]] == ["10.99.7.1"]
    assert (second["address"], second["mtu"], second["addr_info"]) == ("52:54:00:00:07:02", 1500, [])
    assert "UP" in first["flags"]
    offloads = vm.host.run(["ethtool", "-k", "eth1"]).stdout
    assert "tcp-segmentation-offload: on" in offloads
    assert "Combined:\t2" in vm.host.run(["ethtool", "-l", "eth1"]).stdout.split("Current")[1]


def test_frames_come_out_of_its_tap_in_the_datapaths_namespace(vm):
    near = NamespaceHost(HOST, NAMESPACE)
    assert not Path("/sys/class/net/nvtgt1").exists()
    near.run(["ip", "address", "add", "10.99.7.9/24", "dev", "nvtgt1"])
    vm.host.run(["ping", "-c", "2", "-i", "0.2", "-W", "5", "-M", "do", "-s", "3900", "10.99.7.9"])


@pytest.mark.parametrize(
    "argv",
    [
        ["modprobe", "-a", "openvswitch", "8021q", "vfio-pci", "sch_netem"],
        ["ip", "link", "add", "nvbr", "type", "bridge"],  # which the kernel loads by itself
        ["iperf3", "--version"],
        ["iperf", "--version"],
        ["sockperf", "--version"],
        ["tcpdump", "--version"],
        ["tc", "-V"],
        ["taskset", "-c", "0", "ip", "-j", "link"],  # busybox's own would run busybox's ip
    ],
)
def test_it_has_the_tools_of_an_endpoint(vm, argv):
    done = vm.host.run(argv, check=False)
    assert done.returncode in (0, 1 if argv[0] == "iperf" else 0), done.stderr


def test_the_next_one_goes_on_from_the_saved_state(vm, tmp_path):
    states = {path: path.stat().st_mtime_ns for path in image(HOST, CACHE, "cloud").home.glob("state-*")}
    assert states
    with bench(tmp_path) as journal:
        began = time.monotonic()
        second = guest("vm2", tap(3), namespace="")
        second.up(journal)
        second.ready()
        assert time.monotonic() - began < SOON_S
        assert "ready" not in (HOST.read(f"{FOLDER}-vm2/console.log") or "")
        assert second.host.run(["hostname"]).ok
        second.down()
    assert {path: path.stat().st_mtime_ns for path in states} == states


def test_a_machine_that_dies_is_noticed(vm, tmp_path):
    with bench(tmp_path) as journal:
        doomed = guest("vm3")
        doomed.up(journal)
        doomed.ready()
        HOST.run(["kill", "-KILL", (HOST.read(f"{FOLDER}-vm3/qemu.pid") or "").strip()])
        with pytest.raises(GuestError, match="guest vm3: the machine has ended"):
            doomed.check_alive()
        with pytest.raises(CommandError):
            doomed.host.run(["true"], timeout_s=5.0)
        doomed.down()


def test_what_a_killed_run_leaves_is_taken_back_from_the_journal_alone(vm, tmp_path):
    with bench(tmp_path) as journal:
        orphan = guest("vm4", tap(4), namespace="")
        orphan.up(journal)
        assert Path("/sys/class/net/nvtgt4").exists()
        again = Journal(tmp_path / "journal", {HOST.name: HOST})
        assert again.undo_since(0) == []
        assert not Path("/sys/class/net/nvtgt4").exists()
        orphan.down()


def test_a_tap_whose_name_is_taken_is_refused(vm, tmp_path):
    near = NamespaceHost(HOST, NAMESPACE)
    near.run(["ip", "link", "add", "nvtgt5", "type", "ifb"])
    with bench(tmp_path) as journal:
        refused = guest("vm5", tap(5))
        with pytest.raises(GuestError, match=r"guest vm5: .*File exists"):
            refused.up(journal)
        refused.down()
    near.run(["ip", "link", "delete", "nvtgt5"])


def test_a_kernel_that_panics_is_quoted(machine, tmp_path):
    broken = tmp_path / "image"
    broken.mkdir()
    shutil.copy(machine.image.kernel, broken / "vmlinux")
    with (broken / "initramfs").open("wb") as out:
        initramfs.write({"init": initramfs.file("no program\n", 0o755)}, out)
    with bench(tmp_path) as journal:
        monitor = Monitor(HOST, "broken", f"{FOLDER}-broken")
        wrong = Machine(machine.emulator, Image(broken, str(broken)), memory_mb=384, vcpus=1, kvm=False)
        with pytest.raises(GuestError, match=r"guest broken: the machine has ended; its console ends with: .*panic"):
            boot(monitor, journal, wrong.argv(f"{FOLDER}-broken"))
        journal.undo_since(0)
        monitor.reap()


def test_a_machine_has_a_nic_with_virtual_functions(tmp_path):
    with bench(tmp_path) as journal:
        made = guest("sriov", flavour="generic", sriov_nics=1, memory_mb=512)
        made.up(journal)
        made.ready()
        inside = made.host
        inside.write("/sys/class/net/nic0/device/sriov_numvfs", "2")
        (found,) = json.loads(inside.run(["ip", "-j", "link", "show", "nic0"]).stdout)
        assert [function["vf"] for function in found["vfinfo_list"]] == [0, 1]
        assert inside.exists("/sys/class/net/nic0/device/virtfn1/net")
        made.down()


def test_two_machines_are_joined_by_vhost_user_with_two_queues(machine, tmp_path):
    with bench(tmp_path) as journal:
        journal.record(HOST, Remove("/run/dpdk/nvtg"))
        sockets = [f"{FOLDER}/s{index}.sock" for index in (1, 2)]
        guests = [
            guest(
                f"end{index}",
                Nic(
                    Link(LinkKind.VHOST_USER, path),
                    f"52:54:00:00:07:0{index}",
                    f"10.99.8.{index}/24",
                    queues=2,
                ),
                namespace="",
            )
            for index, path in enumerate(sockets, start=1)
        ]
        for made in guests:
            made.up(journal)
        with switch(sockets):
            for made in guests:
                made.ready()
            first = guests[0].host
            first.run(["ping", "-c", "3", "-i", "0.2", "-W", "10", "10.99.8.2"])
            assert "Combined:\t2" in first.run(["ethtool", "-l", "eth1"]).stdout.split("Current")[1]
            for made in guests:
                made.check_alive()
        for made in reversed(guests):
            made.down()


@contextmanager
def switch(sockets: list[str]) -> Iterator[None]:
    """A switch of two ports, the client of both sockets."""
    vdevs = [f"--vdev=net_vhost{index},iface={path},client=1,queues=2" for index, path in enumerate(sockets)]
    eal = ["-l", "0,1", "--no-huge", "-m", "256", "--no-pci", "--no-telemetry", "--file-prefix", "nvtg", *vdevs]
    own = ["--total-num-mbufs=8192", "--rxq=2", "--txq=2", "--auto-start", "--no-lsc-interrupt", "-i"]
    with subprocess.Popen(
        ["dpdk-testpmd", *eal, "--", *own], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as child:
        try:
            yield
            assert child.poll() is None
        finally:
            child.kill()
