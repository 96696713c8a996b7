"""dpdk-testpmd as a guest, and as a noisy switch: what is sent through them comes back."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from nvbench import fingerprint
from nvbench.datapaths.base import Place
from nvbench.datapaths.testpmd import Testpmd as Switch
from nvbench.datapaths.testpmd import TestpmdParameters as SwitchParameters
from nvbench.endpoint import Link, LinkKind
from nvbench.errors import GuestError
from nvbench.guests.base import GuestPlace, Nic
from nvbench.guests.testpmd import Testpmd, memory_mb
from nvbench.hosts import LocalHost, Process
from nvbench.journal import EndPrograms, Journal, Remove, Restore
from nvbench.testpmd import eal
from tests.lab.waiting import wait_until

HOST = LocalHost()
FOLDER = "/run/nvbench/test-reflector"
CORES = (0, 1)
SENDER_MB = 64
PATIENCE_S = 20.0
MANY = 1000
"""Frames; far fewer than are sent."""

FIRST_PATIENCE_S = 5.0
"""What a process is given that is asked to end, before it is made to."""


@pytest.fixture
def journal(tmp_path, as_found) -> Iterator[Journal]:
    """A journal of our own, and hugepages for two programs."""
    Path(FOLDER).parent.mkdir(exist_ok=True)
    kept = Journal(tmp_path / "journal", {HOST.name: HOST})
    found = fingerprint.memory(HOST)
    path = f"/sys/kernel/mm/hugepages/hugepages-{found['Hugepagesize']}kB/nr_hugepages"
    kept.record(HOST, Restore(path, HOST.read(path)))
    HOST.write(path, f"{int(HOST.read(path)) + 768 * 1024 // found['Hugepagesize']}\n")
    try:
        yield kept
    finally:
        assert kept.undo_since(0) == []


class Sender:
    """A program that sends out of each of its two devices, and tells every second what has come back."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def sees_frames(self) -> bool:
        """Whether frames keep coming back to both devices: many more than when it told first."""
        with suppress(TimeoutError):  # what it has told of earlier
            while self._process.receive(0.0) is not None:
                pass
        told: list[int] = []
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with suppress(TimeoutError):
                line = self._process.receive(0.5)
                assert line is not None, self._process.complaints()
                told += [int(count) for count in re.findall(r"^  RX-packets: (\d+)", line)]
            if len(told) > 3 and all(now > before + MANY for before, now in zip(told[:2], told[-2:], strict=True)):
                return True
        return False


@pytest.fixture
def stack(journal) -> Iterator[ExitStack]:
    """Takes down what is up, also where a test fails."""
    with ExitStack() as downs:
        yield downs


@contextmanager
def sending(journal: Journal, devices: Sequence[str]) -> Iterator[Sender]:
    prefix = "test-reflector-sender"
    for undo in (Remove(f"/run/dpdk/{prefix}"), EndPrograms(prefix)):
        journal.record(HOST, undo)
    vdevs = [word for device in devices for word in ("--vdev", device)]
    own = ["--total-num-mbufs=8192", "--forward-mode=flowgen", "--auto-start", "--stats-period=1"]
    process = HOST.spawn([*eal((0, 0), prefix, SENDER_MB), "--no-pci", *vdevs, "--", *own])
    try:
        yield Sender(process)
    finally:
        process.kill()


def sockets() -> list[Link]:
    return [Link(LinkKind.VHOST_USER, f"{FOLDER}/s{index}.sock") for index in (0, 1)]


def guest(**place: object) -> Testpmd:
    nics = [Nic(link, f"52:54:00:00:0a:0{index}", descriptors=256) for index, link in enumerate(sockets())]
    return Testpmd("vm1", GuestPlace(HOST, FOLDER, "", CORES), nics, **place)


@pytest.mark.parametrize("forward", ["io", "macswap"])
def test_what_goes_into_one_device_comes_out_of_the_other(journal, stack, forward):
    made = guest(forward=forward)
    stack.callback(made.down)
    made.up(journal)
    vhost = [f"net_vhost{index},iface={link.name},client=1,queues=1" for index, link in enumerate(sockets())]
    with sending(journal, vhost) as sender:
        made.ready()
        made.forward()
        assert sender.sees_frames()
        made.check_alive()
        assert made.version.startswith("testpmd of DPDK ")


def test_one_that_has_met_no_switch_goes_down_at_once(journal, stack):
    made = guest()
    stack.callback(made.down)
    made.up(journal)
    wait_until(lambda: HOST.exists(sockets()[0].name))
    began = time.monotonic()
    made.down()
    assert time.monotonic() - began < FIRST_PATIENCE_S
    assert not HOST.run(["pgrep", "-f", "[t]est-reflector-vm1"], check=False).ok


def test_it_takes_the_memory_that_it_says_and_its_death_is_noticed(journal, stack):
    made = guest()
    stack.callback(made.down)
    made.up(journal)
    vhost = [f"net_vhost{index},iface={link.name},client=1,queues=1" for index, link in enumerate(sockets())]
    with sending(journal, vhost):
        made.ready()
        pid = HOST.run(["pgrep", "-f", "[t]est-reflector-vm1"]).stdout.strip()
        found = fingerprint.memory(HOST)
        held_mb = (found["HugePages_Total"] - found["HugePages_Free"]) * found["Hugepagesize"] // 1024
        assert held_mb <= memory_mb(1, 256, 1500) + SENDER_MB + 4 * found["Hugepagesize"] // 1024
        HOST.run(["kill", "-KILL", pid])
        with pytest.raises(GuestError, match=r"guest vm1: dpdk-testpmd has ended: status -9"):
            wait_until(made.check_alive)  # until it raises


def test_it_meets_a_switch_again_that_was_killed(journal, stack):
    outer = [Link(LinkKind.VHOST_USER, f"{FOLDER}/o{index}.sock") for index in (0, 1)]
    near, far = sockets()
    switch = Switch(Place(HOST, FOLDER, (1,), 0, 256, ((outer[0], near), (far, outer[1]))), SwitchParameters())
    stack.callback(switch.down)
    made = guest()
    stack.callback(made.down)
    switch.up(journal)
    with sending(journal, virtio(outer)) as sender:
        made.up(journal)
        switch.attach()
        made.ready()
        assert sender.sees_frames()
        switch.restart(0.1)
        assert sender.sees_frames()
        made.check_alive()


def test_a_noisy_switch_buffers_looks_things_up_and_lets_frames_out_all_the_same(journal, stack):
    noise = {"noisy_buffer": 256, "noisy_flush_ms": 1, "noisy_memory_mb": 16, "noisy_reads": 8, "noisy_writes": 2}
    place = Place(HOST, FOLDER, (1,), 0, 256, (tuple(sockets()),))
    switch = Switch(place, SwitchParameters(forward="noisy", **noise))
    stack.callback(switch.down)
    switch.up(journal)
    with sending(journal, virtio(sockets())) as sender:
        switch.attach()
        assert sender.sees_frames()
        assert switch.crashed() == ""


def virtio(links: Sequence[Link]) -> list[str]:
    return [f"net_virtio_user{index},path={link.name},server=1,queue_size=256" for index, link in enumerate(links)]
