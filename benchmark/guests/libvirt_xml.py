"""A virtual machine as libvirt is told of it: the XML of a domain, with memory that a switch can share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from nvbench.endpoint import LinkKind
from nvbench.guests.base import Nic
from nvbench.guests.emulator import CONTROL_MAC
from nvbench.guests.image import Image

_QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
_CONTROL = (
    "-netdev",
    "user,id=control,restrict=on,hostfwd=tcp:127.0.0.1:0-:22",  # port 0: any that is free
    "-device",
    # On the root bus, so that the guest finds it before all others, which are behind ports; out of their ports' way.
    f"virtio-net-pci,bus=pcie.0,addr=0x1e,netdev=control,mac={CONTROL_MAC},romfile=",
)
"""The network device for SSH: libvirt itself has no way to forward a port of the loopback to a guest."""


@dataclass(frozen=True, slots=True)
class Domain:
    """What a domain is made of.

    Attributes:
        name: Its name, no other domain's.
        image: What it boots.
        console: Where its console is logged.
        memory_mb: Its memory.
        vcpus: Its processors.
        kvm: Whether the host's processor runs it; else it is emulated.
        cores: Cores on which it may run; all, if there are none.
        nics: Its network devices; a tap's link is named as where libvirt makes it.
        hugepage_kb: Size of the hugepages that its memory is of; 0 for ordinary ones.
        security: Security models that libvirt confines domains by. This one, whose files are private to root, runs as
            root and unconfined.
    """

    name: str
    image: Image
    console: str
    memory_mb: int
    vcpus: int
    kvm: bool
    cores: Sequence[int] = ()
    nics: Sequence[Nic] = ()
    hugepage_kb: int = 0
    security: Sequence[str] = ()

    def xml(self) -> str:
        """The document that `virsh define` takes."""
        root = Element("domain", {"type": "kvm" if self.kvm else "qemu", "xmlns:qemu": _QEMU_NAMESPACE})
        _add(root, "name", self.name)
        _add(root, "memory", str(self.memory_mb), unit="MiB")
        _add(root, "vcpu", str(self.vcpus), **({"cpuset": ",".join(map(str, self.cores))} if self.cores else {}))
        self._add_memory(root)
        self._add_boot(root)
        for event, action in (("poweroff", "destroy"), ("reboot", "destroy"), ("crash", "destroy")):
            _add(root, f"on_{event}", action)
        self._add_devices(_add(root, "devices"))
        for model in self.security:
            self._add_security(root, model)
        words = _add(root, "qemu:commandline")
        for word in _CONTROL:
            _add(words, "qemu:arg", value=word)
        indent(root)
        return tostring(root, encoding="unicode") + "\n"

    def _add_memory(self, root: Element) -> None:
        """Memory is shared, or no switch could reach a vhost-user device's frames; that takes a NUMA cell."""
        backing = _add(root, "memoryBacking")
        if self.hugepage_kb:
            _add(_add(backing, "hugepages"), "page", size=str(self.hugepage_kb), unit="KiB")
        _add(backing, "source", type="memfd")
        _add(backing, "access", mode="shared")
        cpu = _add(root, "cpu", mode="host-passthrough" if self.kvm else "maximum", check="none")
        _add(cpu, "topology", sockets="1", cores=str(self.vcpus), threads="1")
        size = {"memory": str(self.memory_mb), "unit": "MiB"}
        _add(_add(cpu, "numa"), "cell", id="0", cpus=f"0-{self.vcpus - 1}", **size, memAccess="shared")

    def _add_boot(self, root: Element) -> None:
        system = _add(root, "os")
        _add(system, "type", "hvm", arch="x86_64", machine="q35")
        _add(system, "kernel", self.image.kernel)
        _add(system, "initrd", self.image.root)
        _add(system, "cmdline", "console=ttyS0 quiet panic=-1")
        features = _add(root, "features")
        _add(features, "acpi")
        _add(features, "apic")

    def _add_devices(self, devices: Element) -> None:
        _add(_add(devices, "serial", type="file"), "source", path=self.console)
        _add(devices, "controller", type="usb", model="none")
        _add(devices, "memballoon", model="none")
        for nic in self.nics:
            if nic.link.kind is LinkKind.PCI:
                _add_function(devices, nic)
            else:
                _add_interface(devices, nic)

    def _add_security(self, root: Element, model: str) -> None:
        if model == "dac":
            _add(_add(root, "seclabel", type="static", model=model, relabel="no"), "label", "+0:+0")
        else:
            _add(root, "seclabel", type="none", model=model)


def _add(parent: Element, tag: str, text: str = "", **attributes: str) -> Element:
    element = SubElement(parent, tag, attributes)
    element.text = text or None
    return element


def _add_interface(devices: Element, nic: Nic) -> None:
    vhost_user = nic.link.kind is LinkKind.VHOST_USER
    interface = _add(devices, "interface", type="vhostuser" if vhost_user else "ethernet")
    _add(interface, "mac", address=nic.mac)
    if vhost_user:
        mode = "client" if nic.link.served else "server"
        source = _add(interface, "source", type="unix", path=nic.link.name, mode=mode)
        if nic.link.served:  # the switch may come later, and again
            _add(source, "reconnect", enabled="yes", timeout="1")
    else:
        _add(interface, "target", dev=nic.link.name)
    _add(interface, "model", type="virtio")
    driver = _add(interface, "driver", **({"queues": str(nic.queues)} if nic.queues > 1 else {}))
    _add(driver, "host", mrg_rxbuf="on")
    _add(interface, "rom", enabled="no")


def _add_function(devices: Element, nic: Nic) -> None:
    """A NIC's function that has its driver for guests already."""
    domain, bus, rest = nic.link.name.split(":")
    slot, function = rest.split(".")
    numbers = {"domain": domain, "bus": bus, "slot": slot, "function": function}
    device = _add(devices, "hostdev", mode="subsystem", type="pci", managed="no")
    _add(_add(device, "source"), "address", **{name: f"0x{number}" for name, number in numbers.items()})
    _add(device, "rom", enabled="no")
