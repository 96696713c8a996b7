"""A virtual machine as a guest: made from the distribution's packages, run by QEMU, reached by SSH.

It goes on from a saved state, and its network devices are plugged in then: each as soon as the datapath's end of its
link is there, beside whatever the run does meanwhile, since a switch calls a vhost-user port up only when the
guest's driver is.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nvbench.endpoint import LinkKind
from nvbench.errors import CommandError, GuestError
from nvbench.guests.base import GuestPlace, Nic
from nvbench.guests.emulator import SLOTS, Machine, find_emulator
from nvbench.guests.forwarding import bridge_devices
from nvbench.guests.image import image
from nvbench.guests.inside import configure, reach
from nvbench.guests.monitor import Monitor
from nvbench.guests.reflector import Reflector
from nvbench.guests.saved import kvm_works, restore, saved_state
from nvbench.hosts import Host, NamespaceHost
from nvbench.journal import Journal, Remove

if TYPE_CHECKING:
    from nvbench.hosts.ssh import SshHost

ANSWER_PATIENCE_S = 60.0
LINK_PATIENCE_S = 60.0


class QemuParameters(BaseModel):
    """What a virtual machine is like."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    memory_mb: int = Field(default=384, ge=256, le=65536, description="memory, in MiB")
    vcpus: int = Field(default=1, ge=1, le=64, description="virtual processors")
    flavour: Literal["cloud", "generic"] = Field(
        default="cloud", description="the distribution's kernel for virtual machines, or the one with drivers of NICs"
    )
    forwarder: Literal["bridge", "testpmd"] = Field(
        default="bridge", description="what passes frames on in it: its kernel's bridge, or dpdk-testpmd"
    )
    forward: Literal["io", "mac", "macswap", "5tswap"] = Field(
        default="io", description="how its testpmd passes frames on, in testpmd's own word"
    )
    sriov_nics: int = Field(
        default=0, ge=0, le=4, description="emulated NICs in it, nic0 and on, with virtual functions; flavour generic"
    )

    @model_validator(mode="after")
    def _has_their_driver(self) -> Self:
        if self.sriov_nics and self.flavour != "generic":
            raise ValueError("sriov_nics need the flavour generic, which has their driver")
        return self


