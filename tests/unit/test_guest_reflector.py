"""dpdk-testpmd inside a virtual machine: its files in the image, the devices it takes, its command line, its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from nvbench.endpoint import Link, LinkKind
from nvbench.errors import CommandError, GuestError, LostConnectionError
from nvbench.guests import GuestPlace, GuestSide, Nic, make_guest, testpmd_files
from nvbench.guests.image import Image
from nvbench.guests.packages import Package
from nvbench.guests.qemu import Qemu
from nvbench.guests.reflector import Reflector, machine_mb
from nvbench.guests.testpmd import memory_mb
from nvbench.hosts import Completed
from nvbench.testbed import GuestSide as Asked
from nvbench.testpmd import version
from tests.unit.test_testpmd import JOINED, READY, FakeHost, FakeProcess

PAGES = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
DEVICES = {"eth1": "0000:01:00.0", "eth2": "0000:02:00.0"}


class Inside(FakeHost):
    """A machine with two virtio devices behind ports of PCI Express, and room for so many hugepages."""

    def __init__(self, *processes: FakeProcess, room: int = 1000) -> None:
        super().__init__(*processes)
        self.room = room
        self.files: dict[str, str] = {}
        self.wrote: list[str] = []

    def run(self, argv: Sequence[str], **options: object) -> Completed:
        if argv[0] == "pkg-config":
            raise CommandError("cannot start pkg-config: No such file or directory", place="host vm1")
        if argv[0] == "readlink":
            address = DEVICES[argv[-1].split("/")[4]]
            found = f"/sys/devices/pci0000:00/0000:00:02.0/{address}/virtio1\n"
            return Completed(tuple(argv), 0, found, "", 0.0)
        return super().run(argv, **options)

    def write(self, path: str, text: str) -> None:
        self.wrote.append(f"{path} {text.strip()}")
        self.files[path] = str(min(self.room, int(text))) if path == PAGES else text

    def read(self, path: str) -> str | None:
        return self.files.get(path, super().read(path) if path.startswith("/proc/4") else None)


def reflector(inside: Inside, **changes: object) -> Reflector:
    return Reflector(inside, **({"vcpus": 1, "queues": 1, "mtu": 1500, "forward": "macswap"} | changes))


# -- the program ---------------------------------------------------------------------------------------------------


def test_it_takes_the_devices_from_the_kernel_and_passes_frames_on():
    inside = Inside(FakeProcess([*JOINED, READY]))
    made = reflector(inside)
    made.start(("eth1", "eth2"))
    assert inside.did[0] == "modprobe uio_pci_generic"
    assert inside.wrote == [
        f"{PAGES} 40",
        "/sys/bus/pci/devices/0000:01:00.0/driver_override uio_pci_generic",
        "/sys/bus/pci/devices/0000:01:00.0/driver/unbind 0000:01:00.0",
        "/sys/bus/pci/drivers_probe 0000:01:00.0",
        "/sys/bus/pci/devices/0000:02:00.0/driver_override uio_pci_generic",
        "/sys/bus/pci/devices/0000:02:00.0/driver/unbind 0000:02:00.0",
        "/sys/bus/pci/drivers_probe 0000:02:00.0",
    ]
    (line,) = [line for line in inside.did if line.startswith("stdbuf")]
    assert " -a 0000:01:00.0 -a 0000:02:00.0 -- " in line
    assert "--no-pci" not in line
    assert made.crashed() == ""


def test_its_only_processor_polls_too_and_of_several_the_first_does_not():
    alone = reflector(Inside()).command(["a", "b"])
    assert {"--lcores=0@0,1@0", "--nb-cores=1", "--forward-mode=macswap", "--auto-start"} <= set(alone)
    several = reflector(Inside(), vcpus=4, queues=2, mtu=9000, forward="io").command(["a", "b"])
    assert {"--lcores=0@0,1@1,2@2,3@3", "--nb-cores=3", "--rxq=2", "--mbuf-size=9400"} <= set(several)
    assert several[several.index("--socket-mem") + 1] == str(memory_mb(2, 256, 9000))


def test_a_machine_without_room_for_it_is_told_what_is_needed():
    inside = Inside(room=12)
    with pytest.raises(GuestError, match=r"room for 12 of 40 hugepages \(guests: {memory_mb: 336}\)"):
        reflector(inside).start(("eth1", "eth2"))
    assert not [line for line in inside.did if line.startswith("stdbuf")]
    assert machine_mb(1, 1500) == 336 < machine_mb(2, 9000)


def test_its_end_is_told_with_its_last_words():
    process = FakeProcess([*JOINED, READY])
    made = reflector(Inside(process))
    made.start(("eth1", "eth2"))
    process.ended, process.said, process.status = True, ["EAL: Error reading from file descriptor"], None
    assert made.crashed() == "dpdk-testpmd has ended: EAL: Error reading from file descriptor / killed"


def test_where_nothing_tells_its_version_it_is_started_all_the_same():
    assert version(Inside()) == "testpmd"

    class Gone(Inside):
        def run(self, argv: Sequence[str], **options: object) -> Completed:
            raise LostConnectionError("the SSH connection is gone", place="host far")

    with pytest.raises(LostConnectionError):
        version(Gone())


# -- the machine ---------------------------------------------------------------------------------------------------


def ready(inside: Inside, **asked: object) -> Qemu:
    """A machine that has come up with two devices; its QEMU lives."""
    nics = [Nic(Link(LinkKind.TAP, f"t{index}"), f"52:54:00:00:00:0{index}") for index in (1, 2)]
    made = make_guest("qemu", 0, GuestPlace(inside, "/f", "", ()), nics, GuestSide(Asked(**asked), {}))
    assert isinstance(made, Qemu)
    made._inside, made.version, made.devices = inside, "Linux", ("eth1", "eth2")
    made._monitor = SimpleNamespace(
        place="guest vm1",
        check_alive=lambda: None,
        fault=lambda what: GuestError(what, place="guest vm1"),
    )
    return made


def test_its_kernel_forwards_unless_testpmd_is_asked_for():
    inside = Inside()
    made = ready(inside)
    made.forward()
    assert "ip link set eth2 master nvfwd0 up" in inside.did
    assert made.devices == ("eth1", "eth2")


def test_devices_that_testpmd_takes_are_no_devices_of_the_machine_any_more():
    process = FakeProcess([*JOINED, READY])
    inside = Inside(process)
    made = ready(inside, forwarder="testpmd", forward="5tswap")
    made.forward()
    assert made.devices == ()
    assert [line for line in inside.did if "--forward-mode=5tswap" in line]
    made.check_alive()
    process.ended, process.status = True, 137
    with pytest.raises(GuestError, match=r"^guest vm1: dpdk-testpmd has ended: status 137$"):
        made.check_alive()


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        (
            Inside(FakeProcess([], ended=True, complaints=["EAL: FATAL: Cannot init plugins"])),
            r"did not start: EAL: .*",
        ),
        (Inside(room=2), r"its memory has room for 2 of 40 hugepages \(guests: .*\)"),
    ],
)
def test_what_fails_inside_is_told_as_a_fault_of_the_guest(inside, why):
    with pytest.raises(GuestError, match=rf"^guest vm1: .*{why}"):
        ready(inside, forwarder="testpmd").forward()


# -- the image -----------------------------------------------------------------------------------------------------


class Loader:
    """A host on which a loader tells what each program needs, by name and file."""

    name = "fake"

    def __init__(self, root: Path) -> None:
        lib = f"{root}/usr/lib/x86_64-linux-gnu"
        self.needs = {
            "dpdk-testpmd": {
                "librte_eal.so.1": f"{lib}/librte_eal.so.1",
                "libc.so.6": f"{root}/lib/x86_64-linux-gnu/libc.so.6",
            },
            "librte_net_virtio.so.1.0": {"librte_bus_pci.so.1": f"{lib}/librte_bus_pci.so.1"},
        }

    def run(self, argv: Sequence[str], **_: object) -> Completed:
        needs = self.needs.get(argv[-1].rpartition("/")[2], {})
        lines = ["\tlinux-vdso.so.1 (0x1)", "\t/lib64/ld-linux-x86-64.so.2 => /lib/x (0x1)"]
        lines += [f"\t{name} => {path} (0x00007f)" for name, path in needs.items()]
        return Completed(tuple(argv), 0, "\n".join(lines), "", 0.0)


def test_the_program_comes_with_all_that_it_loads_each_file_once(tmp_path):
    lib = tmp_path / "usr/lib/x86_64-linux-gnu"
    drivers = "dpdk/pmds-1.0"
    for place in (
        "usr/bin/dpdk-testpmd",
        "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        "lib/x86_64-linux-gnu/libc.so.6",
        *(f"usr/lib/x86_64-linux-gnu/{name}" for name in ("librte_eal.so.1.0", "librte_unwanted.so.1.0")),
        *(
            f"usr/lib/x86_64-linux-gnu/{drivers}/librte_{name}.so.1.0"
            for name in ("net_virtio", "mempool_ring", "bus_pci", "net_unwanted")
        ),
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(place)
    (lib / "librte_eal.so.1").symlink_to("librte_eal.so.1.0")
    (lib / "librte_bus_pci.so.1").symlink_to(f"{drivers}/librte_bus_pci.so.1.0")
    (lib / drivers / "librte_net_virtio.so.1").symlink_to("librte_net_virtio.so.1.0")
    found = testpmd_files.entries(Loader(tmp_path), tmp_path)
    own = "usr/lib/x86_64-linux-gnu"
    assert sorted(found) == [
        "usr/bin/dpdk-testpmd",
        f"{own}/{drivers}/librte_bus_pci.so.1.0",
        f"{own}/{drivers}/librte_mempool_ring.so.1.0",
        f"{own}/{drivers}/librte_net_virtio.so.1.0",
        f"{own}/libc.so.6",
        f"{own}/librte_bus_pci.so.1",
        f"{own}/librte_eal.so.1",
        f"{own}/librte_eal.so.1.0",
    ]
    assert found[f"{own}/librte_bus_pci.so.1"].data.decode() == f"/{own}/{drivers}/librte_bus_pci.so.1.0"


class Archive:
    """One that has these packages."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def has(self, name: str) -> bool:
        return name in self.names

    def closure(self, names: Sequence[str]) -> tuple[Package, ...]:
        return tuple(Package(name, "1") for name in self.names)


def test_it_is_made_of_the_packages_of_libraries_alone():
    archive = Archive(
        "dpdk-dev", "libdpdk-dev", "librte-eal23", "libpython3.11-stdlib", "perl-base", "python3", "zlib1g"
    )
    assert [found.name for found in testpmd_files.packages(archive)] == ["dpdk-dev", "librte-eal23", "zlib1g"]


def test_an_archive_without_it_is_told():
    with pytest.raises(GuestError, match=r"^the archive has no dpdk-dev, .* \(leave out guests.forwarder\)$"):
        testpmd_files.packages(Archive("busybox"))


def test_an_image_tells_the_dpdk_in_it(tmp_path):
    (tmp_path / "packages").write_text("dash=0.5.12-2\ndpdk-dev=22.11.11-0+deb12u1\n")
    assert Image(tmp_path, "/c/image-1").dpdk == "22.11.11"
    (tmp_path / "packages").write_text("dash=0.5.12-2\n")
    assert Image(tmp_path, "/c/image-1").dpdk == ""
