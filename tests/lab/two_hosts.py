"""Two hosts behind SSH, made on one machine: each a network namespace with an sshd, two data cables between them.

Every process in such a namespace sees its own network devices, also in /sys; files, cores and clock are the machine's.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from nvbench.hosts.ssh import SshHost, connect
from tests.lab.waiting import PATIENCE_S, wait_until

NUMBER = os.getpid() % 250  # of another process that does the same
NETWORK = f"10.77.{NUMBER}"
BRIDGE = f"nvm{NUMBER}"
CABLES = (("a0", "b0"), ("a1", "b1"))
FORWARDING = "3"
"""A port of a bridge that passes frames on (linux/if_bridge.h)."""

# A host has a list of users of its own: root without the machine's ~/.bashrc, and somebody who is not root.
PLAIN_USER = "tester"
USERS = "root:x:0:0::{home}:/bin/sh\n" + PLAIN_USER + ":x:4242:4242::/:/bin/sh\n"
START = 'mount --bind "$1" /etc/passwd && exec /usr/sbin/sshd -D -e -f "$2"'

SSHD_CONFIG = """\
ListenAddress {address}
Port 22
HostKey {folder}/host_key
AuthorizedKeysFile none
AuthorizedKeysCommand /bin/cat {folder}/authorized_keys
AuthorizedKeysCommandUser root
PidFile {folder}/sshd.pid
UsePAM no
UseDNS no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
"""

TESTBED = """\
name: two-hosts
description: Two hosts behind SSH, made of this machine; two cables between them
hosts:
  sender: {{address: root@{sender}, key: {key}}}
  switch: {{address: root@{switch}, key: {key}}}
generator:
  host: sender
  cores: auto
  housekeeping_core: auto
  ports: [{{device: a0}}, {{device: a1}}]
switch:
  host: switch
  pmd_cores: auto
  housekeeping_core: auto
  ports: [{{device: b0}}, {{device: b1}}]
"""


def run(*argv: str) -> str:
    """What a command prints."""
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr or done.stdout}"
    return done.stdout


@dataclass
class SshdHost:
    """One of the two: a network namespace in which sshd listens.

    Attributes:
        name: What the testbed calls it.
        namespace: Its network namespace.
        address: Its management address.
        folder: Its host key, its settings and what its sshd says.
        link: Our end of its management cable.
    """

    name: str
    namespace: str
    address: str
    folder: Path
    link: str
    _sshd: subprocess.Popen | None = None

    def start(self) -> None:
        """Start its sshd, and wait until it listens."""
        (self.folder / "sshd_config").write_text(SSHD_CONFIG.format(address=self.address, folder=self.folder))
        files = [str(self.folder / name) for name in ("passwd", "sshd_config")]
        with (self.folder / "log").open("ab") as log:
            self._sshd = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, "sh", "-c", START, "sh", *files],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self.wait((self.folder / "sshd.pid").exists)

    def stop(self) -> None:
        """End its sshd, and what is left of its sessions."""
        self.kill_sessions()
        if self._sshd is not None:
            self._sshd.terminate()
            self._sshd.wait(timeout=PATIENCE_S)
            self._sshd = None

    def wait(self, until) -> None:
        """Wait until something holds, while its sshd lives."""
        log = self.folder / "log"
        try:
            wait_until(lambda: self._sshd.poll() is not None or until())
        except AssertionError as error:
            raise AssertionError(f"{error}: {log.read_text()}") from None
        assert self._sshd.poll() is None, log.read_text()

    def new_key(self) -> None:
        """Give it another host key."""
        for file in self.folder.glob("host_key*"):
            file.unlink()
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / "host_key"))

    @property
    def known(self) -> str:
        """Its line in a file of known host keys."""
        return f"{self.address} {' '.join((self.folder / 'host_key.pub').read_text().split()[:2])}\n"

    def sessions(self) -> list[int]:
        """Process ids of sshd's children, each of which serves a connection."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, parent = stat.read_text().rpartition(")")[2].split()[:2]
                if self._sshd is not None and int(parent) == self._sshd.pid and state != "Z":
                    found.append(int(stat.parent.name))
        return found

    def kill_sessions(self) -> None:
        """Kill what serves its connections, as a crash would; sshd itself stays."""
        for pid in self.sessions():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        """Make it unreachable for a while."""
        run("ip", "link", "set", self.link, "down")
        try:
            yield
        finally:
            run("ip", "link", "set", self.link, "up")
            port = Path("/sys/class/net", self.link, "brport", "state")
            wait_until(lambda: port.read_text().strip() == FORWARDING)

    def connect(self, user: str = "root") -> SshHost:
        """A connection of nvbench's own to it."""
        return connect(self.name, f"{user}@{self.address}")


