"""How a host is reached by SSH: its address, and what ssh_config(5) and known_hosts files say of it."""

import getpass
import subprocess

import pytest

from nvbench.errors import NotReadyError
from nvbench.hosts import ssh_settings as module
from nvbench.hosts.ssh_known_hosts import known_keys
from nvbench.hosts.ssh_settings import jump_address, ssh_settings

ED25519 = "AAAAC3NzaC1lZDI1NTE5AAAAI"
KEYS = [
    f"ssh-ed25519 {ED25519}Bt963ngVrfTUUoNC/adZ4/W4lzglmLv/RtsdIZtRNaf",
    f"ssh-ed25519 {ED25519}A/s7iBQ6j+aMxo6Bn0INNBye6FvG8GmNEa23U0+snav",
]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without the machine's own settings."""
    (tmp_path / ".ssh").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(module, "SYSTEM_CONFIG", str(tmp_path / "ssh_config"))
    return tmp_path


def test_an_address_alone(home):
    settings = ssh_settings("root@switch")
    assert (settings.user, settings.host, settings.port) == ("root", "switch", 22)
    assert (settings.keys, settings.public, settings.jumps, settings.proxy_command) == ((), (), (), "")
    assert settings.known_hosts_file == "~/.ssh/known_hosts"
    assert ssh_settings("switch").user == getpass.getuser()


def test_the_configuration_says_the_rest(home):
    (home / ".ssh" / "lab_key").touch()
    (home / ".ssh" / "config").write_text(
        "Host switch\n  HostName 192.0.2.2\n  User tester\n  Port 2222\n  IdentityFile ~/.ssh/lab_key\n"
        "  IdentityFile ~/.ssh/not_there\n  IdentitiesOnly yes\n  UserKnownHostsFile ~/known\n  ProxyJump a,b@c:24\n"
        "Host *\n  User somebody\n  ProxyCommand none\n"
    )
    settings = ssh_settings("switch")
    assert (settings.user, settings.host, settings.port) == ("tester", "192.0.2.2", 2222)
    assert (settings.keys, settings.only_these) == ((f"{home}/.ssh/lab_key",), True)
    assert (settings.known_hosts_file, settings.known_as) == ("~/known", "[192.0.2.2]:2222")
    assert (settings.jumps, settings.proxy_command) == (("a", "b@c:24"), "")
    assert ssh_settings("other").user == "somebody"


def test_the_testbed_wins_over_the_configuration(home):
    (home / ".ssh" / "config").write_text("Host switch\n  User tester\n  Port 2222\n  IdentityFile ~/.ssh/lab_key\n")
    (home / "own_key").touch()
    settings = ssh_settings("root@switch", 22, "~/own_key")
    assert (settings.user, settings.port, settings.keys) == ("root", 22, (f"{home}/own_key",))


def test_the_users_configuration_wins_over_the_systems_and_both_may_include(home):
    (home / ".ssh" / "config").write_text("Host switch\n  Include lab.d/*\n  Port 24\nHost *\n  Port 25\n")
    (home / ".ssh" / "lab.d").mkdir()
    (home / ".ssh" / "lab.d" / "one").write_text("User first\n")
    (home / ".ssh" / "lab.d" / "two").write_text("User second\nHost far\n  HostName 192.0.2.9\n")
    (home / "ssh_config").write_text("User of-the-system\nHostKeyAlias lab\n")
    settings = ssh_settings("switch")
    assert (settings.user, settings.port, settings.known_as) == ("first", 24, "lab")
    assert ssh_settings("other").user == "of-the-system"


def test_public_halves_of_keys_are_known_for_what_they_are(home):
    """`lab` has both halves here, of `agents` only the agent has the private one, `card` is named by its public one."""
    for name in ("lab", "lab.pub", "agents.pub", "card.pub", "id_ed25519", "id_ed25519.pub"):
        (home / ".ssh" / name).touch()
    named = [f"  IdentityFile ~/.ssh/{name}\n" for name in ("lab", "agents", "card.pub", "not_there")]
    (home / ".ssh" / "config").write_text(f"Host switch\n{''.join(named)}Host *\n  IdentitiesOnly yes\n")
    settings = ssh_settings("switch")
    assert settings.keys == (f"{home}/.ssh/lab",)
    assert settings.public == tuple(f"{home}/.ssh/{name}.pub" for name in ("lab", "agents", "card"))
    settings = ssh_settings("other")  # names none: those that SSH tries by itself
    assert (settings.keys, settings.public) == ((f"{home}/.ssh/id_ed25519",), (f"{home}/.ssh/id_ed25519.pub",))


@pytest.mark.parametrize("text", ["Port many\n", "no settings at all: ]\nHost 'a\n"])
def test_a_configuration_that_makes_no_sense(home, text):
    (home / ".ssh" / "config").write_text(text)
    with pytest.raises(NotReadyError, match=r"^~/\.ssh/config: cannot be understood: "):
        ssh_settings("switch")


@pytest.mark.parametrize(
    ("written", "address", "port"),
    [
        ("jump", "jump", None),
        ("me@jump:24", "me@jump", 24),
        ("me@[2001:db8::1]:24", "me@2001:db8::1", 24),
        ("2001:db8::1", "2001:db8::1", None),
        ("ssh://me@jump:24/", "me@jump", 24),
    ],
)
def test_how_a_jump_host_is_written(written, address, port):
    assert jump_address(written) == (address, port)


def test_a_jump_host_with_a_bad_port():
    with pytest.raises(NotReadyError, match="ProxyJump jump:x: 'x' is no port"):
        jump_address("jump:x")


@pytest.mark.parametrize(
    ("lines", "known"),
    [
        (["# nothing", "", "too short", f"switch {KEYS[0]}x broken"], []),
        ([f"switch {KEYS[0]} comment", f"other {KEYS[1]}"], [0]),
        ([f"other,switch\t{KEYS[0]}", f"switch   {KEYS[1]}"], [0, 1]),
        ([f"[switch]:2222 {KEYS[0]}"], []),
        ([f"sw* {KEYS[0]}", f"*,!switch {KEYS[1]}"], [0]),
        ([f"switch {KEYS[0]}", f"switch {KEYS[1]}", f"@revoked * {KEYS[0]}"], [1]),
        ([f"@cert-authority * {KEYS[0]}", f"switch {KEYS[1]}"], [1]),
    ],
)
def test_which_keys_are_known(tmp_path, lines, known):
    (tmp_path / "known").write_text("\n".join(lines) + "\n")
    found = known_keys([str(tmp_path / "known"), "/no/such/file"], "switch")
    assert [f"{key.get_name()} {key.get_base64()}" for key in found] == [KEYS[number] for number in known]


def test_hashed_names_and_names_with_a_port(tmp_path):
    known = tmp_path / "known"
    known.write_text(f"switch {KEYS[0]}\n[switch]:2222 {KEYS[1]}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, capture_output=True)
    assert "switch" not in known.read_text()
    assert [key.get_base64() for key in known_keys([str(known)], "switch")] == [KEYS[0].split()[1]]
    assert [key.get_base64() for key in known_keys([str(known)], "[switch]:2222")] == [KEYS[1].split()[1]]
