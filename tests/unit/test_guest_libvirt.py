"""A domain as libvirt is told of it, what is done for it on its host and put back, and what is said when it fails."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nvbench.endpoint import Link, LinkKind
from nvbench.errors import CommandError, GuestError
from nvbench.guests import libvirt
from nvbench.guests.base import GuestPlace, Nic
from nvbench.guests.image import Image
from nvbench.guests.libvirt import URI, Libvirt, LibvirtParameters
from nvbench.guests.libvirt_xml import Domain
from nvbench.hosts import Completed
from nvbench.journal import Journal, RemoveDomain

VHOST = Nic(Link(LinkKind.VHOST_USER, "/run/nv1/s0.sock"), "52:54:00:00:00:01", "10.99.0.1/24", queues=2)
SERVED = Nic(Link(LinkKind.VHOST_USER, "/run/ovs/nvp0", served=True), "52:54:00:00:00:02")
TAP = Nic(Link(LinkKind.TAP, "nv0"), "52:54:00:00:00:03", mtu=4000)
FUNCTION = Nic(Link(LinkKind.PCI, "0000:3b:02.1"), "52:54:00:00:00:04")
PAGES = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
VERSION = "Running hypervisor: QEMU {}\nRunning against daemon: 9.0.0\n"
CAPABILITIES = """<capabilities><host>
  <secmodel><model>apparmor</model></secmodel><secmodel><model>dac</model></secmodel><secmodel><model>none</model></secmodel>