class Qemu:
    """See `Guest`."""

    kind: ClassVar[str] = "qemu"
    offers: ClassVar[tuple[LinkKind, ...]] = (LinkKind.VHOST_USER, LinkKind.TAP, LinkKind.PCI)

    def __init__(
        self, name: str, place: GuestPlace, nics: Sequence[Nic], parameters: QemuParameters | None = None
    ) -> None:
        self.name = name
        self.version = ""
        self.emulated = False
        self.devices: tuple[str, ...] = ()
        self._place = place
        self._nics = tuple(nics)
        self._parameters = parameters or QemuParameters()
        # Beside the run's folder: a datapath that goes down removes that, and would take our process id with it.
        self._folder = f"{place.folder}-{name}"
        self._monitor = Monitor(place.host, name, self._folder)
        self._inside: SshHost | None = None
        self._reflector: Reflector | None = None
        self._undo: tuple[Journal, int] | None = None
        self._coming: Future[None] | None = None
        self._going = threading.Event()

    @property
    def host(self) -> Host:
        """See `Guest.host`."""
        if self._inside is None or not self.version:
            raise GuestError("is not ready yet", place=self._monitor.place)
        return self._inside

    # -- coming up ---------------------------------------------------------------------------------------------

    def up(self, journal: Journal) -> None:
        """See `Guest.up`. The first of its kind on a host takes a minute: image, QEMU and state are made and kept."""
        self._refuse()
        self._undo = (journal, journal.mark())
        host, cache = self._place.host, self._place.cache
        try:
            machine = self._machine(journal)
            state = saved_state(host, cache, machine, journal, f"{self._folder}-boot")
            self._start(journal, machine, state)
            pool = ThreadPoolExecutor(2, thread_name_prefix=f"guest {self.name}")
            pool.submit(__import__, "paramiko")  # half a second, while the state is restored
            self._coming = pool.submit(self._come, machine)
            pool.shutdown(wait=False)
        except CommandError as error:
            raise GuestError(str(error), place=self._monitor.place) from error

    def _refuse(self) -> None:
        for nic in self._nics:
            if nic.link.kind not in self.offers:
                raise GuestError(
                    f"a virtual machine cannot be the far end of a {nic.link.kind} link, {nic.link.name}",
                    place=self._monitor.place,
                )
        if len(self._nics) > SLOTS:
            raise GuestError(f"has {len(self._nics)} network devices, {SLOTS} fit", place=self._monitor.place)

    def _machine(self, journal: Journal) -> Machine:
        host, cache, wanted = self._place.host, self._place.cache, self._parameters
        emulator = find_emulator(host, cache)
        booted = image(host, cache, wanted.flavour, testpmd=wanted.forwarder == "testpmd")
        plain = Machine(emulator, booted, wanted.memory_mb, wanted.vcpus, kvm=False, sriov_nics=wanted.sriov_nics)
        return replace(plain, kvm=kvm_works(host, cache, plain, journal, f"{self._folder}-kvm"))

    def _start(self, journal: Journal, machine: Machine, state: str) -> None:
        for nic in self._nics:
            if nic.link.kind is LinkKind.VHOST_USER and not nic.link.served:
                self._make_room(journal, nic.link.name)
        cores = ",".join(map(str, self._place.cores))
        pinned = ["taskset", "-c", cores] if cores else []
        self._monitor.start(journal, [*pinned, *machine.argv(self._folder, restored=True)])
        restore(self._monitor, self._place.host, state)
        for index, nic in enumerate(self._nics):
            if nic.link.kind is LinkKind.TAP:
                self._make_tap(index, nic, vhost=machine.kvm and self._place.host.exists("/dev/vhost-net"))
            elif nic.link.kind is LinkKind.VHOST_USER:
                self._monitor.ask("chardev-add", **socket_end(index, nic))

    def _make_room(self, journal: Journal, path: str) -> None:
        host, parent = self._place.host, str(PurePosixPath(path).parent)
        journal.record(host, Remove(path if host.exists(parent) else parent))
        host.make_folder(parent)

    def _make_tap(self, index: int, nic: Nic, *, vhost: bool) -> None:
        """QEMU makes it where QEMU is, and it goes with QEMU; its name there is nobody else's."""
        outside, namespace = self._place.host, self._place.namespace
        tap = f"nvt{secrets.token_hex(4)}"
        self._monitor.ask("netdev_add", **tap_end(index, nic, tap, vhost=vhost))
        outside.run(["ip", "link", "set", tap, *(["netns", namespace] if namespace else []), "name", nic.link.name])
        near = NamespaceHost(outside, namespace) if namespace else outside
        near.run(["ip", "link", "set", nic.link.name, "mtu", str(nic.mtu), "up"])

    # -- beside the run, until it is ready -----------------------------------------------------------------------

    def _come(self, machine: Machine) -> None:
        monitor, links = self._monitor, tuple(enumerate(self._nics))
        for index, nic in links:
            if nic.link.kind is not LinkKind.VHOST_USER:
                monitor.ask("device_add", **device(index, nic))
        inside = reach(self.name, self._place.host, self._ssh_port(), machine.image, self._monitor.until)
        self._inside = inside
        for index, nic in links:
            if nic.link.kind is LinkKind.VHOST_USER:
                self._join(index, nic)
        self.devices = configure(inside, self._nics, self._parameters.vcpus, self._monitor.until)
        inside.run(["date", "-s", f"@{time.time():.0f}"])  # its clock stands where the state was saved
        self.emulated = not machine.kvm
        accelerator = "KVM" if machine.kvm else "TCG"
        forwarder = f", testpmd of DPDK {machine.image.dpdk}" if self._parameters.forwarder == "testpmd" else ""
        self.version = f"Linux {machine.image.release} on QEMU {machine.emulator.version}, {accelerator}{forwarder}"

    def _join(self, index: int, nic: Nic) -> None:
        """Plug in a device of a vhost-user link once the other end is there: QEMU would stand still until then."""
        wait_for = f"the other end of {nic.link.name}"
        self._monitor.until(wait_for, lambda: self._is_joined(index), LINK_PATIENCE_S)
        self._monitor.ask("netdev_add", **vhost_user_netdev(index, nic))
        self._monitor.ask("device_add", **device(index, nic))

    def _is_joined(self, index: int) -> bool:
        if self._going.is_set():
            raise GuestError("is going down", place=self._monitor.place)
        told = {end["label"]: end["filename"] for end in self._monitor.ask("query-chardev")}
        return not told[f"socket{index}"].startswith("disconnected:")

    def _ssh_port(self) -> int:
        told = self._monitor.ask("human-monitor-command", **{"command-line": "info usernet"})
        found = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", told)
        if found is None:
            raise self._monitor.fault("QEMU does not tell the port of its SSH")
        return int(found[1])

    # -- afterwards --------------------------------------------------------------------------------------------

    def ready(self) -> None:
        """See `Guest.ready`."""
        if self._coming is None:
            raise GuestError("is not up", place=self._monitor.place)
        try:
            self._coming.result(ANSWER_PATIENCE_S + LINK_PATIENCE_S)
        except FutureTimeoutError:
            raise self._monitor.fault("is not ready in time") from None
        except CommandError as error:
            raise self._monitor.fault(str(error)) from error

    def forward(self) -> None:
        """See `Guest.forward`; devices that testpmd takes leave the kernel, so that they have no names any more."""
        wanted, inside = self._parameters, self.host
        if wanted.forwarder == "bridge":
            bridge_devices(self)
            return
        queues, mtu = max(nic.queues for nic in self._nics), max(nic.mtu for nic in self._nics)
        reflector = Reflector(inside, vcpus=wanted.vcpus, queues=queues, mtu=mtu, forward=wanted.forward)
        devices, self.devices = self.devices, ()
        with self._told():
            reflector.start(devices)
        self._reflector = reflector

    def check_alive(self) -> None:
        """See `Guest.check_alive`."""
        if self._coming is None or self._coming.done():  # else the other thread is speaking with it
            self._monitor.check_alive()
        if self._reflector is not None:
            with self._told():
                crash = self._reflector.crashed()
            if crash:
                raise self._monitor.fault(crash)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What fails inside is a fault of the guest."""
        try:
            yield
        except GuestError as error:
            raise GuestError(error.what, place=self._monitor.place, remedy=error.remedy) from error
        except CommandError as error:
            raise self._monitor.fault(str(error)) from error

    def down(self) -> None:
        """See `Guest.down`."""
        self._going.set()
        if self._undo is not None:
            journal, mark = self._undo
            journal.undo_since(mark)
        if self._coming is not None:
            with suppress(
                GuestError, CommandError, FutureTimeoutError
            ):  # it has been told by `ready`, if anybody asked
                self._coming.result(ANSWER_PATIENCE_S)
        if self._inside is not None:
            self._inside.close()
            self._inside = self._reflector = None
        self._monitor.reap()


def socket_end(index: int, nic: Nic) -> dict[str, Any]:
    """Arguments of chardev-add: the guest's end of a vhost-user socket, that serves it or goes to whoever does."""
    ends = {"server": True, "wait": False} if not nic.link.served else {"server": False, "reconnect-ms": 1000}
    address = {"type": "unix", "data": {"path": nic.link.name}}
    return {"id": f"socket{index}", "backend": {"type": "socket", "data": {"addr": address, **ends}}}


