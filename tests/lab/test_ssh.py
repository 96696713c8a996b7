"""Hosts behind SSH, by real sshd processes: what runs there, what stands in the way, and a connection that breaks."""

import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from nvbench.clock_offset import clock_offset
from nvbench.errors import CommandError, LostConnectionError, NotReadyError
from nvbench.hosts import ssh_connection, ssh_process, ssh_reach
from nvbench.hosts.held import Hold
from nvbench.hosts.ssh import SshHost, connect
from nvbench.hosts.ssh_connection import Connection
from nvbench.hosts.tied import tied
from nvbench.testbed import load_testbed
from tests.lab.conftest import leaves_no_trace, running
from tests.lab.two_hosts import PLAIN_USER, run, two_hosts
from tests.lab.waiting import PATIENCE_S, wait_until


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with leaves_no_trace(), two_hosts(tmp_path_factory.mktemp("hosts")) as both:
        yield both


@pytest.fixture
def both(made):
    """The two hosts, both known, nothing configured."""
    made.know()
    made.config.unlink(missing_ok=True)
    return made


@pytest.fixture
def sender(both):
    host = both.sender.connect()
    yield host
    host.close()


@contextmanager
def unplugged(sshd):
    """No way to a host, and nobody who waits long for it: one that can be reached may be slow to answer."""
    with pytest.MonkeyPatch.context() as patch, sshd.unplugged():
        patch.setattr(Connection, "PATIENCE_S", 0.7)
        patch.setattr(SshHost, "RECONNECT_S", 1.0)
        patch.setattr(ssh_reach, "CONNECT_S", 1.0)
        for module in (ssh_connection, ssh_process):
            patch.setattr(module, "ANSWER_S", 1.0)
        yield


@contextmanager
def loss_is_known(*hosts):
    """What is done within breaks the connections to these hosts; in the end all of them know."""
    kept = [host.spawn(["cat"]) for host in hosts]
    yield
    for process in kept:
        with pytest.raises(LostConnectionError, match=r"was lost$"):
            process.receive(PATIENCE_S)


def in_a_thread(act):
    """Do something meanwhile."""
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def by_hand(remedy):
    """Do what an error advises, as a person would in a shell."""
    command = remedy.removeprefix("if that is right: ")
    subprocess.run(["sh", "-c", command], check=True, capture_output=True, timeout=60)


def holders(name):
    """Processes that have a lock file open."""
    lock = f"/run/nvbench/nvlab-{name}.lock"
    found = subprocess.run(["fuser", lock], capture_output=True, text=True, check=False).stdout.split()
    return set(found)


def fingerprint(host):
    return run("ssh-keygen", "-lf", str(host.folder / "host_key.pub")).split()[1]


def test_a_host_behind_ssh_is_like_any_other(sender, tmp_path):
    assert sender.run(["printf", "%s", "$HOME; 'rm' \"-rf\" \n*"]).stdout == "$HOME; 'rm' \"-rf\" \n*"
    assert sender.run(["ls", "/sys/class/net"]).stdout.split() == ["a0", "a1", "lo", "mgmt"]
    assert sender.run(["false"], check=False).returncode == 1
    with pytest.raises(CommandError, match=r"^host sender: ls /no/such: status 2: .*No such file"):
        sender.run(["ls", "/no/such"])
    with pytest.raises(CommandError, match=r"^host sender: cannot start no-such-program: No such file"):
        sender.run(["no-such-program"], check=False)
    path = str(tmp_path / "a folder")
    assert sender.read(path) is None
    sender.make_folder(path)
    sender.write(f"{path}/knob", "1\n")
    assert (sender.read(f"{path}/knob"), sender.exists(path)) == ("1\n", True)
    sender.remove(path)
    assert not sender.exists(path)
    with pytest.raises(CommandError, match=f"^host sender: cannot write {path}/knob: No such file"):
        sender.write(f"{path}/knob", "1\n")
    sender.write("/proc/sys/net/ipv4/ip_forward", "1")
    assert sender.read("/proc/sys/net/ipv4/ip_forward") == "1\n"
    with pytest.raises(CommandError, match=r"^host sender: cannot write .*ip_forward: Invalid argument"):
        sender.write("/proc/sys/net/ipv4/ip_forward", "yes")


