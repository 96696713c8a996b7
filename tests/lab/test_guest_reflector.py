"""Virtual machines in which dpdk-testpmd passes frames on: what goes in comes out, as asked, also through OVS-DPDK."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import nvbench
from nvbench.endpoint import Link, LinkKind
from nvbench.errors import GuestError
from nvbench.guests.base import GuestPlace, Nic
from nvbench.guests.qemu import Qemu, QemuParameters
from nvbench.guests.reflector import machine_mb
from nvbench.hosts import LocalHost
from nvbench.journal import Journal
from tests.lab.test_run import NVBENCH, only_run
from tests.lab.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.usefixtures("as_found")

HOST = LocalHost()
FOLDER = "/run/nvbench/test-reflecting-machine"
MTU = 4000
TAPS = ("nvtm0", "nvtm1")
NEAR, FAR = bytes.fromhex("021111111111"), bytes.fromhex("022222222222")
KIND = 0x88B5
"""IEEE 802's number for local experiments."""

BED = """\
name: reflecting
link_gbps: 10
generator: {ports: [{virtual: true}, {virtual: true}]}
switch: {ports: [{virtual: true}, {virtual: true}], socket_memory_mb: 512}
guests: {forwarder: testpmd, forward: macswap}
"""
FLAT_OUT = [
    "ceiling=false",
    "traffic.frame_bytes=512",
    "datapath.queues=1",
    "datapath.topology=PVP",
    "datapath.guest=qemu",
    "tests.throughput=null",
    "tests.latency=null",
    "tests.mrr.duration_s=0.5",
    "tests.mrr.repeats=2",
]


@contextmanager
def machine(path: Path, **parameters: object) -> Iterator[Qemu]:
    """One with two taps on this machine, which passes frames on."""
    Path(FOLDER).parent.mkdir(exist_ok=True)
    journal = Journal(path / "journal", {HOST.name: HOST})
    nics = [
        Nic(Link(LinkKind.TAP, tap), f"52:54:00:00:0b:0{index}", mtu=MTU, queues=2) for index, tap in enumerate(TAPS)
    ]
    asked = QemuParameters(forwarder="testpmd", **parameters)
    made = Qemu("vm1", GuestPlace(HOST, FOLDER, "", (0, 1)), nics, asked)
    try:
        made.up(journal)
        made.ready()
        made.forward()
        yield made
    finally:
        made.down()
        assert journal.undo_since(0) == []


def through(frame: bytes) -> bytes:
    """What comes out of one tap when a frame went into the other."""
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as near,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as far,
    ):
        near.bind((TAPS[0], 0))
        far.bind((TAPS[1], KIND))
        far.settimeout(PATIENCE_S)
        near.send(frame)
        return far.recv(2 * MTU)


def test_frames_come_back_with_their_addresses_swapped_until_it_dies(tmp_path):
    with machine(tmp_path, forward="macswap", memory_mb=machine_mb(2, MTU), vcpus=2) as made:
        assert made.version.startswith("Linux ")
        assert ", testpmd of DPDK " in made.version
        assert made.devices == ()
        for payload in (b"small".ljust(60), b"large".ljust(MTU)):
            kind = KIND.to_bytes(2, "big")
            assert through(FAR + NEAR + kind + payload) == NEAR + FAR + kind + payload
        made.check_alive()
        made.host.run(["pkill", "-KILL", "-x", "dpdk-testpmd"])
        with pytest.raises(GuestError, match=r"guest vm1: dpdk-testpmd has ended: status 137"):
            wait_until(made.check_alive)  # until it raises


def test_frames_come_back_through_ovs_dpdk(tmp_path):
    (tmp_path / "bed.yaml").write_text(BED)
    words = [word for setting in FLAT_OUT for word in ("-s", setting)]
    where = ["--testbed", str(tmp_path / "bed.yaml"), "--results", str(tmp_path / "results")]
    done = subprocess.run(
        [*NVBENCH, "run", "10ge-forwarding", "--quick", *where, *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    path = only_run(tmp_path / "results")
    trials = nvbench.open_results(path).trials().to_pylist()
    came_back = [row["received_frames"] for row in trials if row["topology"] == "PVP"]
    assert max(came_back) > 100, done.stdout
    assert json.loads((path / "run.json").read_text())["state"] == "finished"
