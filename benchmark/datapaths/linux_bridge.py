"""The kernel's own bridge: one for each pair of links, which are its ports."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from nvbench.datapaths.base import Parameters, Place
from nvbench.datapaths.kernel_devices import device_readings
from nvbench.datapaths.kernel_output import (
    cpu_mask,
    dynamic_addresses,
    kernel_lacks,
    link_readings,
    parse_links,
    root_qdisc,
    vlans_of,
)
from nvbench.endpoint import Link, LinkKind
from nvbench.errors import CommandError, DatapathError, LostConnectionError
from nvbench.journal import Journal, RemoveLink, Restore, RunBack
from nvbench.offloads import Offloads, parse_features, refused
from nvbench.tables import Reading

_SCHEDULERS = {"pfifo": "FIFO", "bfifo": "FIFO", "fq": "FQ", "fq_codel": "FQ_CODEL", "sfq": "SFQ", "cake": "CAKE"}
"""Queueing discipline -> the kernel option NET_SCH_ that it needs; the others are always there."""

_FILTERS = tuple(f"/proc/sys/net/bridge/bridge-nf-call-{table}" for table in ("iptables", "ip6tables", "arptables"))
"""Whether bridged frames are shown to the packet filter of a protocol: of the network namespace, not of the bridge."""

_NO_SEGMENTATION = Offloads(tso=False, gso=False, gro=False)


class LinuxBridgeParameters(Parameters):
    """Options of the bridge and its ports; the names are those of ip-link(8) where it has one."""

    qdisc: Literal["", "noqueue", "pfifo_fast", "pfifo", "bfifo", "fq", "fq_codel", "sfq", "cake"] = Field(
        default="", description="queueing discipline of the ports, with its default options; empty: as found"
    )
    vlan_filtering: bool = Field(default=False, description="forward by VLAN; untagged frames are of VLAN 1")
    vlan: int = Field(
        default=0, ge=0, le=4094, description="with vlan_filtering, a VLAN whose tagged frames pass, too; 0: none"
    )
    mcast_snooping: bool = Field(
        default=False,
        description="multicast goes only where somebody joined the group; the bridge itself then sends a few frames",
    )
    port_offloads: bool = Field(
        default=True, description="segmentation and receive offloads of the ports (tso, gso, gro) as found, or off"
    )
    netfilter: bool = Field(
        default=True, description="frames pass the host's packet filter (br_netfilter) as found, or go round it"
    )

    @model_validator(mode="after")
    def _vlan_goes_with_filtering(self) -> LinuxBridgeParameters:
        if self.vlan and not self.vlan_filtering:
            raise ValueError("a vlan needs vlan_filtering: true")
        if self.vlan == 1:
            raise ValueError("vlan 1 is that of untagged frames")
        return self

    def bridge_options(self) -> dict[str, int]:
        """Option -> value, as ip-link(8) takes and tells them; ports forward from the first moment."""
        filtering, snooping = int(self.vlan_filtering), int(self.mcast_snooping)
        # A kernel without VLAN filtering refuses even to be told to leave it off.
        options = {"stp_state": 0, "forward_delay": 0, "mcast_snooping": snooping}
        return {**options, "vlan_filtering": filtering} if filtering else options

    def kernel_options(self) -> list[str]:
        """What the kernel's configuration has to have."""
        needs = ["BRIDGE"]
        if self.vlan_filtering:
            needs.append("BRIDGE_VLAN_FILTERING")
        if self.qdisc in _SCHEDULERS:
            needs.append(f"NET_SCH_{_SCHEDULERS[self.qdisc]}")
        return needs


