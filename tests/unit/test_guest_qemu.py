"""A virtual machine as QEMU is told of it, the image that it boots, and what is said when it does not."""

from __future__ import annotations

import io
import json
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from nvbench.endpoint import Link, LinkKind
from nvbench.errors import GuestError
from nvbench.guests import image as images
from nvbench.guests import initramfs, inside, kernel, packages, qemu
from nvbench.guests.base import GuestPlace, Nic
from nvbench.guests.emulator import Emulator, Machine, find_emulator, private_copy
from nvbench.guests.image import UNWANTED, Image
from nvbench.guests.kept import making
from nvbench.guests.monitor import Monitor, last_words
from nvbench.guests.saved import kvm_works
from nvbench.hosts import Completed, LocalHost
from nvbench.journal import Journal

VHOST = Nic(Link(LinkKind.VHOST_USER, "/run/x/s0.sock"), "52:54:00:00:00:01", "10.99.0.1/24", queues=2)
TAP = Nic(Link(LinkKind.TAP, "nvt0"), "52:54:00:00:00:02", mtu=4000)


class ScriptedQemu:
    """A QEMU that answers from a table, and has gone after the last answer."""

    def __init__(self, answers: Sequence[object], complaints: Sequence[str]) -> None:
        self.answers = [json.dumps(answer) for answer in answers]
        self.told: list[dict[str, object]] = []
        self._complaints = list(complaints)

    def send(self, line: str) -> None:
        self.told.append(json.loads(line))

    def receive(self, timeout_s: float) -> str | None:
        return self.answers.pop(0) if self.answers else None

    def complaints(self) -> list[str]:
        return self._complaints

    def close(self, timeout_s: float = 5.0) -> int | None:
        return 0


class Lock:
    """A lock's holder, which echoes, or has ended with a complaint."""

    def __init__(self, complaint: str = "") -> None:
        self.held = not complaint
        self._complaint = complaint

    def send(self, line: str) -> None:
        self.said = line

    def receive(self, timeout_s: float) -> str | None:
        return self.said if self.held else None

    def complaints(self) -> list[str]:
        return [self._complaint]

    def close(self, timeout_s: float = 5.0) -> int | None:
        self.held = False
        return 0


class FakeHost:
    """A host with a few files, whose commands answer from a table and whose QEMU is scripted."""

    name = "fake"

    def __init__(self, commands: dict[str, str] | None = None, files: dict[str, str] | None = None) -> None:
        self.commands = commands or {}
        self.files = {"/proc/sys/kernel/random/boot_id": "first"} | (files or {})
        self.qemu = ScriptedQemu([{"return": {}}], [])
        self.lock_complaint = ""
        self.spawned: list[Sequence[str]] = []
        self.ran: list[str] = []
        self.uploaded: dict[str, bytes] = {}

    def run(self, argv: Sequence[str], *, timeout_s=30.0, stdin="", check=True) -> Completed:
        line = " ".join(argv)
        self.ran.append(line)
        kept = {"mv -T": "", "find ": ""}
        answer = next((text for part, text in (self.commands | kept).items() if part in line), None)
        if line.endswith("-name kvm-* -delete"):
            self.files = {path: text for path, text in self.files.items() if "/kvm-" not in path}
        done = Completed(tuple(argv), 1 if answer is None else 0, answer or "", "", 0.0)
        return done.checked(self.name) if check else done

    def spawn(self, argv: Sequence[str]) -> ScriptedQemu | Lock:
        if argv[0] == "flock":
            return Lock(self.lock_complaint)
        self.spawned.append(argv)
        return self.qemu

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def exists(self, path: str) -> bool:
        return path in self.files

    def make_folder(self, path: str) -> None:
        pass

    def write(self, path: str, text: str) -> None:
        self.files[path] = text

    def upload(self, source: Path, path: str) -> None:
        self.uploaded[path] = source.read_bytes()

    def remove(self, path: str) -> None:
        pass


def machine(tmp_path: Path, **changes: object) -> Machine:
    values = {"memory_mb": 384, "vcpus": 2, "kvm": False} | changes
    return Machine(Emulator(("qemu",), "10.0.2"), Image(tmp_path, "/cache/guests/image-1"), **values)


