"""Virtual machines on a host behind SSH: what they boot is brought there, and they are reached through it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nvbench.endpoint import Link, LinkKind
from nvbench.errors import LostConnectionError
from nvbench.guests.base import CACHE, GuestPlace, Nic
from nvbench.guests.emulator import find_emulator
from nvbench.guests.kept import target
from nvbench.guests.qemu import Qemu
from nvbench.hosts import LocalHost
from nvbench.hosts.ssh import SshHost
from nvbench.journal import Journal
from tests.lab.conftest import leaves_no_trace, running
from tests.lab.two_hosts import TwoHosts, two_hosts
from tests.lab.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.skipif(shutil.which("sshd", path="/usr/sbin") is None, reason="needs sshd: openssh-server")

FOLDER = "/run/nvbench/test-remote-guests"
TAP = Nic(Link(LinkKind.TAP, "nvtr1"), "52:54:00:00:09:01", "10.99.9.1/24", mtu=4000)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory) -> Iterator[TwoHosts]:
    with leaves_no_trace(), two_hosts(tmp_path_factory.mktemp("hosts")) as both:
        yield both


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> str:
    """The far host's, with no image in it; a QEMU is there, for a bench may have no way to an archive."""
    find_emulator(LocalHost(), CACHE)
    folder = tmp_path_factory.mktemp("cache")
    (folder / "guests").mkdir()
    if kept := target(LocalHost(), f"{CACHE}/guests/qemu"):
        (folder / "guests" / "qemu").symlink_to(kept)
    return str(folder)


@contextmanager
def bench(hosts: TwoHosts, path: Path) -> Iterator[tuple[SshHost, Journal]]:
    """The far host and a journal of our own; in the end nothing of a guest is there."""
    host = hosts.switch.connect()
    journal = Journal(path / "journal", {host.name: host})
    try:
        yield host, journal
    finally:
        faults = journal.undo_since(0)
        wait_until(lambda: not running(FOLDER))
        left = [
            host.run(["ip", "-o", "link"]).stdout.count("nvt"),
            [*Path("/run/nvbench").glob("test-remote-guests*")],
        ]
        host.close()
    assert (faults, left) == ([], [0, []])


def test_one_is_booted_there_and_the_next_goes_on_from_the_state_that_is_kept_there(hosts, cache, tmp_path):
    with bench(hosts, tmp_path) as (host, journal):
        kept = []
        for name in ("vm1", "vm2"):
            guest = Qemu(name, GuestPlace(host, FOLDER, "", (0, 1), cache), [TAP])
            guest.up(journal)
            guest.ready()
            (image,) = Path(cache, "guests").glob("image-*")
            kept.append({path.name: path.stat().st_mtime_ns for path in image.iterdir()})
            release = guest.host.run(["uname", "-r"]).stdout.strip()
            assert guest.version.startswith(f"Linux {release} on QEMU ")
            host.run(["ip", "address", "replace", "10.99.9.9/24", "dev", "nvtr1"])
            guest.host.run(["ping", "-c", "2", "-i", "0.2", "-W", "5", "-M", "do", "-s", "3900", "10.99.9.9"])
            guest.check_alive()
            guest.down()
        assert sorted(name.split("-")[0] for name in kept[0]) == ["initramfs", "state", "vmlinux"]
        assert kept[1] == kept[0]  # nothing was brought or saved again


def test_what_a_lost_connection_leaves_is_taken_back_by_the_next(hosts, cache, tmp_path):
    with bench(hosts, tmp_path) as (host, journal):
        orphan = Qemu("vm3", GuestPlace(host, FOLDER, "", (0, 1), cache), [TAP])
        orphan.up(journal)
        orphan.ready()
        kept = host.spawn(["cat"])
        hosts.switch.kill_sessions()
        with pytest.raises(LostConnectionError):  # known now: what runs next asks for a new one
            kept.receive(PATIENCE_S)
        again = hosts.switch.connect()
        assert Journal(tmp_path / "journal", {again.name: again}).undo_since(0) == []
        assert not again.exists("/sys/class/net/nvtr1")
        again.close()
        orphan.down()
