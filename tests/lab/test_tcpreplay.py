"""tcpreplay through the kernel's bridge: it offers what is asked, counts what comes back, and ends with its owner."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

import nvbench
from nvbench.cabling import make_namespace, make_veth
from nvbench.endpoint import Port
from nvbench.errors import GeneratorError
from nvbench.generators.base import Layout, Live, Seat
from nvbench.generators.capture import capture, read_capture
from nvbench.generators.tcpreplay import TCPREPLAY, Tcpreplay
from nvbench.hosts import LocalHost, NamespaceHost
from nvbench.journal import locked
from nvbench.traffic import Direction, FlowField, Traffic
from nvbench.trial import AbortRule, Trial, Validity
from tests.lab.conftest import running
from tests.lab.waiting import until, wait_until

pytestmark = [
    pytest.mark.skipif(not shutil.which("tcpreplay"), reason="needs tcpreplay"),
    pytest.mark.usefixtures("as_found"),
]

HOST = LocalHost("local")
OWN = f"tcpr{os.getpid()}"
NO_ABORT = AbortRule()
PORTS = (Port((), "net_af_packet0", "gen0"), Port((), "net_af_packet1", "gen1"))


@contextmanager
def bridged(folder: Path) -> Iterator[tuple[Seat, NamespaceHost]]:
    """A seat with a port at each end of a bridge, and the bridge's namespace."""
    with locked(OWN, {HOST.name: HOST}) as journal:
        switch = make_namespace(HOST, journal, f"{OWN}s")
        ends = make_namespace(HOST, journal, f"{OWN}g")
        switch.run(["ip", "link", "add", "bridge0", "type", "bridge", "mcast_snooping", "0"])
        switch.run(["ip", "link", "set", "bridge0", "up"])
        for index in (0, 1):
            make_veth(switch, f"nv{index}", ends, f"gen{index}")
            switch.run(["ip", "link", "set", f"nv{index}", "master", "bridge0", "up"])
            ends.run(["ip", "link", "set", f"gen{index}", "up"])
        yield Seat(ends, Layout(PORTS, (0, 1)), 0, OWN, str(folder / OWN), str(folder)), switch


@contextmanager
def started(seat: Seat, traffic: Traffic) -> Iterator[Tcpreplay]:
    generator = TCPREPLAY.start(seat)
    try:
        generator.ready()
        generator.configure(traffic)
        generator.learn()
        yield generator
    finally:
        generator.close()


def agrees(trial: Trial) -> bool:
    """Whether it offered within 5 % of what was asked, in the time that was asked, and all of it came back."""
    return (
        trial.validity in (Validity.VALID, Validity.UNDERSENT)
        and trial.offered_pps == pytest.approx(trial.intended_pps, rel=0.05)
        and trial.elapsed_s == pytest.approx(trial.duration_s, rel=0.05)
        and [each.sent for each in trial.directions] == [each.received for each in trial.directions]
    )


def test_a_paced_load_arrives_frame_by_frame(tmp_path) -> None:
    with bridged(tmp_path) as (seat, _), started(seat, Traffic(64, flows=256)) as generator:
        for load, seconds in ((1000.0, 1.0), (20_000.0, 0.7)):
            lives: list[Live] = []
            trial = until(agrees, lambda asked=(load, seconds, NO_ABORT, lives.append): generator.trial(*asked))
            assert trial.total.sent == trial.total.received == pytest.approx(load * seconds, rel=0.05)
        assert len(lives) > 5
        assert lives[-1].total.sent > lives[-4].total.sent


def test_both_directions_tags_mixed_sizes_and_addresses(tmp_path) -> None:
    traffic = Traffic.mixed(
        "aaaaaaabbbbg",
        flows=100,
        vary=(FlowField.MAC_SRC, FlowField.IP_DST),
        vlan=100,
        direction=Direction.BIDIRECTIONAL,
    )
    with bridged(tmp_path) as (seat, switch), started(seat, traffic) as generator:
        until(agrees, lambda: generator.trial(5000.0, 0.5, NO_ABORT))
        learned = switch.run(["bridge", "fdb", "show", "dynamic"]).stdout.count("02:00:00:00:0")
    assert learned == 200