def test_a_kept_program_speaks_in_lines_and_ends_with_its_input(sender):
    cat = sender.spawn(["cat"])
    cat.send("hello")
    assert cat.receive(PATIENCE_S) == "hello"
    with pytest.raises(TimeoutError):
        cat.receive(0.01)
    assert cat.close() == 0
    assert cat.receive(PATIENCE_S) is None
    child = sender.spawn(["sh", "-c", "echo broken >&2; exit 3"])
    assert child.receive(PATIENCE_S) is None
    assert (child.complaints(), child.close()) == (["broken"], 3)
    with pytest.raises(CommandError, match=r"^host sender: sh has gone"):
        child.send("anybody there?")
    with pytest.raises(CommandError, match=r"^host sender: cannot start no-such-program: No such file"):
        sender.spawn(["no-such-program"])


def test_a_program_that_ignores_everything_is_killed(sender):
    for end in (lambda child: child.close(0.2), lambda child: child.kill()):
        child = sender.spawn(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done # deaf-program"])
        assert child.receive(PATIENCE_S) == "up"
        end(child)
        wait_until(lambda: not running("deaf-program"))


def test_twenty_megabytes_each_way_and_on_both_streams(sender):
    text = "0123456789abcdef" * 1_250_000
    assert sender.run(["cat"], stdin=text).stdout == text
    both_ways = sender.run(["sh", "-c", "head -c 20000000 /dev/zero >&2; tr -d '\\0' | wc -c"], stdin=text)
    assert (both_ways.stdout.strip(), len(both_ways.stderr)) == ("20000000", 20_000_000)
    assert sender.run(["true"], stdin=text).ok  # it need not read what it is given


def test_a_file_arrives_byte_by_byte(sender, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(3_000_001))
    sender.upload(source, str(target))
    assert target.read_bytes() == source.read_bytes()


def test_a_full_disk_is_told_with_host_and_path(sender, tmp_path):
    source, disk = tmp_path / "source", tmp_path / "disk"
    source.write_bytes(os.urandom(3_000_000))
    disk.mkdir()
    sender.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)])
    with pytest.raises(CommandError) as told:
        sender.upload(source, f"{disk}/target")
    sender.run(["umount", str(disk)])
    assert str(told.value) == f"host sender: cannot write {disk}/target: No space left on device"


def test_what_takes_too_long_ends_there_too(sender):
    began = time.monotonic()
    with pytest.raises(CommandError, match=r"^host sender: sh took more than 0\.3 s$"):
        sender.run(["sh", "-c", "sleep 77.71 & sleep 77.71"], timeout_s=0.3)
    with pytest.raises(CommandError, match=r"took more than 0\.3 s$"):  # it ignores a polite word
        sender.run(["sh", "-c", "trap '' TERM; sleep 77.71; sleep 77.71"], timeout_s=0.3)
    assert time.monotonic() - began < PATIENCE_S
    wait_until(lambda: not running("77.71"))


def test_an_unknown_host_key_and_the_command_that_mends_it(both):
    both.known_hosts.write_text("")
    with pytest.raises(NotReadyError) as told:
        both.sender.connect()
    assert str(told.value) == (
        f"host sender: its SSH host key is not known: {fingerprint(both.sender)} "
        f"(if that is right: ssh-keyscan {both.sender.address} >> ~/.ssh/known_hosts)"
    )
    by_hand(told.value.remedy)
    both.sender.connect().close()


