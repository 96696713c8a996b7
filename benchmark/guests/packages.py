"""The distribution's packages by an apt of our own: the system's sources, lists and status stay as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from nvbench.errors import CommandError, GuestError
from nvbench.hosts import Completed, Host

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_TARGET_FIELDS = ("CODENAME", "REPO_URI", "ORIGIN", "CREATED_BY")
_DOWNLOAD_PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """A package at a version, as apt is told of it."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}={self.version}"


def parse_targets(told: str) -> dict[str, str]:
    """Release -> address of the archive, of Debian's own releases that `apt-get indextargets` tells of."""
    rows = (line.split("|") for line in told.splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 4 and row[2:] == ["Debian", "Packages"]}


def sources_list(releases: dict[str, str], keyring: str = "") -> str:
    """A sources.list of the same archives, with non-free and, for the release itself, backports."""
    signed = f"[signed-by={keyring}] " if keyring else ""
    lines = [f"deb {signed}{uri} {release} main non-free" for release, uri in releases.items()]
    lines += [f"deb {signed}{uri} {name}-backports main" for name, uri in releases.items() if "-" not in name]
    return "\n".join(lines) + "\n"


def parse_uris(told: str) -> tuple[Package, ...]:
    """The packages that `apt-get --print-uris` names: quoted address, file name, size, checksum."""
    files = re.findall(r"^'[^']*' (\S+)\.deb ", told, flags=re.MULTILINE)
    parts = (file.split("_") for file in files)
    return tuple(sorted(Package(part[0], unquote(part[1])) for part in parts))


class Archive:
    """The package archive that a host's own apt uses, seen through lists of our own.

    Args:
        host: The machine.
        folder: Where the lists are kept, on that machine.
        alone: Whether what the host has installed counts for nothing, so that a closure is whole.
        architecture: Debian's name of that of the packages; another than the host's needs `alone`.
    """

    def __init__(self, host: Host, folder: str, *, alone: bool, architecture: str = "amd64") -> None:
        self._host = host
        self._folder = folder
        self._architecture = architecture
        self._status = f"{folder}/status" if alone else "/var/lib/dpkg/status"
        self._config = f"{folder}/{'alone' if alone else 'beside'}.conf"

    def refresh(self) -> None:
        """Fetch the lists.

        Raises:
            GuestError: The host's apt knows no Debian archive.
        """
        fields = "|".join(f"$({field})" for field in _TARGET_FIELDS)
        told = self._host.run(["apt-get", "indextargets", "--format", fields], check=False)
        releases = parse_targets(told.stdout)
        if not any("-" not in release for release in releases):
            raise GuestError(
                "its apt knows no Debian archive to build guests from",
                place=f"host {self._host.name}",
                remedy="apt-get update",
            )
        for name in ("state/lists/partial", "cache/archives/partial"):
            self._host.make_folder(f"{self._folder}/{name}")
        keyring = _KEYRING if self._host.exists(_KEYRING) else ""
        self._host.write(f"{self._folder}/sources.list", sources_list(releases, keyring))
        self._host.write(f"{self._folder}/status", "")
        self._host.write(self._config, self._settings())
        # An archive may lack backports or non-free; what is missing in the end is told by name.
        self._apt("apt-get", "-qq", "update", timeout_s=_DOWNLOAD_PATIENCE_S, check=False)

    def _settings(self) -> str:
        settings = {
            "Dir::State": f"{self._folder}/state",
            "Dir::State::status": self._status,
            "Dir::Cache": f"{self._folder}/cache",
            "Dir::Etc::sourcelist": f"{self._folder}/sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferencesparts": "-",
            "Acquire::Languages": "none",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "APT::Architecture": self._architecture,
        }
        return "".join(f'{key} "{value}";\n' for key, value in settings.items())

    def _apt(self, *argv: str, folder: str = "/", timeout_s: float = 60.0, check: bool = True) -> Completed:
        where = ["env", "-C", folder, f"APT_CONFIG={self._config}"]
        try:
            return self._host.run([*where, *argv], timeout_s=timeout_s, check=check)
        except CommandError as error:
            raise GuestError(
                f"packages for guests cannot be had: {error.what}",
                place=f"host {self._host.name}",
                remedy="guests are built from the packages of Debian's archive, which has to be reachable by apt",
            ) from error

    def has(self, name: str) -> bool:
        """Whether the archive has a package of that name."""
        return self._apt("apt-cache", "show", "--no-all-versions", name, check=False).ok

    def closure(self, names: Iterable[str], *, release: str = "") -> tuple[Package, ...]:
        """The packages and all that they need and the host is not counted to have.

        Raises:
            GuestError: One is not there.
        """
        prefer = ["-t", release] if release else []
        done = self._apt("apt-get", "-qq", "-y", "--print-uris", *prefer, "install", *names)
        return parse_uris(done.stdout)

    def kernel(self, meta: str) -> Package:
        """The kernel's own package behind the one that always stands for the newest.

        Raises:
            GuestError: There is none.
        """
        told = self._apt("apt-cache", "depends", meta).stdout
        names = re.findall(r"Depends: (linux-image-\S+)", told)
        if not names:
            raise GuestError(f"{meta} stands for no kernel", place=f"host {self._host.name}")
        return parse_uris(self._apt("apt-get", "-qq", "--print-uris", "download", names[-1]).stdout)[0]

    def backports(self) -> str:
        """Name of the release's backports."""
        lines = (self._host.read(f"{self._folder}/sources.list") or "").split()
        return next((word for word in lines if word.endswith("-backports")), "")

    def unpack(self, packages: Sequence[Package], folder: str, *, together: bool = False) -> None:
        """Download packages and unpack them into a folder, each into one of its name there, or all `together`.

        Nothing of theirs is run.

        Raises:
            GuestError: One cannot be had.
        """
        files = f"{folder}/debs"
        self._host.make_folder(files)
        names = [str(package) for package in packages]
        self._apt("apt-get", "-qq", "download", *names, folder=files, timeout_s=_DOWNLOAD_PATIENCE_S)
        for file in self._host.run(["ls", files]).stdout.split():
            self._host.run(
                ["dpkg-deb", "-x", f"{files}/{file}", folder if together else f"{folder}/{file.split('_')[0]}"]
            )
        self._host.remove(files)
