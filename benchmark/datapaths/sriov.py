"""SR-IOV: the NIC's own switch joins virtual functions of a port with each other, or with what the port is wired to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from nvbench.datapaths.base import Parameters, Place
from nvbench.datapaths.kernel_output import ethtool_readings, link_readings, parse_links
from nvbench.datapaths.pci_driver import bind
from nvbench.datapaths.sriov_output import VirtualFunction, parse_vfs, vf_readings
from nvbench.endpoint import LinkKind
from nvbench.errors import CommandError, DatapathError, LostConnectionError
from nvbench.journal import Journal, Restore, RunBack
from nvbench.tables import Reading

VF_PREFIX = "nvv"
"""How the names of links begin that are virtual functions."""

_LAST_VLAN = 4094
_PATIENCE_S = 10.0


class SriovParameters(Parameters):
    """Options of the virtual functions, alike but for what counts up; the names are those of ip-link(8).

    What is not asked for is left as the driver has it.
    """

    vf_driver: Literal["kernel", "vfio-pci"] = Field(default="kernel", description="who drives the virtual functions")
    mac: str = Field(
        default="",
        pattern=r"^([0-9a-f]{2}(:[0-9a-f]{2}){5})?$",
        description="address of the first virtual function, the others' count up from it; empty: the driver's choice",
    )
    vlan: int = Field(default=0, ge=0, le=_LAST_VLAN, description="VLAN of the virtual functions; 0: none")
    vlan_step: int = Field(
        default=0,
        ge=0,
        lt=_LAST_VLAN,
        description="how far the next virtual function's VLAN is from it; 0: all are in one",
    )
    qos: int = Field(default=0, ge=0, le=7, description="priority of that VLAN")
    vlan_protocol: Literal["802.1q", "802.1ad"] = Field(default="802.1q", description="protocol of that VLAN")
    max_tx_rate: int = Field(default=0, ge=0, description="limit in Mbit/s; 0: none")
    min_tx_rate: int = Field(default=0, ge=0, description="promised in Mbit/s; 0: nothing")
    trust: bool | None = Field(default=None, description="may do what concerns others: any MAC, all multicast")
    spoofchk: bool | None = Field(default=None, description="frames from addresses other than its own are dropped")
    link_state: Literal["", "auto", "enable", "disable"] = Field(default="", description="`state` of ip-link(8)")

    @model_validator(mode="after")
    def _vlan_goes_first(self) -> SriovParameters:
        if (self.vlan_step or self.qos or self.vlan_protocol != "802.1q") and not self.vlan:
            raise ValueError("vlan_step, qos and vlan_protocol need a vlan")
        if self.vlan + self.vlan_step > _LAST_VLAN:
            raise ValueError(f"the last VLAN is {_LAST_VLAN}")
        return self

    @property
    def rate_limit_bps(self) -> float | None:
        """What a virtual function may send at most, in bit/s; None without a limit."""
        return self.max_tx_rate * 1e6 if self.max_tx_rate else None

    def asked(self, number: int) -> dict[str, object]:
        """What is asked of a virtual function: fields of `VirtualFunction` and their values."""
        every = {name: getattr(self, name) for name in ("vlan", "max_tx_rate", "min_tx_rate", "link_state")}
        asked = {name: value for name, value in every.items() if value}
        if self.mac:
            asked["mac"] = _counted_up(self.mac, number)
        if self.vlan:
            vlan = self.vlan + number * self.vlan_step
            asked |= {"vlan": vlan, "qos": self.qos, "vlan_protocol": self.vlan_protocol}
        switches = {"trust": self.trust, "spoofchk": self.spoofchk}
        return {**asked, **{name: value for name, value in switches.items() if value is not None}}

    def settings(self, number: int) -> Iterator[tuple[str, ...]]:
        """The words behind `ip link set PF vf N`, one setting at a time, so that each is refused for itself."""
        asked = self.asked(number)
        if "mac" in asked:
            yield "mac", str(asked["mac"])
        if self.vlan:
            qos = ("qos", str(self.qos)) if self.qos else ()
            protocol = ("proto", self.vlan_protocol) if self.vlan_protocol != "802.1q" else ()
            yield "vlan", str(asked["vlan"]), *qos, *protocol
        for rate in ("max_tx_rate", "min_tx_rate"):
            if rate in asked:
                yield rate, str(asked[rate])
        for switch in ("trust", "spoofchk"):
            if switch in asked:
                yield switch, "on" if asked[switch] else "off"
        if self.link_state:
            yield "state", self.link_state


class Sriov:
    """Virtual functions of a port; whoever is at the far end takes them over.

    The links that are virtual functions have names that begin with `nvv`: the first is the first virtual function.

    Args:
        place: Its links are in the host's own network namespace.
        parameters: What is asked of the virtual functions.
        pf: The port, the physical function, by its kernel name.
    """

    takes: ClassVar[tuple[LinkKind, ...]] = (LinkKind.DEVICE,)
    restarts = False

    def __init__(self, place: Place, parameters: SriovParameters, pf: str) -> None:
        self._host = place.host
        self._parameters = parameters
        self._pf = pf
        self._names = [link.name for link in place.links if link.name.startswith(VF_PREFIX)]
        self._device = ""
        self._undo: tuple[Journal, int] | None = None
        self.version = ""
        self.findings: list[str] = []
        self.addresses: tuple[str, ...] = ()
        """PCI addresses of the virtual functions, once up."""

    def missing(self) -> str:
        """See `Datapath.missing`."""
        if not self._pf:
            return "the testbed names no physical function (switch.sriov)"
        if not self._host.exists(f"/sys/class/net/{self._pf}"):
            return f"there is no network device {self._pf}"
        if not int(self._host.read(f"/sys/class/net/{self._pf}/device/sriov_totalvfs") or 0):
            return f"{self._pf} has no virtual functions"
        return ""

    # -- coming up ---------------------------------------------------------------------------------------------

    def up(self, journal: Journal) -> None:
        """See `Datapath.up`: the far ends need the virtual functions, so all of them are made here."""
        self._undo = (journal, journal.mark())
        self.findings = []
        with self._told():
            self.version = self._driver()
            # The path of the bus is the same wherever the port's kernel device is moved to.
            address = (
                self._host.run(["readlink", f"/sys/class/net/{self._pf}/device"]).stdout.strip().rpartition("/")[2]
            )
            self._device = f"/sys/bus/pci/devices/{address}"
            self._check_free()
            self._raise_port(journal)
            self._make(journal)
            self._await_carrier()
            self._ask()
            self._bring_up(journal)

    def _driver(self) -> str:
        lines = self._host.run(["ethtool", "-i", self._pf]).stdout.splitlines()
        told = dict(line.split(": ", 1) for line in lines if ": " in line)
        firmware = told.get("firmware-version", "").strip()
        return f"{told.get('driver', '')} {told.get('version', '')}".strip() + (
            f", firmware {firmware}" if firmware else ""
        )

    def _check_free(self) -> None:
        count, total = (
            self._host.read(f"{self._device}/sriov_numvfs"),
            self._host.read(f"{self._device}/sriov_totalvfs"),
        )
        if int(count or 0):
            raise self._fault(
                f"in use: it has {int(count or 0)} virtual functions already: hands off",
                remedy=f"if nobody needs them: echo 0 > {self._device}/sriov_numvfs",
            )
        if len(self._names) > int(total or 0):
            raise self._fault(f"{len(self._names)} virtual functions are asked for, it has {int(total or 0)} at most")
        for name in self._names:
            if self._host.exists(f"/sys/class/net/{name}"):
                raise self._fault(f"a network device {name} is there already: hands off")

    def _raise_port(self, journal: Journal) -> None:
        """Virtual functions have no link without their port's, and no MTU above it."""
        found = self._port()
        state = "up" if "UP" in found["flags"] else "down"
        journal.record(self._host, RunBack(("ip", "link", "set", self._pf, "mtu", str(found["mtu"]), state)))
        self._host.run(["ip", "link", "set", self._pf, "mtu", str(self._parameters.mtu), "up"])

    def _port(self) -> dict[str, Any]:
        return parse_links(self._host.run(["ip", "-j", "-d", "link", "show", "dev", self._pf]).stdout)[self._pf]

    def _make(self, journal: Journal) -> None:
        count = f"{self._device}/sriov_numvfs"
        journal.record(self._host, Restore(count, "0\n"))
        self._host.write(count, f"{len(self._names)}\n")
        links = [f"{self._device}/virtfn{number}" for number in range(len(self._names))]
        told = [self._host.run(["readlink", link]).stdout.strip() for link in links]  # busybox's takes one
        self.addresses = tuple(link.rpartition("/")[2] for link in told)

    def _await_carrier(self) -> None:
        """The port's link takes seconds to come up: virtual functions follow it, and drivers set no rate without it."""
        deadline = time.monotonic() + _PATIENCE_S
        while self._host.read(f"/sys/class/net/{self._pf}/carrier") != "1\n":
            if time.monotonic() > deadline:
                self.findings.append(f"the port {self._pf} has no carrier after {_PATIENCE_S:g} s")
                return
            time.sleep(0.1)

    def _ask(self) -> None:
        """Ask for each setting, and look at what was granted; a driver's refusal is a fact of the bench."""
        refused = set()
        for number in range(len(self._names)):
            for words in self._parameters.settings(number):
                done = self._host.run(["ip", "link", "set", self._pf, "vf", str(number), *words], check=False)
                if not done.ok:
                    why = (done.stderr.strip() or f"status {done.returncode}").splitlines()[-1]
                    self.findings.append(f"vf {number} {' '.join(words)}: refused: {why}")
                    refused.add((number, "link_state" if words[0] == "state" else words[0]))
        granted = {vf.number: vf for vf in parse_vfs(self._told_of_vfs())}
        for number in range(len(self._names)):
            if number not in granted:
                self.findings.append(f"vf {number}: the driver tells nothing of it")
                continue
            for name, value in self._parameters.asked(number).items():
                if (number, _SETTING.get(name, name)) not in refused:
                    self.findings += _difference(granted[number], name, value)

    def _told_of_vfs(self) -> str:
        told = self._host.run(["ip", "-j", "-d", "link", "show", "dev", self._pf], check=False)
        if told.ok and told.stdout.startswith("["):
            return told.stdout
        return self._host.run(["ip", "link", "show", "dev", self._pf]).stdout  # of before iproute2 4.13

    def _bring_up(self, journal: Journal) -> None:
        for name, address in zip(self._names, self.addresses, strict=True):
            if self._parameters.vf_driver != "kernel":
                bind(self._host, journal, address, self._parameters.vf_driver)
                continue
            found = self._kernel_name(address)
            self._host.run(["ip", "link", "set", found, "down"])
            self._host.run(["ip", "link", "set", found, "name", name])
            self._host.run(["ip", "link", "set", name, "mtu", str(self._parameters.mtu), "up"])

    def _kernel_name(self, address: str) -> str:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            found = self._host.run(["ls", f"/sys/bus/pci/devices/{address}/net"], check=False).stdout.split()
            if found:
                return found[0]
            if time.monotonic() > deadline:
                raise self._fault(f"no driver makes a network device of its virtual function {address}")
            time.sleep(0.02)

    def attach(self) -> None:
        """See `Datapath.attach`: the NIC joins them by itself."""

    # -- while it runs -----------------------------------------------------------------------------------------

    def readings(self) -> Sequence[Reading]:
        """See `Datapath.readings`: those of the port, as long as it is here and no guest has taken it over."""
        told = self._host.run(["ip", "-s", "-j", "link", "show", "dev", self._pf], check=False)
        if not told.ok:
            return ()
        driver = self._host.run(["ethtool", "-S", self._pf], check=False).stdout
        return [
            *link_readings(told.stdout, (self._pf,)),
            *vf_readings(told.stdout),
            *ethtool_readings(driver, self._pf),
        ]

    def crashed(self) -> str:
        """See `Datapath.crashed`: a NIC that was reset has lost its virtual functions."""
        left = int(self._host.read(f"{self._device}/sriov_numvfs") or 0) if self._device else len(self._names)
        return "" if left == len(self._names) else f"{self._pf} has {left} virtual functions, not {len(self._names)}"

    def poller(self) -> int | None:
        """See `Datapath.poller`."""
        return None

    def restart(self, down_s: float) -> None:  # noqa: ARG002 - nothing to wait for
        """See `Datapath.restart`."""
        raise self._fault("a NIC's switch cannot be restarted")

    def learned_addresses(self) -> int | None:
        """See `Datapath.learned_addresses`: it is told its addresses."""
        return None

    def learning(self) -> AbstractContextManager[None]:
        """See `Datapath.learning`."""
        return nullcontext()

    def forget_addresses(self) -> None:
        """See `Datapath.forget_addresses`."""

    def down(self) -> None:
        """See `Datapath.down`."""
        self._device = ""
        if self._undo is not None:
            journal, mark = self._undo
            journal.undo_since(mark)

    def _fault(self, what: str, *, remedy: str = "") -> DatapathError:
        return DatapathError(what, place=f"host {self._host.name}, port {self._pf}", remedy=remedy)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except LostConnectionError:
            raise  # no fault of the datapath
        except CommandError as error:
            raise DatapathError(str(error), place="sriov") from error


_SETTING = {"qos": "vlan", "vlan_protocol": "vlan"}
"""Field -> the setting in which it is asked for, where that has another name."""


def _difference(granted: VirtualFunction, name: str, asked: object) -> list[str]:
    found = getattr(granted, name)
    if found == asked:
        return []
    return [f"vf {granted.number} {name}: accepted, but it is {found}, not {asked}"]


def _counted_up(mac: str, steps: int) -> str:
    number = int(mac.replace(":", ""), 16) + steps
    return ":".join(f"{number >> shift & 0xFF:02x}" for shift in range(40, -8, -8))