def test_a_changed_host_key_and_the_commands_that_mend_it(both):
    both.known_hosts.write_text(both.switch.known.replace(both.switch.address, both.sender.address))
    with pytest.raises(NotReadyError) as told:
        both.sender.connect()
    address = both.sender.address
    assert str(told.value) == (
        f"host sender: its SSH host key has changed: it is {fingerprint(both.sender)} now (if that is right: "
        f"ssh-keygen -R {address} -f ~/.ssh/known_hosts; ssh-keyscan {address} >> ~/.ssh/known_hosts)"
    )
    by_hand(told.value.remedy)
    both.sender.connect().close()


def test_a_user_or_a_key_that_is_not_let_in(both, tmp_path):
    with pytest.raises(NotReadyError) as told:
        both.sender.connect("nobody-of-that-name")
    address = both.sender.address
    assert str(told.value) == (
        "host sender: does not let nobody-of-that-name in by a key of ~/.ssh or the SSH agent: Authentication failed "
        f"(another user or key in the testbed file, or: ssh-copy-id nobody-of-that-name@{address})"
    )
    other = tmp_path / "other"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other))
    with pytest.raises(
        NotReadyError, match=f"^host sender: does not let root in by a key of {other} .*-copy-id -i {other}"
    ):
        connect("sender", f"root@{address}", key=str(other))
    with pytest.raises(NotReadyError, match=r"^host sender: there is no SSH key /no/such"):
        connect("sender", f"root@{address}", key="/no/such")


def test_nobody_at_that_address(both):
    with pytest.raises(NotReadyError, match=r"^host far: no address is known for no-such-host\.invalid \(correct"):
        connect("far", "root@no-such-host.invalid")
    with pytest.raises(NotReadyError, match=r"^host far: .* port 23 does not answer: Connection refused .*ssh -p 23"):
        connect("far", f"root@{both.sender.address}", port=23)


def test_who_is_not_root_needs_sudo(both):
    with pytest.raises(NotReadyError, match=r"^host sender: needs root, and there is no sudo .log in as root"):
        both.sender.connect(PLAIN_USER)


def test_a_login_that_prints_something_is_told(both):
    greeting = both.sender.folder / ".ssh" / "rc"  # of root there: run before each command
    greeting.parent.mkdir()
    greeting.write_text("echo Welcome to sender\n")
    try:
        with pytest.raises(NotReadyError, match=r"^host sender: its login shell prints 'Welcome to sender' before a"):
            both.sender.connect()
    finally:
        greeting.unlink()
        greeting.parent.rmdir()


def test_the_configuration_file_counts(both, tmp_path):
    hidden, known = tmp_path / "key", tmp_path / "known"
    both.key.rename(hidden)
    known.write_text(both.sender.known)
    both.known_hosts.write_text("")
    (both.home / ".ssh" / "more").write_text(f"Host lab\n  HostName {both.sender.address}\n  User root\n")
    both.config.write_text(
        f"Include more\nHost lab\n  IdentityFile {hidden}\n  UserKnownHostsFile {known}\n  Port 22\n"
    )
    try:
        with pytest.raises(NotReadyError, match=r"no address is known for other"):
            connect("sender", "other")
        host = connect("sender", "lab")
        assert host.run(["ls", "/sys/class/net/a0/address"]).ok
        host.close()
    finally:
        hidden.rename(both.key)


NO_KEYS = 1
"""Status of `ssh-add -l` where the agent answers, and has none."""


@pytest.fixture
def agent(both, tmp_path, monkeypatch):
    """An SSH agent that has the key, which is in no file any more."""
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        wait_until(lambda: subprocess.run(["ssh-add", "-l"], capture_output=True, check=False).returncode == NO_KEYS)
        run("ssh-add", "-q", str(both.key))
        both.key.rename(tmp_path / "key")
        yield process
    finally:
        (tmp_path / "key").rename(both.key)
        process.terminate()
        process.wait()