def strange_frames(folder: Path) -> tuple[Path, list[bytes]]:
    """A capture file of frames that nvbench would not make, and these."""
    here, there = "02:aa:00:00:00:01", "02:bb:00:00:00:01"
    packets = [
        Ether(src=here, dst="ff:ff:ff:ff:ff:ff") / ARP(psrc="192.0.2.1", pdst="192.0.2.2") / Raw(bytes(18)),
        Ether(src=here, dst=there) / Dot1Q(vlan=5) / IP() / TCP() / Raw(b"x" * 1460),
        Ether(src=here, dst=there) / IPv6() / ICMPv6EchoRequest(data=b"y" * 700),
        Ether(src=here, dst="33:33:00:00:00:01") / IPv6(dst="ff02::1") / ICMPv6EchoRequest(),
        Ether(src=here, dst=there, type=0x88B5) / Raw(b"z" * 1500),
        Ether(src=here, dst=there, type=44) / Raw(b"a length where others have a type, and short"),
    ]
    frames = [bytes(packet) for packet in packets]
    path = folder / "strange.pcap"
    path.write_bytes(capture(frames))
    return path, frames


def test_the_frames_of_a_file_arrive_as_they_are_in_their_order_over_and_over(tmp_path: Path) -> None:
    path, frames = strange_frames(tmp_path)
    assert [len(frame) for frame in frames] == [60, 1518, 762, 62, 1514, 58]
    with bridged(tmp_path) as (seat, _), started(seat, Traffic.captured(read_capture(str(path))[0])) as generator:
        script = str(tmp_path / "listen.py")
        Path(script).write_text(LISTENER)
        listener = seat.host.spawn([sys.executable, "-u", script, "gen1", "30"])
        try:
            assert listener.receive(30.0) == "listening"
            trial = until(agrees, lambda: generator.trial(1000.0, 0.2, NO_ABORT))
            came = [listener.receive(30.0) for _ in range(30)]
        finally:
            listener.close()
    assert trial.total.sent == trial.total.received == pytest.approx(200, rel=0.1)
    assert not trial.total.foreign
    assert came == [frame.hex() for frame in frames] * 5


def test_a_run_of_files_and_what_a_switch_learns_from_one_is_not_held_against_the_other(tmp_path: Path) -> None:
    path, frames = strange_frames(tmp_path)
    talk = [frames[1], frames[1][6:12] + frames[1][:6] + frames[1][12:]]  # there, and back
    (tmp_path / "talk.pcap").write_bytes(capture(talk))
    (tmp_path / "own.yaml").write_text(PROFILE)
    words = ["run", str(tmp_path / "own.yaml"), "--results", str(tmp_path / "results")]
    done = subprocess.run(
        [sys.executable, "-m", "nvbench", *words], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "results").glob("2*")
    results = nvbench.open_results(folder)
    rows = {row["case_id"].rpartition("_")[0]: row for row in results.results().to_pylist()}
    digest = read_capture(str(path))[0].digest
    row = rows["linux_bridge-1q-pcap_strange"]
    assert row["case_id"].endswith(f"_{digest}")
    assert (row["generator"], row["frame_bytes"]) == ("tcpreplay", 667)
    assert {"name": "pcap", "value": f"strange@{digest}"} in row["settings"]
    assert row["rate_pps"] > 1000
    assert row["loss_ratio"] < 0.1
    assert rows["linux_bridge-1q-pcap_talk"]["loss_ratio"] > 0.9
    (told,) = [warning for warning in results.runs[0].record["warnings"] if "keeps them back" in warning]
    assert ": 2 of 2 frames go to an address that the file also sends from: linux_bridge learned it" in told
    assert not any(trial["foreign_frames"] for trial in results.trials().to_pylist())
    assert f"frames of strange@{digest}" in done.stdout


PROFILE = """\
name: own
link_gbps: 0.05
datapath: {kind: linux_bridge}
traffic: {pcap: [talk.pcap, strange.pcap]}
tests: {mrr: {duration_s: 0.3, repeats: 2}}
drain_s: 0.1
"""

