"""A testbed: which hosts, ports and cores are on the bench. Names only; nothing is touched here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from nvbench.faults import Fault, did_you_mean, faults, refuse
from nvbench.yamlfile import Document, locate, packaged, parse

PACKAGE = "nvbench.profiles.testbeds"
LOCAL = "local"
PCI_ADDRESS = r"[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]"


class Model(BaseModel):
    """Frozen, strict, and knows no keys but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _form(pattern: str, like: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {like}, not {text!r}")
        return text

    return AfterValidator(check)


def _auto(value: object) -> object:
    if value is None:
        raise ValueError("must be `auto` or name cores, not null")
    return None if value == "auto" else value


def _auto_list(value: object) -> object:
    value = _auto(value)
    if isinstance(value, list):
        if any(value.count(core) > 1 for core in value):
            raise ValueError("names a core twice")
        return tuple(value)
    if isinstance(value, str):
        raise ValueError(f"must be `auto` or a list of cores, not {value!r}")
    return (value,) if isinstance(value, int) else value


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Core = Annotated[int, Field(ge=0, le=65535)]
Cores = Annotated[Annotated[tuple[Core, ...], Field(min_length=1)] | None, BeforeValidator(_auto_list)]
HostName = Annotated[str, _form(r"[A-Za-z][A-Za-z0-9_-]{0,62}", "a word such as `switch`")]
PciAddress = Annotated[str, _form(PCI_ADDRESS, "like 0000:3b:00.0"), AfterValidator(str.lower)]
DeviceString = Annotated[str, _form(r"[a-z][\w.:-]*(,[\w.-]+=[^\s,\"']+)*", "like net_name0,key=value")]
DeviceName = Annotated[str, _form(r"[A-Za-z0-9][\w.:@-]{0,14}", "a network device's name such as eth2")]
Numa = Annotated[int, Field(ge=0, le=1023)]


def _words(value: object) -> object:
    """YAML reads 4.1 as a number, where it is the name of a case."""
    return {str(key): each for key, each in value.items()} if isinstance(value, dict) else value


Expectations = Annotated[dict[str, Literal["PASS", "FAIL", "BLOCKED"]], BeforeValidator(_words)]


class Machine(Model):
    """A host of the bench.

    Attributes:
        address: `local`, or `[user@]host` for SSH.
        port: SSH port; None: the one that the user's SSH configuration names, or 22.
        key: SSH key file; None: what the user's SSH agent and configuration offer.
    """

    address: Annotated[str, _form(r"([A-Za-z_][\w.-]*@)?[A-Za-z0-9][\w.:-]*", "`local` or user@host")]
    port: int | None = Field(default=None, ge=1, le=65535)
    key: str | None = None

    @property
    def local(self) -> bool:
        """Whether it is this machine."""
        return self.address == LOCAL

    @property
    def ssh(self) -> tuple[str, int | None]:
        """What tells one machine from another."""
        return self.address, self.port


class PortWiring(Model):
    """One end of a link: exactly one of the four.

    Attributes:
        pci: PCI address of a physical port that DPDK drives.
        device: Kernel name of a network device, such as `eth2`.
        vdev: A DPDK device string, such as `net_af_packet0,iface=eth2`.
        virtual: A link to the port of the same number on the other side, of the kind that suits the datapath: a
            vhost-user socket, a veth pair.
        bind: Driver that the port is bound to for a run, such as `vfio-pci`; None: it is used as it is bound.
    """

    pci: PciAddress | None = None
    device: DeviceName | None = None
    vdev: DeviceString | None = None
    virtual: bool = False
    bind: Annotated[str, _form(r"[a-z][a-z0-9_-]*", "a driver such as vfio-pci")] | None = None

    @model_validator(mode="after")
    def _one(self) -> PortWiring:
        if sum((self.pci is not None, self.device is not None, self.vdev is not None, self.virtual)) != 1:
            raise ValueError("a port is exactly one of pci, device, vdev and `virtual: true`")
        if self.bind is not None and self.pci is None:
            raise ValueError("only a port named by its PCI address can be bound")
        return self

    @property
    def name(self) -> str | None:
        """The device by its name or address; None for a virtual link, whose device is made with it."""
        return self.pci or self.device or self.vdev


Ports = Annotated[tuple[PortWiring, ...], BeforeValidator(_tuple)]


class GeneratorSide(Model):
    """Where the generator runs and what it sends through; cores are None for auto.

    Attributes:
        programs: Generator's name -> absolute path of its program or folder, where it is not where such things are.
    """

    host: HostName = LOCAL
    cores: Cores = None
    housekeeping_core: Annotated[Core | None, BeforeValidator(_auto)] = None
    ports: Ports = ()
    numa: Numa | None = None
    programs: dict[str, Annotated[str, _form(r"/[^\s\"']*", "an absolute path")]] = Field(default_factory=dict)


class SwitchSide(Model):
    """Where the switch runs and what it forwards between; cores are None for auto.

    Attributes:
        socket_memory_mb: Hugepage memory of the switch.
        sriov: Kernel name of the physical function whose virtual functions the datapath `sriov` makes.
        ovs: Prefix under which OVS is installed.
    """

    host: HostName = LOCAL
    pmd_cores: Cores = None
    housekeeping_core: Annotated[Core | None, BeforeValidator(_auto)] = None
    ports: Ports = ()
    numa: Numa | None = None
    sriov: DeviceName | None = None
    socket_memory_mb: int = Field(default=1024, ge=64, le=1 << 20)
    ovs: Annotated[str, _form(r"/[^\s\"']*", "an absolute path")] = "/usr"


class GuestMachine(Model):
    """A machine behind the switch that nvbench did not make, one of the testbed's hosts.

    Attributes:
        host: Its name among the hosts.
        device: Its network device that is joined to the switch, as it calls it.
        port: The switch's end of that link, as the switch's host calls it.
    """

    host: HostName
    device: DeviceName
    port: DeviceName


class GuestSide(Model):
    """What stands behind each kind of guest, on the switch's host.

    Attributes:
        memory_mb: Memory of a virtual machine that nvbench makes.
        vcpus: Its processors.
        hugepages: Whether the memory of a machine of libvirt is of hugepages.
        cores: Cores on which guests run; None for those on which the switch does not poll.
        forwarder: What passes frames on in a guest of kind `qemu`: its kernel's bridge, or a dpdk-testpmd in it.
        forward: How a testpmd that is a guest, or in one, passes frames on, in its own word.
        machines: Machines that are there already, for the guests of kind `ssh`.
    """

    memory_mb: int = Field(default=384, ge=256, le=1 << 20)
    vcpus: int = Field(default=1, ge=1, le=256)
    hugepages: bool = False
    cores: Cores = None
    forwarder: Literal["bridge", "testpmd"] = "bridge"
    forward: Literal["io", "mac", "macswap", "5tswap"] = "io"
    machines: Annotated[tuple[GuestMachine, ...], BeforeValidator(_tuple)] = ()


class Testbed(Model):
    """What is on the bench.

    Attributes:
        link_gbps: Speed of the links; None: the profile's.
        simulated: Nothing real is on it, and nothing is needed.
        hosts: The machines by name.
        expect: Case or check@path -> what comes of it on this bench: what differs from that is a surprise.
    """

    __test__ = False  # not a class of tests

    name: Annotated[str, _form(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "a word, as it names files")]
    description: str = ""
    link_gbps: float | None = Field(default=None, gt=0, le=10_000)
    simulated: bool = False
    hosts: dict[HostName, Machine] = Field(default_factory=lambda: {LOCAL: Machine(address=LOCAL)}, min_length=1)
    generator: GeneratorSide = GeneratorSide()
    switch: SwitchSide = SwitchSide()
    guests: GuestSide = GuestSide()
    expect: Expectations = Field(default_factory=dict)
    _document: Document = PrivateAttr(default_factory=lambda: Document("", {}))
    _source: str = PrivateAttr(default="")

    @property
    def generator_host(self) -> Machine:
        """The generator's machine."""
        return self.hosts[self.generator.host]

    @property
    def switch_host(self) -> Machine:
        """The switch's machine."""
        return self.hosts[self.switch.host]

    @property
    def one_host(self) -> bool:
        """Whether generator and switch share a machine."""
        near, far = (self.hosts.get(side.host) for side in (self.generator, self.switch))
        return near is far or (near is not None and far is not None and near.ssh == far.ssh)

    @property
    def virtual(self) -> bool:
        """Whether all links are virtual ones between generator and switch."""
        return bool(self.generator.ports) and all(port.virtual for port in self.generator.ports)

    @property
    def source(self) -> str:
        """Its file; empty where it comes with nvbench."""
        return self._source

    def place(self, *path: str | int) -> str:
        """Where in its file a value was written."""
        return self._document.place(path) or self.name

    def resolved(self) -> dict[str, Any]:
        """All that is on it, defaults filled in, as plain JSON values; cores are null for auto."""
        return self.model_dump(mode="json")


def load_testbed(name_or_path: str) -> Testbed:
    """A packaged testbed by name, or one of the reader's own by path.

    Raises:
        UsageError: There is none, or it has faults; lists all of them.
    """
    testbed = read_testbed(*locate("testbed", PACKAGE, name_or_path))
    if name_or_path not in packaged(PACKAGE):
        testbed._source = str(Path(name_or_path).resolve())
    return testbed


def read_testbed(name: str, data: bytes) -> Testbed:
    """A testbed from the bytes of a file of that name.

    Raises:
        UsageError: It has faults; lists all of them.
    """
    document = parse(data, name)
    try:
        testbed = Testbed.model_validate(document.value)
    except ValidationError as error:
        refuse(document.lines(faults(error, Testbed)))
    lines = document.lines([*_host_faults(testbed), *_port_faults(testbed), *_wiring_faults(testbed)])
    if lines:
        refuse(lines)
    testbed._document = document
    return testbed


def packaged_testbeds() -> dict[str, str]:
    """Names and descriptions of the testbeds that come with nvbench."""
    return {name: load_testbed(name).description for name in packaged(PACKAGE)}


def _host_faults(testbed: Testbed) -> Iterator[Fault]:
    for name, host in testbed.hosts.items():
        for option in {"port", "key"} & host.model_fields_set:
            if host.local:
                yield Fault(("hosts", name, option), "means nothing for this machine", "drop it")
    for side, host_name in (("generator", testbed.generator.host), ("switch", testbed.switch.host)):
        if host_name not in testbed.hosts:
            yield Fault((side, "host"), f"no host is called {host_name!r}", _known_hosts(testbed, host_name))
    for index, machine in enumerate(testbed.guests.machines):
        if machine.host not in testbed.hosts:
            what = f"no host is called {machine.host!r}"
            yield Fault(("guests", "machines", index, "host"), what, _known_hosts(testbed, machine.host))


def _known_hosts(testbed: Testbed, name: str) -> str:
    return did_you_mean(name, testbed.hosts) or f"there are {', '.join(testbed.hosts)}"


def _port_faults(testbed: Testbed) -> Iterator[Fault]:
    used: dict[tuple[str, str], str] = {}
    sides = (("generator", testbed.generator), ("switch", testbed.switch))
    for side, section in sides:
        count = len(section.ports)
        if testbed.simulated and count:
            yield Fault((side, "ports"), "a simulated testbed has no ports", "drop them")
        elif not testbed.simulated and count != 2:
            yield Fault((side, "ports"), f"needs two ports, has {count}")
        host = testbed.hosts.get(section.host)
        for index, port in enumerate(section.ports):
            if host is None or port.name is None:
                continue
            device = port.name.partition(",")[0]
            # Two programs may each have a virtual device of the same name; a PCI device is there once.
            key = (host.address if port.pci else f"{side} {host.address}", device)
            if key in used:
                yield Fault((side, "ports", index), f"{device} is {used[key]} already")
            used[key] = f"{side}.ports.{index}"


def _wiring_faults(testbed: Testbed) -> Iterator[Fault]:
    pairs = zip(testbed.generator.ports, testbed.switch.ports, strict=False)
    for index, (near, far) in enumerate(pairs):
        if near.virtual != far.virtual:
            side, other = ("switch", "generator") if near.virtual else ("generator", "switch")
            what = f"the other end, {other}.ports.{index}, is a virtual link"
            yield Fault((side, "ports", index), what, "make both ends virtual, or neither")
        elif near.virtual and not testbed.one_host:
            what = "a virtual link needs generator and switch on one host"
            yield Fault(("switch", "host"), what, f"set it to {testbed.generator.host}")
    if len({port.virtual for port in testbed.switch.ports}) == 2:
        what = "mixes virtual and other ports"
        yield Fault(("switch", "ports"), what, "make all of them one or the other")
