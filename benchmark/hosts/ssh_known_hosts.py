"""Known host keys: which keys a host may show, as the lines of known_hosts files say (sshd(8))."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from paramiko import PKey, SSHException
from paramiko.hostkeys import HostKeyEntry, HostKeys, InvalidHostKey


def known_keys(files: Iterable[str], name: str) -> list[PKey]:
    """The keys under which a host is known, but those that are revoked; unreadable lines say nothing, as to SSH.

    Args:
        files: known_hosts files; `~` is the user's home.
        name: The host's name, as `[name]:port` for a port other than 22.
    """
    known, revoked = [], set()
    for line in _lines(files):
        marker, _, rest = line.partition(" ") if line.startswith("@") else ("", "", line)
        if marker not in ("", "@revoked") or not rest:
            continue
        try:
            entry = HostKeyEntry.from_line(" ".join(rest.split()))
            about_it = entry is not None and _matches(entry.hostnames, name)
        except (InvalidHostKey, SSHException, ValueError, LookupError, AssertionError):
            continue
        if entry is None or not about_it:
            continue
        if marker:
            revoked.add(entry.key.asbytes())
        else:
            known.append(entry.key)
    return [key for key in known if key.asbytes() not in revoked]


def _lines(files: Iterable[str]) -> Iterator[str]:
    for file in (Path(name).expanduser() for name in files):
        if file.is_file():
            for line in file.read_text(errors="replace").splitlines():
                if (text := line.strip()) and not text.startswith("#"):
                    yield text


def _matches(patterns: Iterable[str], name: str) -> bool:
    """Whether a line is about a host: it names it, plain, hashed or by `*` and `?`, and does not rule it out by `!`."""
    found = False
    for pattern in patterns:
        if pattern.startswith("|1|"):
            found = found or HostKeys.hash_host(name, pattern) == pattern
        elif fnmatchcase(name.lower(), pattern.removeprefix("!").lower().replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            found = True
    return found
