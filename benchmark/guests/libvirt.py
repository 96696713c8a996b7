"""A virtual machine of libvirt as a guest: a domain of our own, defined for a run and forgotten after it.

It boots with its network devices in it, and libvirt does not call it started before a switch is at the other end of
each vhost-user link: so it is started beside the run, and only `ready` waits for that.
"""

from __future__ import annotations

import math
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, ClassVar
from xml.etree import ElementTree

from nvbench import fingerprint
from nvbench.endpoint import LinkKind
from nvbench.errors import CommandError, GuestError
from nvbench.guests.base import GuestPlace, Nic
from nvbench.guests.emulator import OLDEST, Machine, find_emulator
from nvbench.guests.forwarding import bridge_devices
from nvbench.guests.image import Image, image
from nvbench.guests.inside import configure, reach
from nvbench.guests.libvirt_xml import Domain
from nvbench.guests.monitor import last_words
from nvbench.guests.saved import kvm_works
from nvbench.hosts import Host, NamespaceHost, Process
from nvbench.journal import Journal, Remove, RemoveDomain, Restore

if TYPE_CHECKING:
    from nvbench.hosts.ssh import SshHost

URI = "qemu:///system"
ANSWER_PATIENCE_S = 60.0
START_PATIENCE_S = 60.0
LINK_PATIENCE_S = 60.0
_IFF_UP = 1


@dataclass(frozen=True, slots=True)
class LibvirtParameters:
    """What a domain is like.

    Attributes:
        memory_mb: Its memory.
        vcpus: Its processors.
        hugepages: Whether its memory is of hugepages, which are added to the host's for as long as it is there.
    """

    memory_mb: int = 384
    vcpus: int = 1
    hugepages: bool = False