@pytest.mark.usefixtures("agent")
def test_the_agents_key_is_taken(both):
    both.sender.connect().close()


@pytest.mark.usefixtures("agent")
def test_of_the_agents_keys_only_those_that_are_named_are_taken_where_the_configuration_says_so(both, tmp_path):
    """The named key is locked by a passphrase that only the agent was told, or is not on this machine at all."""
    (tmp_path / "locked").write_bytes((tmp_path / "key").read_bytes())
    (tmp_path / "locked").chmod(0o600)
    run("ssh-keygen", "-q", "-p", "-P", "", "-N", "a passphrase", "-f", str(tmp_path / "locked"))
    named = f"Host {both.sender.address}\n  IdentitiesOnly yes\n  IdentityFile {tmp_path}"
    both.config.write_text(f"{named}/locked\n")
    with pytest.raises(
        NotReadyError, match=r"is locked by a passphrase: .*/locked .*ssh-add, and keep its public half"
    ):
        both.sender.connect()
    for name in ("locked", "elsewhere"):
        (tmp_path / f"{name}.pub").write_text(both.key.with_name("id_ed25519.pub").read_text())
    for file in ("locked", "elsewhere", "elsewhere.pub"):
        both.config.write_text(f"{named}/{file}\n")
        both.sender.connect().close()
    both.config.write_text(f"{named}/not-there\n")  # and the agent's other keys are not taken
    with pytest.raises(NotReadyError, match=r"^host sender: does not let root in by a key of ~/\.ssh or the SSH agent"):
        both.sender.connect()


@pytest.mark.parametrize("how", ["ProxyJump", "ProxyCommand"])
def test_a_host_behind_another(both, how):
    by = f"root@{both.switch.address}"
    ssh = f"ssh -F /dev/null -i {both.key} -o UserKnownHostsFile={both.known_hosts} -W %h:%p {by}"
    both.config.write_text(f"Host {both.sender.address}\n  {how} {by if how == 'ProxyJump' else ssh}\n")
    host = both.sender.connect()
    assert host.run(["sh", "-c", "echo $SSH_CONNECTION"]).stdout.split()[0] == both.switch.address
    assert len(host.run(["head", "-c", "3000000", "/dev/zero"]).stdout) == 3_000_000
    host.close()
    both.switch.wait(lambda: not both.switch.sessions())
    both.known_hosts.write_text(both.switch.known)  # the far host's key is asked for, too
    with pytest.raises(NotReadyError, match=f"^host sender: its SSH host key is not known: .*ssh -o '?{how}="):
        both.sender.connect()


def test_a_host_behind_two_others(both):
    by = f"root@{both.sender.address},{both.switch.address}:22"
    both.config.write_text(f"User root\nHost lab\n  HostName {both.sender.address}\n  ProxyJump {by}\n")
    host = connect("sender", "lab")
    assert host.run(["sh", "-c", "echo $SSH_CONNECTION"]).stdout.split()[0] == both.switch.address
    both.switch.wait(lambda: (len(both.sender.sessions()), len(both.switch.sessions())) == (2, 1))
    host.close()


def test_what_is_wrong_with_a_jump_host_is_told_of_it(both):
    both.known_hosts.write_text(both.sender.known)
    both.config.write_text(f"Host {both.sender.address}\n  ProxyJump root@{both.switch.address}\n")
    place = f"host sender, jump host root@{both.switch.address}"
    with pytest.raises(NotReadyError, match=f"^{place}: its SSH host key is not known"):
        both.sender.connect()
    both.know()
    both.config.write_text(f"Host {both.sender.address}\n  Port 24\n  ProxyJump root@{both.switch.address}\n")
    with pytest.raises(NotReadyError, match=f"^{place}: opens no way to {both.sender.address} port 24: connect"):
        both.sender.connect()
    both.config.write_text(f"Host *\n  ProxyJump root@{both.switch.address}\n")
    with pytest.raises(NotReadyError, match=r"is behind more than 8 jump hosts \(is there a circle of ProxyJump"):
        both.sender.connect()