def vhost_user_netdev(index: int, nic: Nic) -> dict[str, Any]:
    """Arguments of netdev_add for a vhost-user link."""
    return {"type": "vhost-user", "id": f"net{index}", "chardev": f"socket{index}", "queues": nic.queues}


def tap_end(index: int, nic: Nic, tap: str, *, vhost: bool) -> dict[str, Any]:
    """Arguments of netdev_add for a tap of that name."""
    scripts = {"script": "no", "downscript": "no"}
    queues = {"queues": nic.queues} if nic.queues > 1 else {}
    return {"type": "tap", "id": f"net{index}", "ifname": tap, "vhost": vhost, **scripts, **queues}


def device(index: int, nic: Nic) -> dict[str, Any]:
    """Arguments of device_add: the network device as the guest sees it."""
    place = {"id": f"nic{index}", "bus": f"slot{index}"}
    if nic.link.kind is LinkKind.PCI:
        return {"driver": "vfio-pci", "host": nic.link.name, **place}
    virtio = {"driver": "virtio-net-pci", "netdev": f"net{index}", "mac": nic.mac, "mrg_rxbuf": True, "romfile": ""}
    # One vector each for a queue's two directions, one for the configuration and one for control.
    return {**virtio, **({"mq": True, "vectors": 2 * nic.queues + 2} if nic.queues > 1 else {}), **place}