class Libvirt:
    """See `Guest`."""

    kind: ClassVar[str] = "libvirt"
    offers: ClassVar[tuple[LinkKind, ...]] = (LinkKind.VHOST_USER, LinkKind.TAP, LinkKind.PCI)

    def __init__(
        self, name: str, place: GuestPlace, nics: Sequence[Nic], parameters: LibvirtParameters | None = None
    ) -> None:
        self.name = name
        self.version = ""
        self.emulated = False
        self.devices: tuple[str, ...] = ()
        self.domain = f"{PurePosixPath(place.folder).name}-{name}"
        self._place = place
        self._nics = tuple(nics)
        self._parameters = parameters or LibvirtParameters()
        self._where = f"guest {name}"
        # Beside the run's folder, which a datapath that goes down removes.
        self._folder = f"{place.folder}-{name}"
        self._console = f"{self._folder}/console.log"
        self._taps = {nic.link.name: f"nvt{secrets.token_hex(4)}" for nic in nics if nic.link.kind is LinkKind.TAP}
        self._image: Image | None = None
        self._programs = ""
        self._starting: Process | None = None
        self._inside: SshHost | None = None
        self._undo: tuple[Journal, int] | None = None

    @property
    def host(self) -> Host:
        """See `Guest.host`."""
        if self._inside is None or not self.version:
            raise GuestError("is not ready yet", place=self._where)
        return self._inside

    # -- coming up ---------------------------------------------------------------------------------------------

    def up(self, journal: Journal) -> None:
        """See `Guest.up`. The first on a host takes half a minute more: what it boots is made and kept."""
        self._refuse()
        self._undo = (journal, journal.mark())
        try:
            self._programs, qemu = self._versions()
            self._image = image(self._place.host, self._place.cache, "cloud")
            self.emulated = not self._kvm_works(journal, self._image)
            if self.emulated and qemu < OLDEST and self._has(LinkKind.VHOST_USER):
                what = f"{self._programs}: where there is no KVM, it dies of vhost-user devices"
                raise GuestError(what, place=self._where, remedy=f"install QEMU {OLDEST[0]}.{OLDEST[1]} or newer")
            self._start(journal, self._described(journal, self._image))
            self._connect()
        except CommandError as error:
            raise GuestError(str(error), place=self._where) from error

    def _refuse(self) -> None:
        for nic in self._nics:
            if nic.link.kind not in self.offers:
                what = f"a virtual machine cannot be the far end of a {nic.link.kind} link, {nic.link.name}"
                raise GuestError(what, place=self._where)

    def _has(self, kind: LinkKind) -> bool:
        return any(nic.link.kind is kind for nic in self._nics)

    def _virsh(self, *words: str) -> str:
        """What libvirt answers; it may try out each QEMU first, which takes its time where KVM fails."""
        return self._place.host.run(["virsh", "-c", URI, *words], timeout_s=ANSWER_PATIENCE_S).stdout

    def _versions(self) -> tuple[str, tuple[int, int]]:
        """The programs in words, and QEMU's version."""
        try:
            self._place.host.run(["virsh", "--version"])
        except CommandError as error:
            remedy = "apt-get install libvirt-daemon-system libvirt-clients"
            raise GuestError("there is no virsh", place=self._where, remedy=remedy) from error
        try:
            told = self._virsh("version", "--daemon")
        except CommandError as error:
            what, remedy = "libvirt does not answer, or has no QEMU", "systemctl start libvirtd"
            raise GuestError(
                f"{what}: {error.what}", place=self._where, remedy=f"{remedy}; apt-get install qemu-system-x86"
            ) from error
        found = re.search(r"hypervisor: QEMU ((\d+)\.(\d+)\S*).*daemon: (\S+)", told, re.DOTALL)
        if found is None:
            raise GuestError("libvirt does not tell its version and QEMU's", place=self._where)
        return f"QEMU {found[1]} by libvirt {found[4]}", (int(found[2]), int(found[3]))

    def _kvm_works(self, journal: Journal, booted: Image) -> bool:
        host, cache, wanted = self._place.host, self._place.cache, self._parameters
        if not host.exists("/dev/kvm"):
            return False
        machine = Machine(find_emulator(host, cache), booted, wanted.memory_mb, wanted.vcpus, kvm=False)
        return kvm_works(host, cache, machine, journal, f"{self._folder}-kvm")

    def _described(self, journal: Journal, booted: Image) -> Domain:
        security = ElementTree.fromstring(self._virsh("capabilities")).iterfind("host/secmodel/model")  # noqa: S314
        return Domain(
            name=self.domain,
            image=booted,
            console=self._console,
            memory_mb=self._parameters.memory_mb,
            vcpus=self._parameters.vcpus,
            kvm=not self.emulated,
            cores=self._place.cores,
            nics=[
                replace(nic, link=replace(nic.link, name=self._taps.get(nic.link.name, nic.link.name)))
                for nic in self._nics
            ],
            hugepage_kb=self._reserve(journal) if self._parameters.hugepages else 0,
            security=[model.text for model in security if model.text and model.text != "none"],
        )

    def _reserve(self, journal: Journal) -> int:
        """Add hugepages to the host's pool, for what is free in it is meant for others; their size in kB."""
        host = self._place.host
        page_kb = fingerprint.memory(host).get("Hugepagesize", 0)
        if not page_kb:
            raise GuestError("the kernel has no hugepages", place=self._where, remedy="do without guests.hugepages")
        lacking = math.ceil(self._parameters.memory_mb * 1024 / page_kb)
        path = f"/sys/kernel/mm/hugepages/hugepages-{page_kb}kB/nr_hugepages"
        found = host.read(path) or "0\n"
        journal.record(host, Restore(path, found))
        host.write(path, f"{int(found) + lacking}\n")
        got = int(host.read(path) or 0) - int(found)
        if got < lacking:
            what = f"only {got} of {lacking} more hugepages of {page_kb} kB could be had"
            raise GuestError(what, place=self._where, remedy="free memory, or do without guests.hugepages")
        return page_kb

    def _start(self, journal: Journal, domain: Domain) -> None:
        host = self._place.host
        for nic in self._nics:
            if nic.link.kind is LinkKind.VHOST_USER and not nic.link.served:
                parent = str(PurePosixPath(nic.link.name).parent)
                journal.record(host, Remove(nic.link.name if host.exists(parent) else parent))
                host.make_folder(parent)
        journal.record(host, Remove(self._folder))
        host.make_folder(self._folder)
        host.write(f"{self._folder}/domain.xml", domain.xml())
        journal.record(host, RemoveDomain(URI, self.domain))
        self._virsh("define", f"{self._folder}/domain.xml")
        self._starting = host.spawn(["virsh", "-c", URI, "start", self.domain])

    def _connect(self) -> None:
        """Have its ends of links there: sockets to connect to, taps where the datapath is."""
        outside, namespace = self._place.host, self._place.namespace
        self._wait_for_start("its ends of links", START_PATIENCE_S, self._has_ends)
        near = NamespaceHost(outside, namespace) if namespace else outside
        for nic in self._nics:
            if nic.link.kind is LinkKind.TAP:
                target = ["netns", namespace] if namespace else []
                outside.run(["ip", "link", "set", self._taps[nic.link.name], *target, "name", nic.link.name])
                near.run(["ip", "link", "set", nic.link.name, "mtu", str(nic.mtu), "up"])

    def _has_ends(self) -> bool:
        """Whether taps are up, which is the last that libvirt does to them, and the first socket is there.

        QEMU makes one socket after the other, each when somebody has connected to the one before.
        """
        host = self._place.host
        flags = [host.read(f"/sys/class/net/{tap}/flags") or "0" for tap in self._taps.values()]
        ours = [nic.link for nic in self._nics if nic.link.kind is LinkKind.VHOST_USER]
        there = all(int(flag, 16) & _IFF_UP for flag in flags)
        sockets = not ours or any(link.served or host.exists(link.name) for link in ours)
        # Without such links there is nothing to hold libvirt up, and it is better done with the taps.
        return bool(ours) and there and sockets

    def _wait_for_start(self, what: str, patience_s: float, enough: Callable[[], bool]) -> None:
        """Wait until libvirt has started it, or what it has done so far is enough."""
        deadline = time.monotonic() + patience_s
        while self._starting is not None and not enough():
            try:
                ended = self._starting.receive(0.02) is None
            except TimeoutError:
                ended = False
            if ended:
                complaint = next(filter(None, reversed(self._starting.complaints())), "no reason told")
                status, self._starting = self._starting.close(), None
                if status:
                    raise self._fault(f"libvirt does not start it: {complaint.removeprefix('error: ')}")
            elif time.monotonic() > deadline:
                raise self._fault(f"{what} did not come within {patience_s:g} s")

    # -- coming to life ----------------------------------------------------------------------------------------

    def ready(self) -> None:
        """See `Guest.ready`."""
        if self._image is None:
            raise GuestError("is not up", place=self._where)
        try:
            self._wait_for_start("the other ends of its vhost-user links", LINK_PATIENCE_S, lambda: False)
            inside = self._inside = reach(self.name, self._place.host, self._ssh_port(), self._image, self._until)
            self.devices = configure(inside, self._nics, self._parameters.vcpus, self._until)
        except CommandError as error:
            raise self._fault(str(error)) from error
        self.version = f"Linux {self._image.release} on {self._programs}, {'TCG' if self.emulated else 'KVM'}"

    def _ssh_port(self) -> int:
        told = self._virsh("qemu-monitor-command", self.domain, "--hmp", "info usernet")
        found = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", told)
        if found is None:
            raise self._fault("QEMU does not tell the port of its SSH")
        return int(found[1])

    def _until(self, what: str, holds: Callable[[], bool], patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        while not holds():
            self.check_alive()
            if time.monotonic() > deadline:
                raise self._fault(f"{what} did not come within {patience_s:g} s")
            time.sleep(0.05)

    def forward(self) -> None:
        """See `Guest.forward`."""
        bridge_devices(self)

    # -- afterwards --------------------------------------------------------------------------------------------

    def check_alive(self) -> None:
        """See `Guest.check_alive`."""
        try:
            state = self._virsh("domstate", self.domain, "--reason").strip()
        except CommandError as error:
            raise self._fault(str(error)) from error
        # One that waits for the other ends of its links is paused.
        if not state.startswith("running") and self._starting is None:
            raise self._fault(f"the domain is {state}")

    def _fault(self, what: str) -> GuestError:
        """An error that carries the last lines of the console."""
        lines = last_words(self._place.host.read(self._console) or "")
        return GuestError(f"{what}; its console ends with: {' | '.join(lines)}" if lines else what, place=self._where)

    def down(self) -> None:
        """See `Guest.down`."""
        if self._inside is not None:
            self._inside.close()
            self._inside = None
        if self._undo is not None:
            journal, mark = self._undo
            journal.undo_since(mark)
        if self._starting is not None:
            self._starting.close()
            self._starting = None