def test_a_port_of_the_hosts_own_loopback(sender):
    words = "s = socket.create_server(('127.0.0.1', 7007)); print('up', flush=True); s.accept()[0].send(b'hi')"
    server = sender.spawn(["python3", "-c", f"import socket; {words}"])
    assert server.receive(PATIENCE_S) == "up"
    stream = sender.dial(7007)
    assert stream.recv(2) == b"hi"
    stream.close()
    assert server.close() == 0
    with pytest.raises(CommandError, match=r"^host sender: 127\.0\.0\.1 port 7007 does not answer through SSH"):
        sender.dial(7007)


def test_more_programs_than_sshd_allows(sender, monkeypatch):
    kept = [sender.spawn(["cat"]) for _ in range(10)]
    with monkeypatch.context() as patch:
        patch.setattr(ssh_connection, "BUSY_S", 0.3)
        with pytest.raises(CommandError, match=r"^host sender: allows no further SSH session .raise MaxSessions"):
            sender.run(["true"])
    ending = threading.Timer(0.3, kept.pop().close)
    ending.start()
    assert sender.run(["true"]).ok  # as soon as one has ended
    ending.join()
    for process in kept:
        process.close()


def test_more_programs_at_once_than_sshd_allows(sender):
    with ThreadPoolExecutor(24) as threads:
        assert all(done.ok for done in threads.map(lambda _: sender.run(["sleep", "0.05"]), range(72)))


def test_a_session_that_is_killed_ends_what_ran_and_the_next_command_connects_anew(both, sender):
    cat, deaf = sender.spawn(["cat"]), sender.spawn(["sleep", "77.72"])
    killing = in_a_thread(lambda: (wait_until(lambda: running("77.73")), both.sender.kill_sessions()))
    began = time.monotonic()
    lost = f"^host sender: the SSH connection to root@{both.sender.address} was lost$"
    with pytest.raises(LostConnectionError, match=lost):
        sender.run(["sleep", "77.73"], timeout_s=70.0)
    killing.join()
    assert time.monotonic() - began < PATIENCE_S
    with pytest.raises(LostConnectionError, match=lost):
        cat.receive(PATIENCE_S)
    with pytest.raises(LostConnectionError, match=lost):
        cat.send("still there?")
    assert sender.run(["echo", "again"]).stdout == "again\n"
    assert running("77.72")  # it does not look at its standard input
    assert (cat.close(), deaf.close()) == (None, None)
    wait_until(lambda: not running("77.72"))


def test_many_threads_share_one_connection_also_a_new_one(both, sender):
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda number: sender.run(["echo", str(number)]).stdout == f"{number}\n", range(40)))
        with loss_is_known(sender):  # what runs next asks for a new one
            both.sender.kill_sessions()
        assert all(done.ok for done in threads.map(lambda _: sender.run(["true"]), range(16)))
    both.sender.wait(lambda: len(both.sender.sessions()) == 1)


def test_a_host_that_cannot_be_reached_and_comes_back(both, monkeypatch):
    monkeypatch.setattr(Connection, "KEEPALIVE_S", 0.3)
    host = both.sender.connect()
    kept = host.spawn(["cat"])
    began = time.monotonic()
    with unplugged(both.sender):
        with pytest.raises(LostConnectionError, match=r"was lost$"):
            host.run(["true"])
        with pytest.raises(LostConnectionError, match=r"was lost$"):
            kept.receive(PATIENCE_S)
        with pytest.raises(
            LostConnectionError, match=r"was lost, and no other could be made in \d+ s: .* does not answer"
        ):
            host.run(["true"])
    assert time.monotonic() - began < PATIENCE_S
    assert host.run(["echo", "back"]).stdout == "back\n"
    host.close()
    with pytest.raises(LostConnectionError, match=r"was lost$"):
        host.run(["true"])


