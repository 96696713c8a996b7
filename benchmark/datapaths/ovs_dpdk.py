"""OVS with the DPDK datapath, as a private instance beside whatever the host runs.

It has its own folder, database, log and, when all its ports are virtual, its own network namespace: OVS allows one
netdev datapath a namespace, and a system OVS keeps the host's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from nvbench.datapaths.base import Place, Reading, dpdk_files, wait_for_socket
from nvbench.datapaths.ovs_options import OvsDpdkParameters
from nvbench.datapaths.ovs_output import (
    MacTable,
    parse_interfaces,
    parse_mac_table,
    parse_pmd_rxqs,
    parse_pmd_stats,
    parse_port_stats,
    parse_qos,
)
from nvbench.errors import CommandError, DatapathError, NotReadyError
from nvbench.fingerprint import threads
from nvbench.hosts import Completed
from nvbench.journal import Journal, Remove, RemoveLink, StopDaemon, ended

__all__ = ["OvsDpdk", "OvsDpdkParameters"]

BRIDGE = "nvbr0"
PORTS = ("nvp0", "nvp1")


class OvsDpdk:
    """A private OVS-DPDK: netdev bridge, two ports."""

    restarts = True

    def __init__(self, place: Place, parameters: OvsDpdkParameters) -> None:
        self._place = place
        self._parameters = parameters
        self._folder = place.folder
        self._database = f"unix:{place.folder}/db.sock"
        self._control = ""
        self._undo: tuple[Journal, int] | None = None
        self.version = ""

    # -- coming up ---------------------------------------------------------------------------------------------

    def up(self, journal: Journal) -> None:
        """See `Datapath.up`."""
        host = self._place.host
        self._undo = (journal, journal.mark())
        journal.record(host, Remove(self._folder))
        journal.record(host, dpdk_files(self._place.file_prefix))
        host.make_folder(self._folder)
        try:
            self._start_database(journal)
            self._configure()
            self._start_switch(journal)
            self._make_bridge()
        except CommandError as error:
            raise DatapathError(self._with_log(str(error)), place="ovs_dpdk") from error

    def _start_database(self, journal: Journal) -> None:
        folder, host, prefix = self._folder, self._place.host, self._place.prefix
        host.run(["ovsdb-tool", "create", f"{folder}/conf.db", f"{prefix}/share/openvswitch/vswitch.ovsschema"])
        pidfile = f"{folder}/ovsdb-server.pid"
        journal.record(host, StopDaemon(pidfile, folder))
        host.run(
            [
                *self._housekeeping(),
                "ovsdb-server",
                f"{folder}/conf.db",
                f"--remote=punix:{folder}/db.sock",
                f"--pidfile={pidfile}",
                f"--log-file={folder}/ovsdb-server.log",
                f"--unixctl={folder}/ovsdb-server.ctl",
                "--detach",
                "--no-chdir",
            ]
        )

    def _configure(self) -> None:
        place, mask = self._place, 0
        for core in place.pmd_cores:
            mask |= 1 << core
        wanted = {
            "dpdk-init": "true",
            "dpdk-extra": f'"--in-memory --no-telemetry --file-prefix {place.file_prefix}{self._devices()}"',
            "dpdk-socket-mem": f'"{place.memory_mb}"',
            "dpdk-lcore-mask": hex(1 << place.housekeeping_core),
            "pmd-cpu-mask": hex(mask),
        }
        if not self._parameters.emc:
            wanted["emc-insert-inv-prob"] = "0"
        self._vsctl("--no-wait", "init")
        self._vsctl(
            "--no-wait",
            "set",
            "Open_vSwitch",
            ".",
            *(f"other_config:{key}={value}" for key, value in wanted.items()),
        )

    def _devices(self) -> str:
        devices = [port for port in self._place.ports if port is not None]
        pci = [port for port in devices if port[0].isdigit()]
        return "".join(f" -a {port}" for port in pci) if pci else " --no-pci"

    def _start_switch(self, journal: Journal) -> None:
        if not self._private_namespace:
            self._claim_links(journal)
        journal.record(self._place.host, StopDaemon(self._pidfile, self._folder))
        self._control = f"{self._folder}/ovs-vswitchd.ctl"
        self._run_switch()
        ovs = self._appctl("version").stdout.splitlines()[0].split()[-1]
        dpdk = self._vsctl("get", "Open_vSwitch", ".", "dpdk_version").stdout.strip().strip('"')
        self.version = f"OVS {ovs}, {dpdk}"

    def _run_switch(self) -> None:
        # An anonymous namespace ends with its last process: nothing to undo.
        namespace = ["unshare", "--net"] if self._private_namespace else []
        self._place.host.run(
            [
                *self._housekeeping(),
                *namespace,
                self._binary(),
                self._database,
                f"--pidfile={self._pidfile}",
                f"--log-file={self._folder}/ovs-vswitchd.log",
                f"--unixctl={self._control}",
                "--detach",
                "--no-chdir",
            ],
            timeout_s=60,
        )
        found = self._vsctl("get", "Open_vSwitch", ".", "dpdk_initialized").stdout.strip()
        if found != "true":
            raise DatapathError(self._with_log("DPDK did not initialise"), place="ovs_dpdk")

    @property
    def _private_namespace(self) -> bool:
        return self._place.ports == (None, None)

    @property
    def _pidfile(self) -> str:
        return f"{self._folder}/ovs-vswitchd.pid"

    def _claim_links(self, journal: Journal) -> None:
        """In the host's own namespace OVS leaves its devices behind; what is there already is somebody else's."""
        for name in (BRIDGE, "ovs-netdev"):
            if self._place.host.exists(f"/sys/class/net/{name}"):
                raise NotReadyError(
                    f"the network device {name} is there already: another OVS with a userspace datapath",
                    place=f"host {self._place.host.name}",
                    remedy="stop that one first",
                )
            journal.record(self._place.host, RemoveLink(name))

    def _binary(self) -> str:
        # Debian's alternative of ovs-vswitchd may point at the build without DPDK.
        debian = f"{self._place.prefix}/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
        return debian if self._place.host.exists(debian) else f"{self._place.prefix}/sbin/ovs-vswitchd"

    def _housekeeping(self) -> list[str]:
        folder = self._folder
        return [
            "env",
            *(f"OVS_{name}DIR={folder}" for name in ("RUN", "DB", "LOG", "SYSCONF")),
            "taskset",
            "-c",
            str(self._place.housekeeping_core),
        ]

    def _make_bridge(self) -> None:
        table = f"other_config:mac-table-size={self._parameters.mac_table_size}"
        self._vsctl("add-br", BRIDGE, "--", "set", "Bridge", BRIDGE, "datapath_type=netdev", "fail_mode=secure", table)
        self._add_flows()

    def _add_flows(self) -> None:
        for flow in self._parameters.flows():
            self._ofctl("add-flow", flow)

    # -- ports -------------------------------------------------------------------------------------------------

    def attach(self) -> None:
        """See `Datapath.attach`."""
        try:
            for index, name in enumerate(PORTS):
                if self._place.ports[index] is None:
                    wait_for_socket(self._place, index)
                self._vsctl("add-port", BRIDGE, name, "--", "set", "Interface", name, *self._port_options(index))
            if policer := self._parameters.policer():
                settings = [f"other-config:{key}={value}" for key, value in policer.items()]
                create = ["--id=@q", "create", "QoS", "type=egress-policer", *settings]
                self._vsctl("set", "Port", PORTS[1], "qos=@q", "--", *create)
            self._wait_for_ports()
            self._prefer_pmds()
        except CommandError as error:
            raise DatapathError(self._with_log(str(error)), place="ovs_dpdk") from error

    def _port_options(self, index: int) -> list[str]:
        device, wanted = self._place.ports[index], self._parameters
        if device is None:
            options = ["type=dpdkvhostuserclient", f"options:vhost-server-path={self._place.socket(index)}"]
        else:
            options = ["type=dpdk", f'options:dpdk-devargs="{device}"', f"options:n_rxq={wanted.queues}"]
            options += [f"options:n_rxq_desc={wanted.descriptors}", f"options:n_txq_desc={wanted.descriptors}"]
        options += [f"ofport_request={index + 1}", f"mtu_request={wanted.mtu}"]
        return [*options, *(wanted.policing() if index == 0 else ())]

    def _wait_for_ports(self, patience_s: float = 20.0) -> None:
        deadline = time.monotonic() + patience_s
        while faults := self._port_faults():
            if time.monotonic() > deadline:
                raise DatapathError(self._with_log("; ".join(faults)), place="ovs_dpdk")
            time.sleep(0.05)

    def _prefer_pmds(self) -> None:
        """Put the polling threads before whatever else the host runs on their cores."""
        pmds = [str(thread) for thread, name in self._threads().items() if name.startswith("pmd")]
        self._place.host.run(["renice", "-n", "-20", "-p", *pmds])

    def _threads(self) -> dict[int, str]:
        pid = self.poller()
        return {} if pid is None else threads(self._place.host, pid)

    def _port_faults(self) -> list[str]:
        """What the switch has not taken: its database and its datapath are both asked, since they can disagree."""
        columns = "--columns=name,error,link_state,mtu,ofport,ingress_policing_rate"
        answer = self._vsctl("--format=json", columns, "list", "Interface", *PORTS)
        faults = []
        for index, found in enumerate(parse_interfaces(answer.stdout)):
            if found.error:
                raise DatapathError(self._with_log(f"port {found.name}: {found.error}"), place="ovs_dpdk")
            wanted = {"link_state": "up", "mtu": self._parameters.mtu, "ofport": index + 1}
            if index == 0:
                wanted["ingress_policing_rate"] = self._parameters.ingress_policing_kbps
            for key, value in wanted.items():
                if getattr(found, key) != value:
                    faults.append(f"port {found.name}: {key} is {getattr(found, key)}, not {value}")
        queues = parse_pmd_rxqs(self._appctl("dpif-netdev/pmd-rxq-show").stdout)
        for name in PORTS:
            polled = sum(1 for rxq in queues if rxq.port == name and rxq.enabled)
            if polled != self._parameters.queues:
                faults.append(f"port {name}: {polled} queues are polled, not {self._parameters.queues}")
        return [*faults, *self._option_faults()]

    def _option_faults(self) -> list[str]:
        faults, wanted = [], self._parameters
        if (size := self._mac_table().size) != wanted.mac_table_size:
            faults.append(f"mac_table_size is {size}, not {wanted.mac_table_size}")
        in_force = parse_qos(self._appctl("qos/show", PORTS[1]).stdout)
        if in_force != wanted.policer():
            faults.append(f"port {PORTS[1]}: its egress policer is {in_force}, not {wanted.policer()}")
        return faults

    # -- while it runs -----------------------------------------------------------------------------------------

    def readings(self) -> Sequence[Reading]:
        """See `Datapath.readings`."""
        stats = self._ask("dpif-netdev/pmd-stats-show")
        ports = self._ask("dpctl/show", "-s", "netdev@ovs-netdev")
        return [Reading(*row) for row in (*parse_pmd_stats(stats), *parse_port_stats(ports, PORTS))]

    def learned_addresses(self) -> int | None:
        """See `Datapath.learned_addresses`."""
        return self._mac_table().addresses

    @contextmanager
    def learning(self) -> Iterator[None]:
        """See `Datapath.learning`: the flows are those of a learning switch meanwhile."""
        learns = self._parameters.flow_set == "normal"
        if not learns:
            self._ofctl("mod-port", BRIDGE, "no-flood")  # the host's end of the bridge would slow a flood down
            self._ofctl("del-flows")
            self._ofctl("add-flow", "actions=NORMAL")
        yield
        if not learns:
            self._ofctl("del-flows")
            self._add_flows()

    def forget_addresses(self) -> None:
        """See `Datapath.forget_addresses`. Flows in the datapath go first: what they count is learned anew."""
        self._ask("revalidator/purge")
        self._ask("fdb/flush", BRIDGE)

    def _mac_table(self) -> MacTable:
        return parse_mac_table(self._ask("fdb/stats-show", BRIDGE))

    def placement(self) -> str:
        """Which PMD polls which queue, as the switch says."""
        return self._appctl("dpif-netdev/pmd-rxq-show").stdout

    def poller(self) -> int | None:
        """See `Datapath.poller`."""
        pid = (self._place.host.read(self._pidfile) or "").strip()
        return int(pid) if pid else None

    def restart(self, down_s: float) -> None:
        """See `Datapath.restart`. Ports and options are in the database, which lives on; flows are not."""
        host, pid = self._place.host, self.poller()
        # A process id alone may belong to somebody else by now.
        if pid is None or self._folder not in (host.read(f"/proc/{pid}/cmdline") or ""):
            raise DatapathError(self._with_log("the switch has gone"), place="ovs_dpdk")
        began = time.monotonic()
        try:
            host.run(["kill", "-KILL", str(pid)])
            self._wait_for_end(pid)
            time.sleep(max(0.0, began + down_s - time.monotonic()))
            self._run_switch()  # under the same pidfile: the undo that is written down stops whichever runs
            self._add_flows()
            self._prefer_pmds()
        except CommandError as error:
            raise DatapathError(self._with_log(str(error)), place="ovs_dpdk") from error

    def _wait_for_end(self, pid: int, patience_s: float = 10.0) -> None:
        """A process that is being killed still holds its pidfile and the hugepages that its successor needs."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if ended(self._place.host, pid):
                return
            time.sleep(0.005)
        raise DatapathError(f"the switch, process {pid}, does not end", place="ovs_dpdk")

    def down(self) -> None:
        """See `Datapath.down`."""
        if self._undo is not None:
            journal, mark = self._undo
            journal.undo_since(mark)

    # -- commands ----------------------------------------------------------------------------------------------

    def _ofctl(self, command: str, *words: str) -> Completed:
        return self._place.host.run(["ovs-ofctl", command, f"unix:{self._folder}/{BRIDGE}.mgmt", *words])

    def _vsctl(self, *words: str) -> Completed:
        return self._place.host.run(["ovs-vsctl", f"--db={self._database}", "--timeout=30", *words], timeout_s=40)

    def _appctl(self, *words: str) -> Completed:
        return self._place.host.run(["ovs-appctl", "--timeout=10", "-t", self._control, *words])

    def _ask(self, *words: str) -> str:
        """What a switch that was up answers."""
        try:
            return self._appctl(*words).stdout
        except CommandError as error:
            raise DatapathError(self._with_log("the switch has gone"), place="ovs_dpdk") from error

    def _with_log(self, what: str) -> str:
        log = (self._place.host.read(f"{self._folder}/ovs-vswitchd.log") or "").splitlines()
        telling = [line.split("|", 2)[-1] for line in log if "|ERR|" in line or "|EMER|" in line or "|WARN|" in line]
        last = telling[-3:] or [line.split("|", 2)[-1] for line in log[-3:]]
        return f"{what}; ovs-vswitchd.log ends: {' / '.join(last)}" if last else what
