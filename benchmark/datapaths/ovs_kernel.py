"""OVS over the kernel's own datapath, as a private instance in a network namespace of its own.

The switch's daemon only decides what to do with the first frames of a flow; the kernel forwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import starmap
from typing import ClassVar

from nvbench.datapaths.base import Place
from nvbench.datapaths.kernel_devices import device_readings
from nvbench.datapaths.kernel_output import cpu_mask
from nvbench.datapaths.ovs_bridges import FAR_PATIENCE_S, PATIENCE_S, Bridges, raise_devices
from nvbench.datapaths.ovs_instance import OvsInstance
from nvbench.datapaths.ovs_options import OvsKernelParameters
from nvbench.datapaths.ovs_output import parse_coverage, parse_lookups, parse_port_stats, parse_upcalls
from nvbench.datapaths.ovs_ports import grouped, system_port
from nvbench.endpoint import LinkKind
from nvbench.errors import DatapathError, NotReadyError
from nvbench.journal import Journal, RunBack
from nvbench.tables import Reading

__all__ = ["OvsKernel", "OvsKernelParameters"]

DATAPATH = "system@ovs-system"
MODULE = "openvswitch"


class OvsKernel:
    """A private OVS: a bridge of kernel devices for each segment."""

    takes: ClassVar[tuple[LinkKind, ...]] = (LinkKind.VETH, LinkKind.TAP, LinkKind.DEVICE)
    restarts = False
    """The kernel forwards on while the daemon is away."""

    def __init__(self, place: Place, parameters: OvsKernelParameters) -> None:
        self._place = place = parameters.installed(place)
        self._parameters = parameters
        self._ports = [system_port(link) for link in place.links]
        self._ovs = OvsInstance(place, "ovs_kernel", core=place.housekeeping_core)
        self._bridges = Bridges(self._ovs, "system", grouped(self._ports, place.segments), parameters)
        self._journal: Journal | None = None
        self.version = ""
        self.findings: list[str] = []

    def missing(self) -> str:
        """See `Datapath.missing`."""
        return self._ovs.missing() or ("" if self._loaded or self._loadable() else f"the kernel has no {MODULE} module")

    @property
    def _loaded(self) -> bool:
        return self._place.host.exists(f"/sys/module/{MODULE}")

    def _loadable(self) -> bool:
        """Whether its modules' lists name it; modprobe's own dry run is not everywhere."""
        folder = f"/lib/modules/{self._place.host.run(['uname', '-r']).stdout.strip()}"
        lists = [f"{folder}/modules.dep", f"{folder}/modules.builtin"]
        return self._place.host.run(["grep", "-qsF", f"/{MODULE}.ko", *lists], check=False).ok

    # -- coming up ---------------------------------------------------------------------------------------------

    def up(self, journal: Journal) -> None:
        """See `Datapath.up`."""
        place = self._place
        if not place.namespace:
            raise NotReadyError("needs a network namespace of its own", place="ovs_kernel")
        self._journal = journal
        self._ovs.prepare(journal)
        with self._ovs.telling():
            if not self._loaded:
                journal.record(place.host, RunBack(("modprobe", "-r", MODULE)))
                place.host.run(["modprobe", MODULE])
            journal.record(place.host, RunBack(tuple(self._take_down())))
            self._ovs.start(journal, {}, self._bridges.make())
            ovs = self._parameters.named(self._ovs.appctl("version").splitlines()[0].split()[-1])
            self.version = f"{ovs}, kernel datapath of {place.host.run(['uname', '-r']).stdout.strip()}"
            self._bridges.add_flows()

    def _take_down(self) -> list[str]:
        """What removes the kernel's datapath, which outlives the daemon and holds the module; no fault if it is gone.

        find(1) runs it where the namespace still is, and ends well whatever comes of it.
        """
        inside = ["ip", "netns", "exec", self._place.namespace]
        remove = [self._ovs.program("ovs-dpctl"), "del-dp", DATAPATH]
        return ["find", "/run/netns", "-name", self._place.namespace, "-exec", *inside, *remove, ";"]

    def attach(self) -> None:
        """See `Datapath.attach`."""
        assert self._journal is not None  # noqa: S101 - set by up
        with self._ovs.telling():
            raise_devices(self._place, self._journal, self._parameters.mtu)
            if self._place.steer:
                self._steer()
            for port in self._ports:
                self._ovs.vsctl(*self._bridges.join(port))
        self._ovs.wait_out(self._bridges.faults, PATIENCE_S)
        self._ovs.wait_out(self._bridges.links_down, FAR_PATIENCE_S)

    def _steer(self) -> None:
        """Receive packet steering: what comes in at a port is forwarded on the polling cores, wherever it came from."""
        inside = self._place.inside
        folders = [f"/sys/class/net/{port.name}/queues" for port in self._ports]
        files = inside.run(["find", *folders, "-name", "rps_cpus"]).stdout.split()
        inside.run(["tee", *files], stdin=cpu_mask(self._place.pmd_cores))

    # -- while it runs -----------------------------------------------------------------------------------------

    def readings(self) -> Sequence[Reading]:
        """See `Datapath.readings`."""
        ovs, names = self._ovs, tuple(port.name for port in self._ports)
        coverage, upcalls, shown = ovs.ask_all(("coverage/show",), ("upcall/show",), ("dpctl/show", "-s", DATAPATH))
        rows = (
            *parse_lookups(shown),
            *parse_upcalls(upcalls),
            *parse_port_stats(shown, names),
            *parse_coverage(coverage),
        )
        with ovs.telling():
            return [*starmap(Reading, rows), *device_readings(self._place.inside, names)]

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
        return None

    def restart(self, down_s: float) -> None:  # noqa: ARG002 - nothing to wait for
        """See `Datapath.restart`."""
        raise DatapathError("the kernel's datapath cannot be restarted", place="ovs_kernel")

    def down(self) -> None:
        """See `Datapath.down`."""
        self._ovs.down()