def journal(tmp_path: Path, host: FakeHost) -> Journal:
    return Journal(tmp_path / "journal", {host.name: host})


# -- the machine -------------------------------------------------------------------------------------------------


def test_a_machine_shares_its_memory_and_listens_on_the_loopback_alone(tmp_path):
    argv = machine(tmp_path).argv("/run/x-vm1")
    assert "memory-backend-memfd,id=memory,size=384M,share=on" in argv
    assert "user,id=control,restrict=on,hostfwd=tcp:127.0.0.1:0-:22" in argv
    assert argv[argv.index("-pidfile") + 1] == "/run/x-vm1/qemu.pid"
    assert argv[argv.index("-smp") + 1] == "2"
    assert "-incoming" not in argv
    assert machine(tmp_path).argv("/f", restored=True)[-2:] == ["-incoming", "defer"]


def test_kvm_is_asked_for_only_where_it_works(tmp_path):
    emulated, native = machine(tmp_path).argv("/f"), machine(tmp_path, kvm=True).argv("/f")
    assert emulated[emulated.index("-accel") + 1] == "tcg,tb-size=128"
    assert native[native.index("-accel") + 1] == "kvm"


def test_a_vhost_user_device_has_its_queues_and_the_socket_is_served_by_whom_the_link_says():
    assert qemu.device(0, VHOST) == {
        "driver": "virtio-net-pci",
        "netdev": "net0",
        "mac": "52:54:00:00:00:01",
        "mrg_rxbuf": True,
        "romfile": "",
        "mq": True,
        "vectors": 6,
        "id": "nic0",
        "bus": "slot0",
    }
    assert qemu.vhost_user_netdev(0, VHOST)["queues"] == 2
    served_here = qemu.socket_end(0, VHOST)["backend"]["data"]
    assert served_here == {
        "addr": {"type": "unix", "data": {"path": "/run/x/s0.sock"}},
        "server": True,
        "wait": False,
    }
    served_there = Nic(Link(LinkKind.VHOST_USER, "/s", served=True), "52:54:00:00:00:01")
    assert qemu.socket_end(0, served_there)["backend"]["data"]["server"] is False


def test_a_tap_has_a_name_of_its_own_where_qemu_makes_it():
    end = qemu.tap_end(1, TAP, "nvt12345678", vhost=False)
    assert (end["ifname"], end["script"], end["vhost"]) == ("nvt12345678", "no", False)
    assert "queues" not in end
    assert qemu.tap_end(0, VHOST, "t", vhost=False)["queues"] == 2


def test_a_function_of_a_nic_goes_in_by_its_address():
    nic = Nic(Link(LinkKind.PCI, "0000:3b:02.0"), "52:54:00:00:00:03")
    assert qemu.device(2, nic) == {"driver": "vfio-pci", "host": "0000:3b:02.0", "id": "nic2", "bus": "slot2"}


def test_devices_that_have_each_others_names_can_change_them():
    lines = inside.batch([VHOST, TAP], ["eth2", "eth1"], ["eth1", "eth2"]).splitlines()
    assert lines == [
        "link set eth2 name nv-eth1",
        "link set eth1 name nv-eth2",
        "link set nv-eth1 name eth1",
        "link set eth1 mtu 1500 up",
        "address add 10.99.0.1/24 dev eth1",
        "link set nv-eth2 name eth2",
        "link set eth2 mtu 4000 up",
    ]


def test_a_link_of_another_kind_is_refused_before_anything_is_started(tmp_path):
    host = FakeHost()
    nic = Nic(Link(LinkKind.VETH, "nvv0"), "52:54:00:00:00:01")
    guest = qemu.Qemu("vm1", GuestPlace(host, "/run/x", "", ()), [nic])
    with pytest.raises(GuestError, match=r"guest vm1: .* cannot be the far end of a veth link, nvv0"):
        guest.up(journal(tmp_path, host))
    assert not host.spawned
    with pytest.raises(GuestError, match="not ready"):
        _ = guest.host


# -- what is said of one that fails --------------------------------------------------------------------------------