@dataclass
class TwoHosts:
    """Both hosts, and who may log in to them.

    Attributes:
        sender: One host; the generator's in the testbed.
        switch: The other.
        home: A home folder, which HOME names, with the key and the known host keys.
        testbed: The testbed file.
    """

    __test__ = False

    sender: SshdHost
    switch: SshdHost
    home: Path
    testbed: Path

    @property
    def key(self) -> Path:
        """The key that both hosts let in."""
        return self.home / ".ssh" / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The user's known host keys."""
        return self.home / ".ssh" / "known_hosts"

    @property
    def config(self) -> Path:
        """The user's SSH configuration."""
        return self.home / ".ssh" / "config"

    def know(self) -> None:
        """Take both host keys for known, as they are now."""
        self.known_hosts.write_text(self.sender.known + self.switch.known)


@contextmanager
def two_hosts(folder: Path) -> Iterator[TwoHosts]:
    """Two hosts that are up; all of them goes at the end.

    Args:
        folder: Where their files are kept, and the home folder that HOME names meanwhile.
    """
    with ExitStack() as stack:
        stack.enter_context(_home(folder / "home"))
        if not Path("/run/sshd").exists():  # where sshd shuts itself in
            Path("/run/sshd").mkdir(mode=0o755)
            stack.callback(Path("/run/sshd").rmdir)
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        stack.callback(run, "ip", "link", "delete", BRIDGE)
        Path(f"/proc/sys/net/ipv6/conf/{BRIDGE}/disable_ipv6").write_text("1")
        run("ip", "address", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        hosts = [
            stack.enter_context(_host(folder / name, name, number)) for number, name in enumerate(("sender", "switch"))
        ]
        for near, far in CABLES:
            ends = [near, "netns", hosts[0].namespace, "type", "veth", "peer", "name", far, "netns", hosts[1].namespace]
            run("ip", "link", "add", *ends)
        for host, device in [(host, pair[side]) for side, host in enumerate(hosts) for pair in CABLES]:
            run("ip", "-n", host.namespace, "link", "set", device, "up")
        testbed = folder / "two-hosts.yaml"
        both = TwoHosts(*hosts, folder / "home", testbed)
        testbed.write_text(TESTBED.format(sender=hosts[0].address, switch=hosts[1].address, key=both.key))
        for host in hosts:
            shutil.copy(f"{both.key}.pub", host.folder / "authorized_keys")
            host.start()
        both.know()
        yield both


@contextmanager
def _home(home: Path) -> Iterator[None]:
    (home / ".ssh").mkdir(mode=0o700, parents=True)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / ".ssh" / "id_ed25519"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        yield


@contextmanager
def _host(folder: Path, name: str, number: int) -> Iterator[SshdHost]:
    folder.mkdir(mode=0o755)
    host = SshdHost(name, f"nvm{NUMBER}-{name}", f"{NETWORK}.{number + 2}", folder, f"{BRIDGE}-{number}")
    host.new_key()
    others = [line for line in Path("/etc/passwd").read_text().splitlines(keepends=True) if line[:5] != "root:"]
    (folder / "passwd").write_text(USERS.format(home=folder) + "".join(others))
    run("ip", "netns", "add", host.namespace)
    try:
        inside = ["ip", "netns", "exec", host.namespace]
        for scope in ("all", "default"):  # neighbour discovery would be foreign frames to a benchmark
            run(*inside, "sysctl", "-q", "-w", f"net.ipv6.conf.{scope}.disable_ipv6=1")
        run("ip", "link", "add", host.link, "type", "veth", "peer", "name", "mgmt", "netns", host.namespace)
        run("ip", "link", "set", host.link, "master", BRIDGE, "up")
        run("ip", "-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "mgmt")
        for device in ("lo", "mgmt"):
            run("ip", "-n", host.namespace, "link", "set", device, "up")
        yield host
    finally:
        host.stop()
        for pid in run("ip", "netns", "pids", host.namespace).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        run("ip", "netns", "delete", host.namespace)
        with suppress(AssertionError):  # it may have gone with its other end already
            run("ip", "link", "delete", host.link)