class LinuxBridge:
    """Bridges of the kernel: `nvbr0` joins the first pair of links, `nvbr1` the second."""

    takes: ClassVar[tuple[LinkKind, ...]] = (LinkKind.VETH, LinkKind.TAP, LinkKind.DEVICE)
    restarts = False

    def __init__(self, place: Place, parameters: LinuxBridgeParameters) -> None:
        self._place = place
        self._parameters = parameters
        self._inside = place.inside
        self._bridges = {f"nvbr{index}": pair for index, pair in enumerate(place.segments)}
        self._ports = tuple(link.name for link in place.links)
        self._undo: tuple[Journal, int] | None = None
        self.version = ""
        self.findings: list[str] = []

    def missing(self) -> str:
        """See `Datapath.missing`: of a kernel that does not show its configuration, `up` finds out."""
        host = self._place.host
        release = host.run(["uname", "-r"]).stdout.strip()
        config = host.read(f"/boot/config-{release}") or ""
        if not config and host.exists("/proc/config.gz"):
            with suppress(CommandError):
                config = host.run(["zcat", "/proc/config.gz"]).stdout
        lacking = kernel_lacks(config, self._parameters.kernel_options()) if config else []
        return f"the kernel {release} is built without {', '.join(lacking)}" if lacking else ""

    # -- coming up ---------------------------------------------------------------------------------------------

    def up(self, journal: Journal) -> None:
        """See `Datapath.up`."""
        with _told():
            for bridge in self._bridges:
                if self._inside.exists(f"/sys/class/net/{bridge}"):
                    raise DatapathError(
                        f"a network device {bridge} is there already and is not ours: hands off",
                        place=f"host {self._place.host.name}",
                        remedy=f"`ip link delete {bridge}`, if nobody needs it",
                    )
            self._undo = (journal, journal.mark())
            release = self._place.host.run(["uname", "-r"]).stdout.strip()
            self.version = f"Linux {release} bridge"
            wanted = self._parameters.bridge_options()
            options = [word for option, value in wanted.items() for word in (option, str(value))]
            for bridge in self._bridges:
                if not self._place.namespace:  # else it goes with its namespace
                    journal.record(self._place.host, RemoveLink(bridge))
                mtu = ["mtu", str(self._parameters.mtu)]
                self._inside.run(["ip", "link", "add", bridge, *mtu, "up", "type", "bridge", *options])
            if not self._parameters.netfilter:
                self._go_round_filters(journal)

    def _go_round_filters(self, journal: Journal) -> None:
        for path in _FILTERS:
            if not self._inside.exists(path):
                continue  # a kernel without br_netfilter has nothing to go round
            if not self._place.namespace:
                journal.record(self._place.host, Restore(path, self._inside.read(path) or "1\n"))
            self._inside.write(path, "0\n")

    def attach(self) -> None:
        """See `Datapath.attach`."""
        with _told():
            found = self._devices()
            for bridge, pair in self._bridges.items():
                for link in pair:
                    self._add_port(bridge, link, found.get(link.name))
            if self._place.steer:
                self._steer()
            if faults := self._faults():
                raise DatapathError("; ".join(faults), place="linux_bridge")
            self._wait_until_they_forward()

    def _devices(self) -> dict[str, dict[str, Any]]:
        return parse_links(self._inside.run(["ip", "-j", "-d", "link", "show"]).stdout)

    def _add_port(self, bridge: str, link: Link, found: dict[str, Any] | None) -> None:
        name, wanted = link.name, self._parameters
        if found is None:
            raise DatapathError(f"there is no network device {name}", place="linux_bridge")
        has = min(found["num_rx_queues"], found["num_tx_queues"])
        if has < wanted.queues:
            raise DatapathError(f"port {name}: has {has} queues, not {wanted.queues}", place="linux_bridge")
        if link.kind is LinkKind.DEVICE:
            self._remember(found)
        self._inside.run(["ip", "link", "set", name, "mtu", str(wanted.mtu), "master", bridge, "up"])
        if not wanted.port_offloads:
            self._switch_offloads_off(link)
        if wanted.qdisc:
            self._set_qdisc(link)
        if wanted.vlan:
            self._inside.run(["bridge", "vlan", "add", "vid", str(wanted.vlan), "dev", name])

    def _switch_offloads_off(self, link: Link) -> None:
        if link.kind is LinkKind.DEVICE:
            flags = parse_features(self._inside.run(["ethtool", "--json", "-k", link.name]).stdout)
            on = Offloads(
                tso=flags["tcp-segmentation-offload"].active,
                gso=flags["generic-segmentation-offload"].active,
                gro=flags["generic-receive-offload"].active,
            )
            self._record(["ethtool", "-K", link.name, *on.words()])
        # What is fixed is told below, in the end's own words.
        self._inside.run(["ethtool", "-K", link.name, *_NO_SEGMENTATION.words()], check=False)
        flags = parse_features(self._inside.run(["ethtool", "--json", "-k", link.name]).stdout)
        self.findings += [f"port {link.name}: {what}" for what in refused(_NO_SEGMENTATION, flags)]

    def _set_qdisc(self, link: Link) -> None:
        replace = ["tc", "qdisc", "replace", "dev", link.name, "root"]
        if link.kind is LinkKind.DEVICE:
            # Asked now that the device is up: one that has never been has none (`noop`) that could be put back.
            kind, own = root_qdisc(self._inside.run(["tc", "-j", "qdisc", "show", "dev", link.name]).stdout)
            if own:
                raise DatapathError(
                    f"port {link.name}: somebody has set its qdisc {kind}: hands off", place="linux_bridge"
                )
            self._record([*replace, kind])
        self._inside.run([*replace, self._parameters.qdisc])

    def _remember(self, found: dict[str, Any]) -> None:
        """A device that was there before gets back its master, MTU and state."""
        name = found["ifname"]
        master = ["master", found["master"]] if "master" in found else ["nomaster"]
        state = "up" if "UP" in found["flags"] else "down"
        self._record(["ip", "link", "set", name, "mtu", str(found["mtu"]), *master, state])

    def _record(self, argv: list[str]) -> None:
        journal, _ = self._journal()
        inside = ["ip", "netns", "exec", self._place.namespace] if self._place.namespace else []
        journal.record(self._place.host, RunBack((*inside, *argv)))

    def _journal(self) -> tuple[Journal, int]:
        assert self._undo is not None  # noqa: S101 - set by up
        return self._undo

    def _steer(self) -> None:
        """Receive packet steering: what comes in at a port is forwarded on the polling cores, wherever it came from."""
        journal, _ = self._journal()
        for link in self._place.links:
            files = self._inside.run(["find", f"/sys/class/net/{link.name}/queues", "-name", "rps_cpus"]).stdout.split()
            if link.kind is LinkKind.DEVICE and not self._place.namespace:
                for path in files:
                    journal.record(self._place.host, Restore(path, self._inside.read(path) or "0\n"))
            self._inside.run(["tee", *files], stdin=cpu_mask(self._place.pmd_cores))

    def _faults(self) -> list[str]:
        """What the kernel has made otherwise than asked."""
        found, wanted, faults = self._devices(), self._parameters, []
        for bridge, pair in self._bridges.items():
            granted = found[bridge]["linkinfo"]["info_data"]
            faults += _differences(bridge, wanted.bridge_options(), granted)
            asked: dict[str, object] = {"mtu": wanted.mtu}
            faults += _differences(bridge, asked, found[bridge])
            asked |= {"master": bridge, **({"qdisc": wanted.qdisc} if wanted.qdisc else {})}
            for link in pair:
                faults += _differences(f"port {link.name}", asked, found[link.name])
                if "UP" not in found[link.name]["flags"]:
                    faults.append(f"port {link.name} is down")
        if wanted.vlan:
            told = self._inside.run(["bridge", "-j", "vlan", "show"]).stdout
            faults += [
                f"port {port}: not in VLAN {wanted.vlan}"
                for port in self._ports
                if wanted.vlan not in vlans_of(told, port)
            ]
        return faults

    def _wait_until_they_forward(self, patience_s: float = 5.0) -> None:
        """The kernel may take a second to notice that a cable is in; being asked of that very device, it looks."""
        deadline = time.monotonic() + patience_s
        for port in self._ports:
            while True:
                told = self._inside.run(["ip", "-j", "-d", "link", "show", "dev", port]).stdout
                row = parse_links(told)[port]
                state = row["linkinfo"]["info_slave_data"]["state"]
                if state == "forwarding" or "LOWER_UP" not in row["flags"]:
                    break
                if time.monotonic() > deadline:
                    raise DatapathError(f"port {port} does not forward, it is {state}", place="linux_bridge")
                time.sleep(0.02)

    # -- while it runs -----------------------------------------------------------------------------------------

    def readings(self) -> Sequence[Reading]:
        """See `Datapath.readings`."""
        with _told():
            found = list(link_readings(self._inside.run(["ip", "-s", "-j", "link", "show"]).stdout, self._ports))
            found += device_readings(self._inside, self._ports)
            return [*found, Reading("fdb", "learned_addresses", float(self._learned()), "state")]

    def crashed(self) -> str:
        """See `Datapath.crashed`: a bridge of the kernel only goes if somebody takes it away."""
        gone = [bridge for bridge in self._bridges if not self._inside.exists(f"/sys/class/net/{bridge}")]
        return f"the bridge {gone[0]} has gone" if gone else ""

    def poller(self) -> int | None:
        """See `Datapath.poller`."""
        return None

    def restart(self, down_s: float) -> None:  # noqa: ARG002 - nothing to wait for
        """See `Datapath.restart`."""
        raise DatapathError("the kernel's bridge cannot be restarted", place="linux_bridge")

    def learned_addresses(self) -> int | None:
        """See `Datapath.learned_addresses`."""
        with _told():
            return self._learned()

    def _learned(self) -> int:
        return dynamic_addresses(self._inside.run(["bridge", "-j", "fdb", "show"]).stdout, self._bridges)

    def learning(self) -> AbstractContextManager[None]:
        """See `Datapath.learning`: it always does."""
        return nullcontext()

    def forget_addresses(self) -> None:
        """See `Datapath.forget_addresses`. `bridge fdb flush` would take the ports' own addresses, too."""
        with _told():
            for bridge in self._bridges:
                self._inside.run(["ip", "link", "set", bridge, "type", "bridge", "fdb_flush"])

    def down(self) -> None:
        """See `Datapath.down`."""
        if self._undo is None:
            return
        journal, mark = self._undo
        journal.undo_since(mark)
        if self._place.namespace:
            for bridge in self._bridges:
                self._inside.run(["ip", "link", "delete", bridge], check=False)


def _differences(where: str, wanted: dict[str, Any], granted: dict[str, Any]) -> list[str]:
    return [
        f"{where}: {option} is {granted.get(option)}, not {value}"
        for option, value in wanted.items()
        if granted.get(option) != value
    ]


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except LostConnectionError:
        raise  # no fault of the datapath
    except CommandError as error:
        raise DatapathError(str(error), place="linux_bridge") from error