def started(tmp_path: Path, host: FakeHost) -> Monitor:
    monitor = Monitor(host, "vm1", "/run/x-vm1")
    monitor.start(journal(tmp_path, host), ["qemu"])
    return monitor


def test_qemu_that_dies_at_once_is_quoted(tmp_path):
    host = FakeHost()
    host.qemu = ScriptedQemu([], ["warning: something", "qemu: could not open /dev/kvm"])
    with pytest.raises(GuestError, match="guest vm1: QEMU has ended: qemu: could not open /dev/kvm"):
        started(tmp_path, host)


def test_its_end_is_journalled_before_it_is_started(tmp_path):
    host = FakeHost()
    monitor, kept = Monitor(host, "vm1", "/run/x-vm1"), journal(tmp_path, host)
    monitor.start(kept, ["qemu"])
    assert [entry["kind"] for entry in kept.entries] == ["remove", "stop_daemon"]


def test_events_are_passed_over_and_refusals_are_quoted(tmp_path):
    host = FakeHost()
    host.qemu = ScriptedQemu(
        [
            {"QMP": {}},
            {"return": {}},
            {"event": "RESUME"},
            {"return": {"status": "running"}},
            {"error": {"desc": "Device is in use"}},
        ],
        [],
    )
    monitor = started(tmp_path, host)
    assert monitor.ask("query-status") == {"status": "running"}
    with pytest.raises(GuestError, match="QEMU refuses netdev_add: Device is in use"):
        monitor.ask("netdev_add", type="tap")
    assert host.qemu.told[-1] == {"execute": "netdev_add", "arguments": {"type": "tap"}}


def test_a_machine_that_does_not_boot_ends_with_its_console(tmp_path):
    host = FakeHost(files={"/run/x-vm1/console.log": "one\ntwo\n\x1b[0mthree\r\nfour\n"})
    with pytest.raises(GuestError, match=r"its console ends with: two \| three \| four"):
        started(tmp_path, host).until("its boot", lambda: False, 5.0)


def test_a_wait_is_bounded(tmp_path):
    host = FakeHost()
    host.qemu = ScriptedQemu([{"return": {}}] * 1000, [])
    with pytest.raises(GuestError, match=r"its boot did not come within 0\.1 s"):
        started(tmp_path, host).until("its boot", lambda: False, 0.1)


def test_a_panic_is_told_with_its_reason_which_stands_before_the_call_trace():
    panic = "Kernel panic - not syncing: No working init found."
    log = f"Booting\n{panic}\nCall Trace:\n panic+0x1\nKernel Offset: disabled\n"
    assert last_words(log) == [panic, "panic+0x1", "Kernel Offset: disabled"]
    assert last_words("") == []


# -- which QEMU, and whether with KVM ------------------------------------------------------------------------------


def test_the_hosts_own_qemu_is_used_if_it_is_new_enough(tmp_path):
    told = "QEMU emulator version 10.0.2 (Debian 1:10.0.2)\n"
    found = find_emulator(FakeHost({"qemu-system-x86_64 --version": told}), str(tmp_path))
    assert found == Emulator(("qemu-system-x86_64",), "10.0.2")


def test_without_a_qemu_the_reason_is_told(tmp_path):
    old = FakeHost({"--version": "QEMU emulator version 7.2.22\n"})
    with pytest.raises(GuestError, match=r"no Debian archive.*apt-get update"):
        find_emulator(old, str(tmp_path))
    targets = "bookworm|http://archive.example/|Debian|Packages\n"
    with pytest.raises(GuestError, match=r"cannot be had: .*apt-get .*install qemu-system-x86"):
        find_emulator(FakeHost(old.commands | {"apt-get indextargets": targets, "update": ""}), str(tmp_path))


def test_a_private_qemu_finds_its_own_libraries_and_firmware():
    argv = private_copy("/c/qemu-1")
    assert argv[1] == "LD_LIBRARY_PATH=/c/qemu-1/usr/lib/x86_64-linux-gnu:/c/qemu-1/lib/x86_64-linux-gnu"
    assert argv[3:6] == ("/c/qemu-1/usr/bin/qemu-system-x86_64", "-L", "/c/qemu-1/usr/share/qemu")


