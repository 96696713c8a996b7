"""OVS with the DPDK datapath, as a private instance beside whatever the host runs.

OVS allows one userspace datapath a network namespace, and a system OVS keeps the host's: this one lives in a namespace
of its own unless its ports are the host's own devices.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import starmap
from typing import ClassVar

from nvbench.datapaths.base import Place, dpdk_files, wait_for_socket
from nvbench.datapaths.ovs_bridges import FAR_PATIENCE_S, PATIENCE_S, Bridges, raise_devices
from nvbench.datapaths.ovs_instance import OvsInstance
from nvbench.datapaths.ovs_options import OvsDpdkParameters
from nvbench.datapaths.ovs_output import (
    Row,
    parse_coverage,
    parse_lookups,
    parse_of_ports,
    parse_pmd_performance,
    parse_pmd_rxqs,
    parse_pmd_stats,
    parse_port_configurations,
    parse_port_stats,
    parse_qos,
    parse_upcalls,
    parse_vrings,
)
from nvbench.datapaths.ovs_ports import dpdk_ports, grouped
from nvbench.dpdk import known
from nvbench.endpoint import LinkKind
from nvbench.errors import DatapathError, NotReadyError
from nvbench.journal import Journal, RemoveLink
from nvbench.tables import Reading

__all__ = ["OvsDpdk", "OvsDpdkParameters"]

DATAPATH = "netdev@ovs-netdev"


class OvsDpdk:
    """A private OVS-DPDK: a netdev bridge for each segment."""

    takes: ClassVar[tuple[LinkKind, ...]] = (
        LinkKind.VHOST_USER,
        LinkKind.VETH,
        LinkKind.TAP,
        LinkKind.DEVICE,
        LinkKind.PCI,
        LinkKind.VDEV,
    )
    restarts = True

    def __init__(self, place: Place, parameters: OvsDpdkParameters) -> None:
        self._place = place = parameters.installed(place)
        self._parameters = parameters
        self._ports = dpdk_ports(place.links, parameters)
        self._polled = any(port.polled for port in self._ports)
        # Without a PMD the main thread forwards, and has the polling core to itself.
        core = place.housekeeping_core if self._polled else place.pmd_cores[0]
        self._core = core
        self._ovs = OvsInstance(place, "ovs_dpdk", daemon=_daemon(place), core=core)
        self._bridges = Bridges(self._ovs, "netdev", grouped(self._ports, place.segments), parameters)
        self._journal: Journal | None = None
        self._vrings: tuple[Row, ...] | None = None
        self.version = ""
        self.findings: list[str] = []

    @property
    def control(self) -> OvsInstance:
        """The switch itself, for those who know that it is one of these."""
        return self._ovs

    @property
    def port_names(self) -> dict[str, str]:
        """Name of a link -> what the switch calls its end of it."""
        return {port.link.name: port.name for port in self._ports}

    def missing(self) -> str:
        """See `Datapath.missing`."""
        if missing := self._ovs.missing():
            return missing
        return "" if "DPDK" in self._built_with() else f"{_daemon(self._place)} is built without DPDK"

    def _built_with(self) -> str:
        """What the daemon tells of its versions: its own, and that of DPDK."""
        return self._place.host.run([_daemon(self._place), "--version"], check=False).stdout

    # -- coming up ---------------------------------------------------------------------------------------------

    def up(self, journal: Journal) -> None:
        """See `Datapath.up`."""
        self._journal = journal
        self._ovs.prepare(journal)
        journal.record(self._place.host, dpdk_files(self._place.file_prefix))
        if not self._place.namespace:
            self._claim_links(journal)
        with self._ovs.telling():
            self._ovs.start(journal, self._settings(), self._bridges.make())
            self.version = self._versions()
            self._bridges.add_flows()

    @property
    def _owned(self) -> tuple[str, ...]:
        """Network devices that the switch makes, and leaves behind."""
        return (*self._bridges.names, "ovs-netdev")

    def _claim_links(self, journal: Journal) -> None:
        """In the host's own namespace, what is there already is somebody else's."""
        for name in self._owned:
            if self._place.host.exists(f"/sys/class/net/{name}"):
                raise NotReadyError(
                    f"the network device {name} is there already: another OVS with a userspace datapath",
                    place=f"host {self._place.host.name}",
                    remedy="stop that one first",
                )
            journal.record(self._place.host, RemoveLink(name))

    def _settings(self) -> dict[str, str]:
        place = self._place
        pci = [link.name for link in place.links if link.kind is LinkKind.PCI]
        devices = [word for address in pci for word in ("-a", address)] or ["--no-pci"]
        extra = ["--in-memory", "--no-telemetry", "--file-prefix", place.file_prefix, *devices]
        return {
            "dpdk-init": "true",
            "dpdk-extra": " ".join(known(extra, self._built_with())),
            "dpdk-socket-mem": str(place.memory_mb),
            "dpdk-lcore-mask": hex(1 << self._core),
            "pmd-cpu-mask": hex(sum(1 << core for core in place.pmd_cores)),
            **self._parameters.settings(),
        }

    def _versions(self) -> str:
        told = self._ovs.vsctl("get", "Open_vSwitch", ".", "dpdk_initialized", "dpdk_version").split()
        if told[0] != "true":
            raise self._ovs.failure("DPDK did not initialise")
        ovs = self._parameters.named(self._ovs.appctl("version").splitlines()[0].split()[-1])
        dpdk = " ".join(told[1:]).strip('"')
        return f"{ovs}, {dpdk}"

    # -- ports -------------------------------------------------------------------------------------------------

    def attach(self) -> None:
        """See `Datapath.attach`. A virtual machine's driver gives a port its link, and more than one queue."""
        assert self._journal is not None  # noqa: S101 - set by up
        with self._ovs.telling():
            raise_devices(self._place, self._journal, self._parameters.mtu)
            for port in self._ports:
                if port.link.served:
                    continue
                if port.late:  # a far end may serve its next socket only after it has been met at this one
                    wait_for_socket(self._place.host, port.link)
                self._ovs.vsctl(*self._bridges.join(port))
            if policer := self._parameters.policer():
                settings = [f"other-config:{key}={value}" for key, value in policer.items()]
                create = ["--id=@q", "create", "QoS", "type=egress-policer", *settings]
                self._ovs.vsctl("set", "Port", self._ports[-1].name, "qos=@q", "--", *create)
        self._ovs.wait_out(self._faults, PATIENCE_S)
        self._ovs.wait_out(lambda: [*self._bridges.links_down(), *self._queue_faults(late=True)], FAR_PATIENCE_S)
        with self._ovs.telling():
            self._prefer_pmds()
            self.findings = self._find_out()

    def _faults(self) -> list[str]:
        """What the switch has not taken: its database and its datapath are both asked, since they can disagree."""
        if faults := self._bridges.faults():
            return faults  # of a port that is not there yet the rest cannot be asked
        last, wanted = self._ports[-1].name, self._parameters.policer()
        if (in_force := parse_qos(self._ovs.appctl("qos/show", last))) != wanted:
            faults.append(f"port {last}: its egress policer is {in_force}, not {wanted}")
        return [*faults, *self._queue_faults(late=False)]

    def _queue_faults(self, *, late: bool) -> list[str]:
        faults, affinity = [], self._parameters.affinity()
        queues = parse_pmd_rxqs(self._ovs.appctl("dpif-netdev/pmd-rxq-show"))
        for port in self._ports:
            if not port.polled or port.late != late:
                continue
            polled = [rxq for rxq in queues if rxq.port == port.name and rxq.enabled]
            if len(polled) != self._parameters.queues:
                faults.append(f"port {port.name}: {len(polled)} queues are polled, not {self._parameters.queues}")
            for rxq in polled:
                if rxq.core != (core := affinity.get(rxq.queue, rxq.core)):
                    faults.append(f"port {port.name}: queue {rxq.queue} is polled by core {rxq.core}, not {core}")
        return faults

    def _prefer_pmds(self) -> None:
        """Put the polling threads before whatever else the host runs on their cores.

        Not before the ports are there: a kernel that schedules by session shares out a session's weight among its
        threads, and leaves the switch's others next to nothing of a core that the generator keeps busy.
        """
        pmds = [str(thread) for thread, name in self._ovs.threads().items() if name.startswith("pmd")]
        if pmds:
            self._place.host.run(["renice", "-n", "-20", "-p", *pmds])

    def _find_out(self) -> list[str]:
        """What was asked for and is not, or not surely, in force."""
        wanted, log = self._parameters, self._ovs.log()
        findings = [f"{option}: the switch's log does not confirm it" for option in wanted.unconfirmed(log)]
        granted = parse_port_configurations(self._ovs.appctl("dpctl/show", DATAPATH))
        for port in self._ports:
            if not port.polled and (wanted.queues > 1 or wanted.rxq_affinity):
                findings.append(f"port {port.name}: type=system has one receive queue, polled by the main thread")
            for side in ("rxq", "txq"):
                found = granted.get(port.name, {}).get(f"configured_{side}_descriptors", "")
                if port.type == "dpdk" and found and found != str(wanted.descriptors):
                    findings.append(f"port {port.name}: {found} {side} descriptors, not {wanted.descriptors}")
        return findings

    # -- while it runs -----------------------------------------------------------------------------------------

    def readings(self) -> Sequence[Reading]:
        """See `Datapath.readings`; `polling_core` tells which PMD polls a queue.

        The polling threads' own counters are asked for last: with those of the generator they tell how busy they were.
        """
        with self._ovs.telling():
            if self._vrings is None:  # they are agreed upon when a port's far end connects
                status = self._ovs.vsctl("--format=json", "--columns=name,status", "list", "Interface")
                self._vrings = tuple(parse_vrings(status))
            of_ports = [self._ovs.ofctl("dump-ports", name, "-O", "OpenFlow14") for name in self._bridges.names]
        coverage, upcalls, shown, rxqs, performance, stats = self._ovs.ask_all(
            ("coverage/show",),
            ("upcall/show",),
            ("dpctl/show", "-s", DATAPATH),
            ("dpif-netdev/pmd-rxq-show",),
            ("dpif-netdev/pmd-perf-show", "-nh"),
            ("dpif-netdev/pmd-stats-show",),
        )
        names = tuple(port.name for port in self._ports)
        rows = [
            *parse_pmd_stats(stats, main_thread=any(not port.polled for port in self._ports)),
            *parse_pmd_performance(performance),
            *parse_lookups(shown),
            *parse_upcalls(upcalls),
            *parse_port_stats(shown, names),
            *(row for number, text in enumerate(of_ports) for row in parse_of_ports(text, self._numbered(number))),
            *self._vrings,
            *parse_coverage(coverage),
        ]
        polled = [(f"port {rxq.port} queue {rxq.queue}", rxq.core) for rxq in parse_pmd_rxqs(rxqs) if rxq.enabled]
        return [*starmap(Reading, rows), *(Reading(queue, "polling_core", core, "core") for queue, core in polled)]

    def _numbered(self, bridge: int) -> dict[str, str]:
        """OpenFlow's number of a port of a bridge -> its name."""
        return {str(number): port.name for number, port in enumerate(self._bridges.groups[bridge], 1)}

    def learned_addresses(self) -> int | None:
        """See `Datapath.learned_addresses`."""
        return self._bridges.learned_addresses()

    def learning(self) -> AbstractContextManager[None]:
        """See `Datapath.learning`."""
        return self._bridges.learning()

    def forget_addresses(self) -> None:
        """See `Datapath.forget_addresses`."""
        self._bridges.forget_addresses()

    def crashed(self) -> str:
        """See `Datapath.crashed`."""
        return self._ovs.crashed()

    def poller(self) -> int | None:
        """See `Datapath.poller`."""
        return self._ovs.poller()

    def restart(self, down_s: float) -> None:
        """See `Datapath.restart`. Ports and options are in the database, which lives on; flows are not."""
        self._brought_back(lambda: self._ovs.restart(down_s))

    def revive(self) -> None:
        """Start the switch again after a crash, as `restart` does.

        Raises:
            DatapathError: It does not come up again.
        """
        self._brought_back(self._ovs.start_again)

    def _brought_back(self, start: Callable[[], None]) -> None:
        with self._ovs.telling():
            self._vrings = None
            start()
            self._bridges.add_flows()
            with contextlib.suppress(DatapathError):  # whether it forwards again is what the caller measures
                # Not what the database tells: of a port whose far end was there first it tells no MTU.
                self._ovs.wait_out(lambda: self._queue_faults(late=False), PATIENCE_S)
            self._prefer_pmds()

    def down(self) -> None:
        """See `Datapath.down`."""
        self._ovs.down()
        if self._journal is not None and self._place.namespace:  # what it leaves in the host's own is journalled
            for name in self._owned:
                self._place.inside.run(["ip", "link", "delete", name], check=False)


def _daemon(place: Place) -> str:
    # Debian's alternative of ovs-vswitchd may point at the build without DPDK.
    debian = f"{place.prefix}/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
    return debian if place.host.exists(debian) else f"{place.prefix}/sbin/ovs-vswitchd"
