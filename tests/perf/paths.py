"""How long does a path take to come up and go down, and what does nvbench cost while streams run?

    python tests/perf/paths.py [ROUNDS]

Beside each path stands the same done by hand, in a shell script, in turns. Needs root; nothing is left behind. Only the
ratios mean anything on a shared machine.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from nvbench.bench import Bench, bench
from nvbench.guests.emulator import Machine, console, find_emulator
from nvbench.guests.image import image
from nvbench.guests.saved import READY
from nvbench.hosts import Completed, LocalHost
from nvbench.plan import Plan, Setup, make_plan
from nvbench.profile import read_profile
from nvbench.rigs import stream_rig
from nvbench.store import RunHeader, RunWriter
from nvbench.stream_run import StreamRun
from nvbench.streaming import Streaming
from nvbench.testbed import load_testbed

CACHE = "/var/cache/nvbench"
PROFILE = """\
name: perf
datapath: {kind: KIND, topology: VM-to-VM, guest: GUEST}
tests: {tcp_stream: {tool: iperf3, duration_s: 6.0, warmup_s: 0.0, repeats: 1}}
"""

BRIDGE_BY_HAND = """
set -e
ip netns add hs; ip netns add h1; ip netns add h2
ip -n hs link add br0 type bridge; ip -n hs link set br0 up
for i in 1 2; do
    ip -n hs link add p$i type veth peer name eth0 netns h$i
    ip -n hs link set p$i master br0 up
    ip -n h$i link set eth0 up; ip -n h$i address add 10.99.0.$i/24 dev eth0
done
ip netns del h1; ip netns del h2; ip netns del hs
"""

OVS_BY_HAND = """
set -e
D=$(mktemp -d); export OVS_RUNDIR=$D OVS_LOGDIR=$D OVS_DBDIR=$D OVS_SYSCONFDIR=$D
ip netns add hs; ip netns add h1; ip netns add h2
ovsdb-tool create $D/conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server $D/conf.db --remote=punix:$D/db.sock --pidfile=$D/db.pid --detach --log-file=$D/db.log
V="ovs-vsctl --db=unix:$D/db.sock"
$V --no-wait init
$V --no-wait set Open_vSwitch . other_config:dpdk-init=true other_config:pmd-cpu-mask=0x2 \\
    other_config:dpdk-socket-mem=1024 other_config:dpdk-extra="--in-memory --no-pci --no-telemetry --file-prefix hand"
ip netns exec hs /usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk unix:$D/db.sock --pidfile=$D/vs.pid --detach \\
    --log-file=$D/vs.log --unixctl=$D/vs.ctl
$V add-br br0 -- set bridge br0 datapath_type=netdev
for i in 1 2; do
    ip -n hs link add p$i type veth peer name eth0 netns h$i; ip -n hs link set p$i up
    ip -n h$i link set eth0 up; ip -n h$i address add 10.99.0.$i/24 dev eth0
    ip netns exec h$i ethtool -K eth0 tx off >/dev/null
    $V add-port br0 p$i
done
for f in vs db; do kill $(cat $D/$f.pid); while [ -e $D/$f.pid ]; do sleep 0.02; done; done
ip netns del h1; ip netns del h2; ip netns del hs; rm -r $D /run/dpdk/hand
"""


def setup_of(kind: str, guest: str) -> tuple[Setup, Plan]:
    """The one set-up of the profile with a datapath and guests of these kinds."""
    text = PROFILE.replace("KIND", kind).replace("GUEST", guest)
    plan = make_plan(read_profile("perf.yaml", text.encode()), load_testbed("local"))
    return next(plan.setups), plan


def timed(action: Callable[[], object]) -> float:
    """Seconds that an action takes."""
    began = time.monotonic()
    action()
    return time.monotonic() - began


def by_hand(script: str) -> Callable[[], object]:
    """A shell script as an action."""
    return lambda: subprocess.run(["bash", "-c", script], check=True, capture_output=True)


def two_machines_by_hand() -> None:
    """Boot two virtual machines of the same image from their kernel, until both consoles say that they are ready."""
    host = LocalHost()
    machine = Machine(find_emulator(host, CACHE), image(host, CACHE, "cloud"), memory_mb=384, vcpus=1, kvm=False)
    with tempfile.TemporaryDirectory() as folder:
        homes = [f"{folder}/{number}" for number in range(2)]
        for home in homes:
            Path(home).mkdir()
        booting = [
            subprocess.Popen(machine.argv(home), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) for home in homes
        ]
        while not all(Path(console(home)).exists() and READY in Path(console(home)).read_text() for home in homes):
            time.sleep(0.05)
        for each in booting:
            each.kill()
            each.wait()


class Metered(LocalHost):
    """A host that knows what its commands have cost."""

    spent_s = 0.0

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: str = "", check: bool = True) -> Completed:
        """See `Host.run`."""
        before = _children_s()
        try:
            return super().run(argv, timeout_s=timeout_s, stdin=stdin, check=check)
        finally:
            Metered.spent_s += _children_s() - before


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _own_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def compare(held: Bench, name: str, setup: Setup, hand: Callable[[], object], rounds: int) -> None:
    """Print the times of a path, by nvbench and by hand, taken in turns."""

    def by_nvbench() -> None:
        with stream_rig(held, setup):
            pass

    times = [(timed(by_nvbench), timed(hand)) for _ in range(rounds)]
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{name:<34}{ours:7.2f} s   by hand {theirs:7.2f} s   ratio {ours / theirs:5.2f}")


def cost(held: Bench, setup: Setup) -> None:
    """Print what nvbench itself spends while iperf3 runs for some seconds."""
    with tempfile.TemporaryDirectory() as folder, RunWriter.create(Path(folder), RunHeader("perf", "local")) as store:
        streaming = Streaming(setup.cases, store, lambda text: None, 1)
        with stream_rig(held, setup) as rig:
            share = _share_while_running(lambda: streaming.go_on(rig))
        row = next(iter(streaming.answers()))
    rate = (row.value_median or 0.0) / 1e9
    print(f"while iperf3 runs ({rate:.2f} Gbit/s)   nvbench and its commands: {100 * share:.1f} % of a core")


def _share_while_running(action: Callable[[], object]) -> float:
    """Share of a core that nvbench and its commands take while a tool runs."""
    watched, seen = StreamRun._watched, []

    def metered(run: StreamRun, argv: list[str]) -> Completed:
        Metered.spent_s, own, began = 0.0, _own_s(), time.monotonic()
        try:
            return watched(run, argv)
        finally:
            seen.append((_own_s() - own + Metered.spent_s) / (time.monotonic() - began))

    StreamRun._watched = metered  # type: ignore[method-assign]
    try:
        action()
    finally:
        StreamRun._watched = watched  # type: ignore[method-assign]
    return statistics.mean(seen)


def main() -> None:
    """All paths, one after another."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    bridge, _ = setup_of("linux_bridge", "namespace")
    ovs, ovs_plan = setup_of("ovs_dpdk", "namespace")
    machines, _ = setup_of("ovs_dpdk", "qemu")
    with bench(load_testbed("local")) as held:
        held.make_ready(ovs_plan)
        compare(held, "linux_bridge, two namespaces", bridge, by_hand(BRIDGE_BY_HAND), rounds)
        compare(held, "ovs_dpdk, two namespaces", ovs, by_hand(OVS_BY_HAND), rounds)
        compare(held, "ovs_dpdk, two VMs (saved state)", machines, two_machines_by_hand, rounds)
        held.switch_host._host = Metered()
        cost(held, bridge)


if __name__ == "__main__":
    main()