</host></capabilities>"""


# -- the document ------------------------------------------------------------------------------------------------


def described(*nics: Nic, **changes: object) -> ElementTree.Element:
    values = {"name": "nv1-vm1", "memory_mb": 384, "vcpus": 2, "kvm": False, "nics": nics} | changes
    domain = Domain(image=Image(Path("/here/image-1"), "/cache/image-1"), console="/run/nv1-vm1/console.log", **values)
    return parsed(domain.xml())


def parsed(document: str) -> ElementTree.Element:
    return ElementTree.fromstring(document)  # noqa: S314 - our own


def plain(element: ElementTree.Element | None) -> str:
    """An element on one line."""
    text = ElementTree.tostring(element, encoding="unicode")
    return "".join(line.strip() for line in text.splitlines())


def test_memory_is_shared_so_that_a_switch_can_reach_it():
    root = described()
    assert plain(root.find("memoryBacking")) == (
        '<memoryBacking><source type="memfd" /><access mode="shared" /></memoryBacking>'
    )
    assert plain(root.find("cpu/numa/cell")) == (
        '<cell id="0" cpus="0-1" memory="384" unit="MiB" memAccess="shared" />'
    )
    assert plain(described(hugepage_kb=2048).find("memoryBacking/hugepages")) == (
        '<hugepages><page size="2048" unit="KiB" /></hugepages>'
    )


def test_a_vhost_user_device_has_its_queues_and_the_socket_is_served_by_whom_the_link_says():
    here, there = described(VHOST, SERVED).findall("devices/interface")
    assert plain(here) == (
        '<interface type="vhostuser">'
        '<mac address="52:54:00:00:00:01" />'
        '<source type="unix" path="/run/nv1/s0.sock" mode="server" />'
        '<model type="virtio" />'
        '<driver queues="2"><host mrg_rxbuf="on" /></driver>'
        '<rom enabled="no" />'
        "</interface>"
    )
    assert plain(there.find("source")) == (
        '<source type="unix" path="/run/ovs/nvp0" mode="client"><reconnect enabled="yes" timeout="1" /></source>'
    )
    assert "queues" not in there.find("driver").attrib


def test_a_tap_is_made_by_libvirt_and_joined_to_nothing():
    interface = described(TAP).find("devices/interface")
    assert interface.get("type") == "ethernet"
    assert plain(interface.find("target")) == '<target dev="nv0" />'
    assert interface.find("source") is None


def test_a_function_of_a_nic_goes_in_by_its_address():
    assert plain(described(FUNCTION).find("devices/hostdev")) == (
        '<hostdev mode="subsystem" type="pci" managed="no">'
        '<source><address domain="0x0000" bus="0x3b" slot="0x02" function="0x1" /></source>'
        '<rom enabled="no" />'
        "</hostdev>"
    )


def test_it_boots_our_image_on_its_cores_and_logs_its_console():
    root = described(cores=(2, 3))
    assert [root.findtext(f"os/{name}") for name in ("kernel", "initrd")] == [
        "/cache/image-1/vmlinux",
        "/cache/image-1/initramfs",
    ]
    assert root.find("vcpu").get("cpuset") == "2,3"
    assert "cpuset" not in described().find("vcpu").attrib
    assert root.find("devices/serial/source").get("path") == "/run/nv1-vm1/console.log"
    assert root.findtext("on_reboot") == "destroy"


@pytest.mark.parametrize(("kvm", "kind", "cpu"), [(True, "kvm", "host-passthrough"), (False, "qemu", "maximum")])
def test_kvm_is_asked_for_only_where_it_works(kvm, kind, cpu):
    root = described(kvm=kvm)
    assert (root.get("type"), root.find("cpu").get("mode")) == (kind, cpu)


def test_its_ssh_listens_on_the_loopback_alone():
    namespace = "{http://libvirt.org/schemas/domain/qemu/1.0}"
    words = [word.get("value") for word in described().iter(f"{namespace}arg")]
    assert words[:2] == ["-netdev", "user,id=control,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"]
    assert words[2] == "-device"
    assert "netdev=control" in words[3]


def test_files_private_to_root_are_read_as_root_whatever_confines_domains():
    dac, apparmor = described(security=("dac", "apparmor")).findall("seclabel")
    assert plain(dac) == '<seclabel type="static" model="dac" relabel="no"><label>+0:+0</label></seclabel>'
    assert plain(apparmor) == '<seclabel type="none" model="apparmor" />'
    assert described().find("seclabel") is None


def test_whatever_a_name_holds_the_document_is_well_formed():
    odd = Nic(Link(LinkKind.VHOST_USER, "/run/<a> & 'b' \"c\""), "52:54:00:00:00:01")
    root = described(odd, name="a<b>&c")
    assert root.findtext("name") == "a<b>&c"
    assert root.find("devices/interface/source").get("path") == odd.link.name


# -- what is done on the host --------------------------------------------------------------------------------------


class ScriptedStart:
    """`virsh start`: it blocks, or it has ended so."""

    def __init__(self, status: int | None, complaints: Sequence[str] = ()) -> None:
        self.status = status
        self._complaints = list(complaints)

    def receive(self, timeout_s: float) -> str | None:
        if self.status is None:
            raise TimeoutError
        return None

    def complaints(self) -> list[str]:
        return self._complaints

    def close(self, timeout_s: float = 5.0) -> int | None:
        return self.status


class FakeHost:
    """A host with a few files and a libvirt that knows the domains that were defined."""

    name = "fake"

    def __init__(self, qemu: str = "10.0.2", start: ScriptedStart | None = None) -> None:
        self.files: dict[str, str] = {}
        self.domains: dict[str, str] = {}
        self.ran: list[str] = []
        self.refused: set[str] = set()
        self.max_pages = 10_000
        self._qemu = qemu
        self._start = start or ScriptedStart(0)

    def run(self, argv: Sequence[str], *, timeout_s=30.0, stdin="", check=True) -> Completed:
        line = " ".join(argv).replace(f"virsh -c {URI}", "virsh")
        self.ran.append(line)
        if any(word in line for word in self.refused):
            done = Completed(tuple(argv), 1, "", f"error: no {line}", 0.0)
            return done.checked(self.name) if check else done
        return Completed(tuple(argv), 0, self._answer(line), "", 0.0)

    def _answer(self, line: str) -> str:
        command, _, rest = line.removeprefix("virsh ").partition(" ")
        if command == "version":
            return VERSION.format(self._qemu)
        if command == "define":
            name = parsed(self.files[rest]).findtext("name")
            self.domains[name] = "shut off"
        elif command == "destroy":
            self.domains[rest] = "shut off (destroyed)"
        elif command == "undefine":
            del self.domains[rest]
        elif command == "domstate":
            return self.domains[rest.split()[0]] + "\n\n"
        elif command == "list":
            return "\n".join(self.domains) + "\n\n"
        return CAPABILITIES if command == "capabilities" else ""

    def spawn(self, argv: Sequence[str]) -> ScriptedStart:
        self.run(argv)
        self.domains[argv[-1]] = "running (booted)" if self._start.status == 0 else "paused (starting up)"
        root = parsed(self.files["/run/nv1-vm1/domain.xml"])
        for interface in root.iter("interface"):
            if interface.get("type") == "ethernet":
                self.files[f"/sys/class/net/{interface.find('target').get('dev')}/flags"] = "0x1003\n"
            elif interface.find("source").get("mode") == "server":
                self.files[interface.find("source").get("path")] = ""
        return self._start

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def exists(self, path: str) -> bool:
        return path in self.files

    def make_folder(self, path: str) -> None:
        self.files[path] = ""

    def write(self, path: str, text: str) -> None:
        self.files[path] = f"{min(int(text), self.max_pages)}\n" if path == PAGES else text

    def remove(self, path: str) -> None:
        self.files = {name: text for name, text in self.files.items() if not name.startswith(path)}


@pytest.fixture(autouse=True)
def cached_image(tmp_path, monkeypatch):
    monkeypatch.setattr(libvirt, "image", lambda host, cache, flavour: Image(tmp_path / flavour, f"/cache/{flavour}"))


def brought_up(host: FakeHost, tmp_path: Path, *nics: Nic, namespace: str = "", **parameters: object) -> Libvirt:
    place = GuestPlace(host, "/run/nv1", namespace, (0, 1))
    guest = Libvirt("vm1", place, nics, LibvirtParameters(**parameters))
    guest.up(Journal(tmp_path / "journal", {host.name: host}))
    return guest


def refusal(host: FakeHost, tmp_path: Path, *nics: Nic, **parameters: object) -> str:
    with pytest.raises(GuestError) as caught:
        brought_up(host, tmp_path, *nics, **parameters)
    return str(caught.value)


def test_a_start_that_waits_for_the_switch_is_not_waited_for(tmp_path):
    host = FakeHost(start=ScriptedStart(None))
    guest = brought_up(host, tmp_path, VHOST)
    assert host.ran[-1] == "virsh start nv1-vm1"
    guest.check_alive()  # paused, as it is until the switch comes
    assert guest.emulated


def test_everything_is_journalled_and_goes(tmp_path):
    host = FakeHost()
    before = dict(host.files)
    guest = brought_up(host, tmp_path, VHOST)
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "journal").read_text().splitlines()]
    assert kinds == ["remove", "remove", "remove_domain"]
    root = parsed(host.files["/run/nv1-vm1/domain.xml"])
    assert [label.get("model") for label in root.iter("seclabel")] == ["apparmor", "dac"]
    guest.down()
    assert (host.domains, host.files) == ({}, before)


def test_a_domain_is_journalled_before_it_is_defined(tmp_path):
    host = FakeHost()
    host.refused = {"define"}
    refusal(host, tmp_path)
    entry = json.loads((tmp_path / "journal").read_text().splitlines()[-1])
    assert entry == {"host": "fake", "kind": "remove_domain", "uri": URI, "name": "nv1-vm1"}


def test_taps_end_up_where_the_datapath_is_under_their_links_names(tmp_path):
    host = FakeHost()
    brought_up(host, tmp_path, TAP, namespace="nv1")
    (made,) = (path.split("/")[4] for path in host.files if path.startswith("/sys/class/net/"))
    assert made != "nv0"  # in libvirt's own namespace somebody may have that
    assert host.ran[-2:] == [
        f"ip link set {made} netns nv1 name nv0",
        "ip netns exec nv1 ip link set nv0 mtu 4000 up",
    ]


def test_a_domain_that_libvirt_does_not_start_is_quoted(tmp_path):
    complaints = ["error: Failed to start domain 'nv1-vm1'", "error: internal error: no such device", ""]
    host = FakeHost(start=ScriptedStart(1, complaints))
    told = refusal(host, tmp_path, TAP)
    assert told == "guest vm1: libvirt does not start it: internal error: no such device"


def test_a_domain_that_has_gone_is_told_with_the_end_of_its_console(tmp_path):
    host = FakeHost()
    guest = brought_up(host, tmp_path, TAP)
    guest.check_alive()
    host.domains["nv1-vm1"] = "shut off (crashed)"
    host.files["/run/nv1-vm1/console.log"] = "booting\nKernel panic - not syncing\n"
    with pytest.raises(GuestError, match=r"vm1: the domain is shut off \(crashed\); its console ends with: booting"):
        guest.check_alive()


def test_hugepages_are_added_to_the_hosts_and_taken_back(tmp_path):
    host = FakeHost()
    host.files |= {"/proc/meminfo": "Hugepagesize:    2048 kB\n", PAGES: "514\n"}
    guest = brought_up(host, tmp_path, hugepages=True)
    assert host.files[PAGES] == f"{514 + 192}\n"
    assert 'size="2048"' in host.files["/run/nv1-vm1/domain.xml"]
    guest.down()
    assert host.files[PAGES] == "514\n"


def test_too_few_hugepages_are_told_before_anything_is_defined(tmp_path):
    host = FakeHost()
    host.files |= {"/proc/meminfo": "Hugepagesize:    2048 kB\n", PAGES: "514\n"}
    host.max_pages = 600
    assert "only 86 of 192 more hugepages of 2048 kB could be had" in refusal(host, tmp_path, hugepages=True)
    assert not host.domains


# -- what cannot be ------------------------------------------------------------------------------------------------


def test_without_libvirt_it_is_said_what_to_install(tmp_path):
    host = FakeHost()
    host.refused = {"virsh --version"}
    told = "guest vm1: there is no virsh (apt-get install libvirt-daemon-system libvirt-clients)"
    assert refusal(host, tmp_path) == told


def test_a_daemon_that_is_not_there_is_told_from_a_program_that_is_not(tmp_path):
    host = FakeHost()
    host.refused = {"virsh version"}
    told = refusal(host, tmp_path)
    assert told.startswith("guest vm1: libvirt does not answer, or has no QEMU: ")
    assert "systemctl start libvirtd" in told


def test_an_old_qemu_without_kvm_gets_no_vhost_user_device(tmp_path):
    assert "install QEMU 9.0 or newer" in refusal(FakeHost(qemu="7.2.22"), tmp_path, VHOST)
    assert brought_up(FakeHost(qemu="7.2.22"), tmp_path, TAP).emulated


def test_a_link_of_another_kind_is_refused_before_libvirt_is_asked(tmp_path):
    host = FakeHost()
    nic = Nic(Link(LinkKind.VETH, "nvv0"), "52:54:00:00:00:01")
    assert "cannot be the far end of a veth link, nvv0" in refusal(host, tmp_path, nic)
    assert host.ran == []


# -- the undo ------------------------------------------------------------------------------------------------------


def test_a_domain_is_removed_twice_and_no_other_is_touched():
    host = FakeHost()
    host.domains = {"ours": "running", "theirs": "running"}
    for _ in range(2):
        RemoveDomain(URI, "ours").undo(host)
    assert host.domains == {"theirs": "running"}
    assert host.ran.count("virsh undefine ours") == 1


def test_a_domain_that_has_ended_already_is_forgotten_all_the_same():
    host = FakeHost()
    host.domains, host.refused = {"ours": "shut off"}, {"destroy"}
    RemoveDomain(URI, "ours").undo(host)
    assert host.domains == {}


def test_an_undo_that_reaches_no_libvirt_has_not_succeeded():
    host = FakeHost()
    host.refused = {"list"}
    with pytest.raises(CommandError):
        RemoveDomain(URI, "ours").undo(host)