LISTENER = """\
import socket, sys
device = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
device.bind((sys.argv[1], 0))
device.setsockopt(263, 8, 1)  # PACKET_AUXDATA: the kernel keeps tags beside the frame
print("listening")
left = int(sys.argv[2])
while left:
    data, notes, _, address = device.recvmsg(65536, 64)
    if address[2] == socket.PACKET_OUTGOING:
        continue
    for _, _, note in notes:
        if int.from_bytes(note[:4], sys.byteorder) & 16:  # TP_STATUS_VLAN_VALID
            data = data[:12] + b"\\x81\\x00" + int.from_bytes(note[16:18], sys.byteorder).to_bytes(2, "big") + data[12:]
    print(data.hex())
    left -= 1
"""


def test_flat_out_it_says_what_it_reached(tmp_path) -> None:
    with bridged(tmp_path) as (seat, _), started(seat, Traffic(64)) as generator:
        trial = until(
            lambda trial: trial.validity in (Validity.UNDERSENT, Validity.PAUSED) and trial.elapsed_s < 0.9,
            lambda: generator.trial(14.88e6, 0.5, NO_ABORT),
        )
    assert 1000 < trial.offered_pps < 14e6
    assert trial.elapsed_s > 0.1


def test_loss_is_counted_and_ends_a_trial_that_has_failed(tmp_path) -> None:
    with bridged(tmp_path) as (seat, switch), started(seat, Traffic(512)) as generator:
        limit = ["root", "tbf", "rate", "10mbit", "burst", "10kb", "limit", "20kb"]  # about 2500 frames a second
        switch.run(["tc", "qdisc", "add", "dev", "nv1", *limit])
        whole = until(
            lambda trial: trial.valid and 1500 < trial.total.received < 3500,
            lambda: generator.trial(10_000.0, 1.0, NO_ABORT),
        )
        ended = until(lambda trial: trial.valid, lambda: generator.trial(10_000.0, 20.0, AbortRule(1000)))
    assert 0.6 < whole.loss_ratio < 0.9
    assert ended.aborted
    assert ended.elapsed_s < 10


def test_a_device_that_refuses_frames_refuses_them_at_the_door(tmp_path) -> None:
    with bridged(tmp_path) as (seat, switch), started(seat, Traffic(64)) as generator:
        switch.run(["ip", "link", "set", "nv0", "down"])
        trial = until(
            lambda trial: trial.total.refused == pytest.approx(500, rel=0.05),
            lambda: generator.trial(1000.0, 0.5, NO_ABORT),
        )
    assert trial.total.sent == trial.total.received == 0
    assert trial.loss_ratio == 1.0


def test_a_device_that_has_gone_is_told(tmp_path) -> None:
    with bridged(tmp_path) as (seat, switch), started(seat, Traffic(64)) as generator:
        switch.run(["ip", "link", "delete", "nv0"])
        with pytest.raises(GeneratorError, match="gen0"):
            generator.trial(1000.0, 0.5, NO_ABORT)


CONTROLLER = """\
import sys
from nvbench.hosts import LocalHost, NamespaceHost
from nvbench.generators.base import Seat
from nvbench.traffic import Traffic
from nvbench.trial import AbortRule
from tests.lab.test_tcpreplay import PORTS, Layout, TCPREPLAY
host = NamespaceHost(LocalHost(), sys.argv[1])
generator = TCPREPLAY.start(Seat(host, Layout(PORTS, (0, 1)), 0, sys.argv[2], sys.argv[3], sys.argv[3]))
generator.configure(Traffic(64))
generator.trial(1000.0, 60.0, AbortRule(), lambda _: print("live", flush=True))
"""


@pytest.mark.parametrize("victim", ["controller", "far end"])
def test_nothing_keeps_sending_when_either_end_is_killed(tmp_path, victim) -> None:
    with bridged(tmp_path):
        argv = [sys.executable, "-c", CONTROLLER, f"{OWN}g", OWN, str(tmp_path / "f")]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as controller:
            assert controller.stdout is not None
            assert controller.stdout.readline() == "live\n"
            (far,) = running("f/tcpreplay_far.py")
            wait_until(lambda: running(f"{OWN}-play0.pcap"))
            os.kill(controller.pid if victim == "controller" else far, signal.SIGKILL)
            wait_until(lambda: not running(f"{OWN}-play0.pcap"))
            controller.kill()
        wait_until(lambda: not running("f/tcpreplay_far.py"))