def test_kvm_that_is_not_there_is_not_tried(tmp_path):
    host = FakeHost()
    assert not kvm_works(host, str(tmp_path), machine(tmp_path), journal(tmp_path, host), "/run/x-kvm")
    assert not host.spawned


@pytest.mark.parametrize("works", [True, False])
def test_kvm_is_proved_by_booting_once(tmp_path, works):
    """A device that opens proves nothing: under some hypervisors a kernel then hangs, or QEMU aborts."""
    host = FakeHost(files={"/dev/kvm": "", "/run/x-kvm/console.log": "nvbench: ready\n" if works else ""})
    if not works:
        host.qemu = ScriptedQemu([{"return": {}}], ["qemu: error: failed to set MSR 0x10a"])
    for _ in range(2):
        kept = journal(tmp_path, host)
        assert kvm_works(host, str(tmp_path), machine(tmp_path), kept, "/run/x-kvm") is works
        assert kept.entries == []
    assert len(host.spawned) == 1
    assert "kvm" in host.spawned[0]
    assert ("MSR" in host.files[f"{tmp_path}/guests/kvm-first"]) is not works


def test_a_new_boot_of_the_host_asks_again(tmp_path):
    host = FakeHost(files={"/dev/kvm": "", "/run/x-kvm/console.log": "nvbench: ready\n"})
    for boot_id in ("first", "second"):
        host.files["/proc/sys/kernel/random/boot_id"] = boot_id
        host.qemu = ScriptedQemu([{"return": {}}], [])
        kvm_works(host, str(tmp_path), machine(tmp_path), journal(tmp_path, host), "/run/x-kvm")
    assert len(host.spawned) == 2
    assert [path for path in host.files if "/kvm-" in path] == [f"{tmp_path}/guests/kvm-second"]


# -- the image -----------------------------------------------------------------------------------------------------


def unpack(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Reads a newc archive as the kernel does, by its header's lengths."""
    found, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * index : at + 14 + 8 * index], 16) for index in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        begin = (at + 110 + name_size + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, archive[begin : begin + size])
        at = (begin + size + 3) & ~3


def packed(entries: dict[str, initramfs.Entry]) -> bytes:
    out = io.BytesIO()
    initramfs.write(entries, out)
    return out.getvalue()


def test_an_archive_holds_what_was_put_in_and_the_folders_above():
    entries = {
        "usr/bin/tool": initramfs.file(b"12345", 0o755),
        "bin": initramfs.symlink("usr/bin"),
        "dev/console": initramfs.Entry(stat.S_IFCHR | 0o600, device=(5, 1)),
    }
    found = unpack(packed(entries))
    assert found["usr/bin/tool"] == (stat.S_IFREG | 0o755, b"12345")
    assert found["bin"] == (stat.S_IFLNK | 0o777, b"usr/bin")
    assert list(found) == ["bin", "dev", "dev/console", "usr", "usr/bin", "usr/bin/tool"]
    assert stat.S_ISDIR(found["usr"][0])


def test_the_same_entries_give_the_same_bytes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("x")
    (tmp_path / "a" / "link").symlink_to("file")
    once = packed(dict(initramfs.tree(tmp_path)))
    assert once == packed(dict(reversed(list(initramfs.tree(tmp_path)))))
    assert unpack(once)["a/link"][1] == b"file"


def test_what_a_killed_run_was_making_goes(tmp_path):
    host = LocalHost()
    with making(host, str(tmp_path)) as folder:
        Path(folder, "draft-image-1").mkdir()
        Path(folder, "image-1").mkdir()
    with making(host, str(tmp_path)):
        assert [path.name for path in Path(folder).glob("*image*")] == ["image-1"]


def test_one_process_at_a_time_makes_what_is_kept(tmp_path):
    host = LocalHost()
    with making(host, str(tmp_path)) as folder:
        taken = host.run(["flock", "-n", f"{folder}/lock", "true"], check=False)
    assert not taken.ok
    assert host.run(["flock", "-n", f"{folder}/lock", "true"], check=False).ok