def test_a_loss_that_nobody_has_noticed_is_found_out_by_who_waits_for_a_line(both, monkeypatch):
    """Neither the connection's watch, which asks now and then, nor TCP, to which silence is nothing."""
    monkeypatch.setattr(Connection, "KEEPALIVE_S", 60.0)
    monkeypatch.setattr(ssh_process, "ANSWER_S", 0.5)
    host = both.sender.connect()
    deaf = host.spawn(tied(["sleep", "77.74"]))
    with both.sender.unplugged():
        with pytest.raises(TimeoutError):
            deaf.receive(0.1)
        with pytest.raises(LostConnectionError, match=r"was lost$"):
            deaf.receive(1.0)
        assert running("77.74")
    deaf.kill()
    wait_until(lambda: not running("77.74"))
    host.close()


def test_what_a_program_said_while_its_host_could_not_be_heard_comes_late(both, sender, tmp_path):
    speak, spoken = tmp_path / "speak", tmp_path / "spoken"
    wait = f"until [ -e {speak} ]; do sleep 0.02; done"
    late = sender.spawn(["sh", "-c", f"{wait}; echo done; touch {spoken}; exec sleep 77.75"])
    with ExitStack() as cable:
        cable.enter_context(both.sender.unplugged())
        speak.touch()
        wait_until(spoken.exists)
        plug = threading.Timer(1.2, cable.pop_all().close)
        plug.start()
        assert late.receive(1.0) == "done"
        plug.join()
    late.kill()


def test_a_stopped_sshd_that_comes_back_in_time(both, sender):
    with loss_is_known(sender):
        both.sender.stop()
    start = threading.Timer(0.3, both.sender.start)
    start.start()
    assert sender.run(["echo", "back"]).stdout == "back\n"
    start.join()


def test_the_clock_of_a_host(both, sender):
    clock = clock_offset(sender)  # it is this machine's own
    assert abs(clock.offset_s) <= clock.error_s < 0.5


def test_a_port_is_for_one(both, sender):
    other = both.sender.connect()
    with Hold(sender, "nvlab-a0") as mine, Hold(sender, "nvlab-a1"):
        with pytest.raises(NotReadyError, match=r"^host sender: nvlab-a0 is used by another nvbench"):
            with Hold(other, "nvlab-a0"):
                pass
        with loss_is_known(sender, other):
            both.sender.kill_sessions()  # its holder's connection, and with it the hold
        both.sender.wait(lambda: not holders("a0"))
        with Hold(other, "nvlab-a0"):
            with pytest.raises(NotReadyError, match=r"^host sender: nvlab-a0 is used by another nvbench"):
                mine.keep()
        mine.keep()
        with pytest.raises(NotReadyError, match=r"^host sender: nvlab-a0 is used by another nvbench"):
            with Hold(other, "nvlab-a0"):
                pass
    other.close()
    for name in ("a0", "a1"):
        Path(f"/run/nvbench/nvlab-{name}.lock").unlink()


def test_a_port_whose_host_has_not_noticed_that_its_holder_is_lost_is_held_again(both):
    host = both.sender.connect()
    with Hold(host, "nvlab-a0") as mine:
        [lost] = holders("a0")
        with unplugged(both.sender):
            with pytest.raises(LostConnectionError):
                host.run(["true"])
            assert holders("a0") == {lost}  # it would have the lock until TCP gives up
        mine.keep()
        assert len(holders("a0") - {lost}) == 1
    host.close()
    Path("/run/nvbench/nvlab-a0.lock").unlink()


def test_the_testbed_of_the_two(both):
    testbed = load_testbed(str(both.testbed))
    machine = testbed.switch_host
    host = connect("switch", machine.address, port=machine.port, key=machine.key)
    assert host.exists("/sys/class/net/b0")
    host.close()
