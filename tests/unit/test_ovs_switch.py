"""A private Open vSwitch: what is said to it and journalled, and how it tells what went wrong. On a scripted host."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from nvbench.datapaths import ovs_control, ovs_dpdk
from nvbench.datapaths.base import Place
from nvbench.datapaths.ovs_dpdk import OvsDpdk
from nvbench.datapaths.ovs_kernel import OvsKernel
from nvbench.datapaths.ovs_options import OvsDpdkParameters, OvsKernelParameters
from nvbench.endpoint import Link, LinkKind
from nvbench.errors import CommandError, DatapathError, NotReadyError
from nvbench.hosts import Completed

FOLDER = "/run/nvbench/t"
RXQS = """pmd thread numa_id 0 core_id 3:
  isolated : false
  port: nvp0              queue-id:  0 (enabled)   pmd usage: NOT AVAIL
  port: nvp1              queue-id:  0 (enabled)   pmd usage: NOT AVAIL
"""
DEBIAN = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"


def interfaces(**rows: dict[str, Any]) -> str:
    """What `ovs-vsctl list Interface` says; each port is as it should be but for what is given."""
    good = {"error": ["set", []], "link_state": "up", "mtu": 1500, "ofport": 1, "ingress_policing_rate": 0}
    headings = ["name", *good]
    data = [[name, *({**good, **row}[key] for key in good)] for name, row in rows.items()]
    return json.dumps({"headings": headings, "data": data})


BOTH = interfaces(nvp0={}, nvp1={"ofport": 2})


class ScriptedHost:
    """Answers a command by the first of its words that the script has; whatever is not in it succeeds in silence."""

    name = "fake"

    def __init__(self, *, absent: Sequence[str] = (), files: dict[str, str] | None = None, **answers: str) -> None:
        self.script = {
            "--version": "ovs-vswitchd (Open vSwitch) 3.1.0\nDPDK 22.11.11\n",
            "version": "ovs-vswitchd (Open vSwitch) 3.1.0\n",
            "dpdk_initialized": 'true\n"DPDK 22.11.11"\n',
            "list": BOTH,
            "fdb/stats-show": "Current/maximum MAC entries in the table: 0/8192\n",
            "dpif-netdev/pmd-rxq-show": RXQS,
        } | answers
        self.files = {
            f"{FOLDER}/ovs-vswitchd.pid": "77\n",
            "/proc/77/cmdline": f"{DEBIAN}\0unix:{FOLDER}/db.sock\0",
        } | (files or {})
        self.absent = absent
        self.ran: list[list[str]] = []

    def run(self, argv: Sequence[str], *, timeout_s=30.0, stdin="", check=True) -> Completed:
        self.ran.append([*argv, *([stdin] if stdin else [])])
        if argv[0] == "find" and "-printf" in argv:
            return Completed(tuple(argv), 0, self.each(argv), "", 0.0)
        answer = next((self.script[word] for word in argv if word in self.script), "")
        done = Completed(tuple(argv), 1 if answer.startswith("!") else 0, answer, answer[1:], 0.0)
        return done.checked(self.name) if check else done

    def each(self, argv: Sequence[str]) -> str:
        """What find(1) and the commands that it starts print, one after the other."""
        text, words = "", list(argv)
        while "-printf" in words:
            text += words[words.index("-printf") + 1]
            begin, end = words.index("-exec") + 1, words.index(";")
            text += self.run(words[begin:end]).stdout
            words = words[end + 1 :]
        return text

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def exists(self, path: str) -> bool:
        return not path.startswith("/sys/class/net/") and not any(word in path for word in self.absent)

    def make_folder(self, path: str) -> None:
        pass

    def said(self, program: str) -> list[str]:
        """The command lines of a program."""
        return [" ".join(argv) for argv in self.ran if any(word.endswith(f"/{program}") for word in argv)]


class Pages:
    """A journal on nothing."""

    def __init__(self) -> None:
        self.undos: list[Any] = []

    def record(self, host: Any, undo: Any) -> None:
        self.undos.append(undo)

    def mark(self) -> int:
        return len(self.undos)

    def undo_since(self, mark: int) -> list[str]:
        del self.undos[mark:]
        return []


def vhost(*, served: bool = False, count: int = 2) -> list[Link]:
    names = [f"{FOLDER}/nvp{index}" if served else f"{FOLDER}/vhost{index}.sock" for index in range(count)]
    return [Link(LinkKind.VHOST_USER, name, served) for name in names]


def veths() -> list[Link]:
    return [Link(LinkKind.VETH, "v0"), Link(LinkKind.VETH, "v1")]


def place(host: ScriptedHost, links: list[Link], *, namespace: str = "ns", prefix: str = "/usr") -> Place:
    segments = tuple(zip(links[::2], links[1::2], strict=True))
    return Place(host, FOLDER, (3, 5), 2, 256, segments, namespace=namespace, prefix=prefix)


def switch(host: ScriptedHost, links: list[Link] | None = None, *, where: dict[str, str] | None = None, **options: Any):
    return OvsDpdk(place(host, links or vhost(), **where or {}), OvsDpdkParameters(**options))


# -- coming up -----------------------------------------------------------------------------------------------------


def test_settings_and_bridges_are_in_the_database_before_the_switch_starts():
    host = ScriptedHost()
    ovs = switch(host, vhost(count=4), smc=True)
    ovs.up(Pages())
    first = host.said("ovs-vsctl")[0]
    assert 'other_config:pmd-cpu-mask="0x28"' in first
    assert 'other_config:dpdk-lcore-mask="0x4"' in first
    assert 'other_config:dpdk-socket-mem="256"' in first
    assert "--file-prefix t --no-pci" in first
    assert 'other_config:smc-enable="true"' in first
    assert [line.count("add-br") for line in host.said("ovs-vsctl")] == [2, 0]
    lines = [" ".join(argv) for argv in host.ran]
    started = next(index for index, line in enumerate(lines) if DEBIAN in line and "--version" not in line)
    assert lines.index(first) < started
    assert lines[started].startswith(f"ip netns exec ns env OVS_RUNDIR={FOLDER} ")
    assert ovs.version == "OVS 3.1.0, DPDK 22.11.11"


def test_each_bridge_gets_its_flows_at_once():
    host = ScriptedHost()
    switch(host, vhost(count=4)).up(Pages())
    first, second = host.said("ovs-ofctl")
    assert f"add-flows unix:{FOLDER}/nvbr0.mgmt - table=0,in_port=1,actions=output:2\n" in first
    assert f"add-flows unix:{FOLDER}/nvbr1.mgmt - " in second


def test_a_socket_that_the_switch_serves_is_there_before_the_far_ends():
    host = ScriptedHost()
    ovs = switch(host, vhost(served=True), vhost_mode="server")
    ovs.up(Pages())
    assert "add-port nvbr0 nvp1 -- set Interface nvp1 type=dpdkvhostuser ofport_request=2" in host.said("ovs-vsctl")[0]
    ovs.attach()
    assert not [line for line in host.said("ovs-vsctl")[1:] if "add-port" in line]


def test_the_main_thread_has_a_polling_core_where_it_alone_forwards():
    host = ScriptedHost(list=interfaces(v0={}, v1={"ofport": 2}), **{"dpif-netdev/pmd-rxq-show": ""})
    ovs = switch(host, veths(), queues=2)
    ovs.up(Pages())
    assert 'other_config:dpdk-lcore-mask="0x8"' in host.said("ovs-vsctl")[0]
    ovs.attach()
    assert ["ip", "netns", "exec", "ns", "ip", "link", "set", "dev", "v0", "mtu", "1500", "up"] in host.ran
    assert not [argv for argv in host.ran if "renice" in argv]
    assert ovs.findings[0] == "port v0: type=system has one receive queue, polled by the main thread"


@pytest.mark.parametrize("option", ["", "/opt/ovs-3.4"])
def test_every_program_is_of_the_prefix(option):
    host = ScriptedHost(absent=["switch-dpdk"])
    ovs = switch(host, where={"prefix": "/opt/other" if option else "/opt/ovs-3.4"}, prefix=option)
    ovs.up(Pages())
    ovs.attach()
    ours = {word for argv in host.ran for word in argv if word.startswith("/opt/ovs-3.4/")}
    assert ours == {
        f"/opt/ovs-3.4/{path}"
        for path in (
            "bin/ovs-vsctl",
            "bin/ovs-appctl",
            "bin/ovs-ofctl",
            "bin/ovsdb-tool",
            "sbin/ovsdb-server",
            "sbin/ovs-vswitchd",
            "share/openvswitch/vswitch.ovsschema",
        )
    }
    assert not [word for argv in host.ran for word in argv if word.startswith(("ovs", "/usr/", "/opt/other"))]
    assert ovs.version == f"OVS 3.1.0{' of /opt/ovs-3.4' if option else ''}, DPDK 22.11.11"


def test_readings_tell_which_core_polls_which_queue():
    ovs = switch(ScriptedHost())
    ovs.up(Pages())
    ovs.attach()
    polled = {each.source: each.value for each in ovs.readings() if each.metric == "polling_core"}
    assert polled == {"port nvp0 queue 0": 3, "port nvp1 queue 0": 3}


@pytest.mark.parametrize(
    ("absent", "version", "told"),
    [
        ([], "ovs-vswitchd (Open vSwitch) 3.1.0\nDPDK 22.11.11\n", ""),
        (["ovsdb-tool"], "", "/usr/bin/ovsdb-tool is not there"),
        ([], "ovs-vswitchd (Open vSwitch) 3.1.0\n", f"{DEBIAN} is built without DPDK"),
    ],
)
def test_what_is_missing(absent, version, told):
    assert switch(ScriptedHost(absent=absent, **{"--version": version})).missing() == told


def test_a_device_of_the_host_goes_back_to_what_it_was():
    files = {"/sys/class/net/eth2/mtu": "9000\n", "/sys/class/net/eth2/flags": "0x1002\n"}
    rows = interfaces(eth2={}, nvp1={"ofport": 2})
    host = ScriptedHost(files=files, list=rows)
    journal = Pages()
    ovs = switch(host, [Link(LinkKind.DEVICE, "eth2"), vhost()[1]], where={"namespace": ""})
    ovs.up(journal)
    ovs.attach()
    assert [undo.name for undo in journal.undos if undo.kind == "remove_link"] == ["nvbr0", "ovs-netdev"]
    assert journal.undos[-1].argv == ("ip", "link", "set", "dev", "eth2", "mtu", "9000", "promisc", "off", "down")
    ovs.down()
    assert journal.undos == []


# -- faults --------------------------------------------------------------------------------------------------------


def test_a_port_that_the_switch_refuses_is_told_with_the_logs_end():
    log = "2026-01-01T00:00:00.000Z|00069|dpdk|ERR|Frame size (4018) > device max frame size (1518) for port_id 0\n"
    host = ScriptedHost(
        list=interfaces(nvp0={"error": "could not add network device nvp0"}, nvp1={"ofport": 2}),
        files={f"{FOLDER}/ovs-vswitchd.log": log},
    )
    ovs = switch(host)
    ovs.up(Pages())
    with pytest.raises(DatapathError, match=r"port nvp0: could not add .*ends: dpdk\|ERR\|Frame size \(4018\)"):
        ovs.attach()


@pytest.mark.parametrize(
    ("answers", "options", "told"),
    [
        ({"list": interfaces(nvp0={"link_state": "down"}, nvp1={"ofport": 2})}, {}, "port nvp0: no link"),
        ({}, {"queues": 2}, "port nvp0: 1 queues are polled, not 2"),
        ({}, {"rxq_affinity": "0:5"}, "port nvp1: queue 0 is polled by core 3, not 5"),
    ],
)
def test_what_far_ends_have_a_say_in_is_waited_for_and_then_told(answers, options, told, monkeypatch):
    monkeypatch.setattr(ovs_dpdk, "FAR_PATIENCE_S", 0.0)
    ovs = switch(ScriptedHost(**answers), **options)
    ovs.up(Pages())
    with pytest.raises(DatapathError, match=told):
        ovs.attach()


@pytest.mark.parametrize("link_state", ["up", "down"])
def test_the_switch_looks_again_at_a_port_of_which_it_tells_no_mtu(link_state):
    class Forgetful(ScriptedHost):
        def run(self, argv, **options):
            if "mod-port" in argv and argv[-1] == "up":
                self.script["list"] = BOTH
            return super().run(argv, **options)

    host = Forgetful(list=interfaces(nvp0={"mtu": ["set", []], "link_state": link_state}, nvp1={"ofport": 2}))
    ovs = switch(host)
    ovs.up(Pages())
    ovs.attach()
    looked = [line.rpartition("mgmt ")[2] for line in host.said("ovs-ofctl") if "mod-port" in line]
    assert looked == ["nvp0 down", "nvp0 up"]


def test_an_option_that_is_passed_over_in_silence_is_a_finding():
    ovs = switch(ScriptedHost(), userspace_tso=True)
    ovs.up(Pages())
    ovs.attach()
    assert ovs.findings == ["userspace_tso: the switch's log does not confirm it"]


def test_fewer_descriptors_than_asked_for_are_a_finding():
    links = [Link(LinkKind.PCI, "0000:3b:00.0"), Link(LinkKind.PCI, "0000:3b:00.1")]
    shown = "  port 1: nvp0 (dpdk: configured_rx_queues=1, configured_rxq_descriptors=1024)\n"
    host = ScriptedHost(**{"dpctl/show": shown})
    ovs = switch(host, links)
    ovs.up(Pages())
    assert "-a 0000:3b:00.0 -a 0000:3b:00.1" in host.said("ovs-vsctl")[0]
    ovs.attach()
    assert ovs.findings == ["port nvp0: 1024 rxq descriptors, not 4096"]


def test_dpdk_that_does_not_initialise():
    with pytest.raises(DatapathError, match="DPDK did not initialise"):
        switch(ScriptedHost(dpdk_initialized='false\n""\n')).up(Pages())


def test_a_network_device_of_somebody_elses_is_left_alone():
    host = ScriptedHost()
    host.exists = lambda path: path == "/sys/class/net/ovs-netdev"
    with pytest.raises(NotReadyError, match="ovs-netdev is there already"):
        switch(host, where={"namespace": ""}).up(Pages())


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("T|1|dpdk|EMER|Unable to initialize DPDK\nT|2|bridge|INFO|more\n", r"ends: dpdk\|EMER\|Unable"),
        (
            "T|1|x|WARN|noise\nT|2|daemon_unix|ERR|1 crashes: pid 77 died, killed (Segmentation fault)\n",
            r"ends: daemon_unix\|ERR\|1 crashes: pid 77 died, killed \(Segmentation fault\)$",
        ),
        ("T|1|dpdk|INFO|VHOST_CONFIG: new device\n", r"ends: dpdk\|INFO\|VHOST_CONFIG: new device"),
        ("", "ovs-vswitchd-dpdk, process 77, has gone$"),
    ],
)
def test_a_switch_that_has_gone_is_told_in_its_logs_words(log, told):
    host = ScriptedHost(files={f"{FOLDER}/ovs-vswitchd.log": log})
    ovs = switch(host)
    assert ovs.crashed() == ""  # it was never up
    ovs.up(Pages())
    assert ovs.crashed() == ""
    host.files["/proc/77/cmdline"] = "/usr/bin/somebody-else"
    assert re.search(told, ovs.crashed())


def test_a_crash_over_a_new_port_is_noticed_at_once():
    host = ScriptedHost(**{"fdb/stats-show": "!connection refused"})
    ovs = switch(host)
    ovs.up(Pages())
    host.files.pop("/proc/77/cmdline")
    with pytest.raises(DatapathError, match="process 77, has gone"):
        ovs.attach()


# -- the kernel's datapath -----------------------------------------------------------------------------------------


def kernel(host: ScriptedHost, namespace: str = "ns") -> OvsKernel:
    return OvsKernel(place(host, veths(), namespace=namespace), OvsKernelParameters())


@pytest.mark.parametrize(
    ("absent", "grep", "told"),
    [
        ([], "", ""),
        (["/sys/module"], "", ""),
        (["/sys/module"], "!", "the kernel has no openvswitch module"),
        (["ovs-vsctl"], "", "/usr/bin/ovs-vsctl is not there"),
    ],
)
def test_the_kernels_datapath_needs_its_module(absent, grep, told):
    assert kernel(ScriptedHost(absent=absent, grep=grep)).missing() == told


@pytest.mark.parametrize("loaded", [True, False])
def test_a_module_that_was_not_loaded_goes_again(loaded):
    host = ScriptedHost(absent=[] if loaded else ["/sys/module"], list=interfaces(v0={}, v1={"ofport": 2}))
    journal = Pages()
    ovs = kernel(host)
    ovs.up(journal)
    ovs.attach()
    kinds = [undo.kind for undo in journal.undos]
    module = [] if loaded else ["run_back"]
    # What holds the module goes before it: the daemon, then the datapath.
    assert kinds == ["remove", *module, "run_back", "stop_daemon", "stop_daemon"]
    assert (["modprobe", "openvswitch"] in host.ran) is not loaded
    if not loaded:
        assert journal.undos[1].argv == ("modprobe", "-r", "openvswitch")
    assert "datapath_type=system" in host.said("ovs-vsctl")[0]
    assert "add-port nvbr0 v1 -- set Interface v1 type=system ofport_request=2" in " ".join(host.said("ovs-vsctl"))


def test_the_kernels_datapath_wants_a_namespace_of_its_own():
    with pytest.raises(NotReadyError, match="network namespace"):
        kernel(ScriptedHost(), namespace="").up(Pages())


def test_a_control_socket_is_asked_one_thing_after_the_other(tmp_path):
    path = str(tmp_path / "ctl")
    with socket.create_server(path, family=socket.AF_UNIX) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                for result in ("46 events\n", None):
                    asked.append(json.loads(connection.recv(4096)))
                    answer = json.dumps({"id": 0, "result": result, "error": None if result else "no such command"})
                    connection.sendall(answer[:9].encode())
                    time.sleep(0.01)  # an answer may come in pieces
                    connection.sendall(answer[9:].encode())
                connection.recv(4096)

        asked: list[dict[str, Any]] = []
        thread = threading.Thread(target=serve)
        thread.start()
        assert ovs_control.ask(path, [["coverage/show"], ["dpctl/show", "-s"]]) == ["46 events\n", ""]
        thread.join()
        assert [(each["method"], each["params"]) for each in asked] == [("coverage/show", []), ("dpctl/show", ["-s"])]


def test_a_control_socket_that_closes_is_a_switch_that_has_gone(tmp_path):
    path = str(tmp_path / "ctl")
    with pytest.raises(CommandError, match="no answer"):
        ovs_control.ask(path, [["version"]])
    with socket.create_server(path, family=socket.AF_UNIX) as server:

        def hang_up() -> None:
            server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(CommandError, match="no answer"):
            ovs_control.ask(path, [["version"]])
        thread.join()


def test_a_switch_elsewhere_is_asked_in_one_round_trip():
    host = ScriptedHost(**{"coverage/show": "netdev_sent 0/sec 0/sec 0/sec   total: 7\n"})
    ovs = switch(host)
    ovs.up(Pages())
    ovs.attach()
    ovs.readings()
    before = len(host.ran)
    counted = {(each.source, each.metric): each.value for each in ovs.readings()}
    assert counted["coverage", "netdev_sent"] == 7
    trips = [argv[0].rpartition("/")[2] for argv in host.ran[before:] if "ovs-appctl" not in argv[0]]
    assert trips == ["ovs-ofctl", "find"]