def test_a_lock_that_cannot_be_had_is_told(tmp_path):
    host = FakeHost()
    host.lock_complaint = "flock: cannot open lock file /c/guests/lock: Read-only file system"
    with pytest.raises(GuestError, match=r"host fake: /c/guests: cannot be held: flock: .*Read-only"):
        with making(host, "/c"):
            pass


def test_an_image_is_brought_to_a_host_once(tmp_path, monkeypatch):
    for name in ("vmlinux", "initramfs", "key"):
        (tmp_path / name).write_bytes(name.encode() + b"\xff")
    monkeypatch.setattr(images, "_home", lambda flavour, *, testpmd: tmp_path)
    host = FakeHost()
    made = images.image(host, "/c", "cloud")
    draft = f"/c/guests/draft-{tmp_path.name}"
    assert host.uploaded == {f"{draft}/vmlinux": b"vmlinux\xff", f"{draft}/initramfs": b"initramfs\xff"}
    assert host.ran[-1] == f"mv -T {draft} {made.folder}"
    assert (made.kernel, made.key) == (f"/c/guests/{tmp_path.name}/vmlinux", tmp_path / "key")
    host.files[made.folder] = ""
    host.uploaded.clear()
    assert images.image(host, "/c", "cloud") == made
    assert not host.uploaded


# -- packages ------------------------------------------------------------------------------------------------------

URIS = """'http://archive.example/pool/iperf3_3.12-1%2bdeb12u1_amd64.deb' iperf3_3.12-1+deb12u1_amd64.deb 28 SHA256:00
'http://archive.example/pool/e/ethtool_6.1-1_amd64.deb' ethtool_1%3a6.1-1_amd64.deb 197 MD5Sum:11
"""


def test_a_closure_is_read_with_its_versions():
    assert [str(package) for package in packages.parse_uris(URIS)] == ["ethtool=1:6.1-1", "iperf3=3.12-1+deb12u1"]
    assert packages.parse_uris("") == ()


def test_the_archive_is_the_one_that_the_hosts_apt_uses():
    told = (
        "bookworm|http://archive.example/debian/|Debian|Packages\n"
        "bookworm|http://archive.example/debian/|Debian|Translations\n"
        "bookworm-security|http://archive.example/security/|Debian|Packages\n"
        "stable|http://elsewhere.example/|Somebody|Packages\n"
    )
    assert packages.sources_list(packages.parse_targets(told), "/k.gpg").splitlines() == [
        "deb [signed-by=/k.gpg] http://archive.example/debian/ bookworm main non-free",
        "deb [signed-by=/k.gpg] http://archive.example/security/ bookworm-security main non-free",
        "deb [signed-by=/k.gpg] http://archive.example/debian/ bookworm-backports main",
    ]


def test_what_only_an_installation_needs_is_left_out():
    assert [name for name in ("perl-base", "libpam0g", "libc6", "tar", "tcpdump") if UNWANTED.fullmatch(name)] == [
        "perl-base",
        "libpam0g",
        "tar",
    ]


# -- kernel modules ------------------------------------------------------------------------------------------------


def test_a_module_tells_what_it_needs_and_answers_to():
    data = b"\x7fELF junk\0alias=rtnl-link-bridge\0depends=stp,nf-core\0name=bridge\0"
    module = kernel.Module.read("kernel/net/bridge.ko", data)
    assert module.needs == ("stp", "nf_core")
    assert module.aliases == ("rtnl-link-bridge",)


def test_modules_are_chosen_with_all_that_they_need(tmp_path):
    for name, needs in {"a": "b,c", "b": "", "c": "b", "sch-x": "", "other": ""}.items():
        path = tmp_path / "kernel" / f"{name}.ko"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(f"\0depends={needs}\0".encode())
    found = kernel.wanted_modules(tmp_path, ["a", "sch_*", "not_there"])
    assert sorted(found) == ["a", "b", "c", "sch_x"]
    # The last of a line is loaded first: c needs b.
    assert kernel.dependency_table(found).splitlines()[0] == "kernel/a.ko: kernel/c.ko kernel/b.ko"
