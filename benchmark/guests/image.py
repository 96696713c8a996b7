"""What a virtual machine boots: a kernel and a small root in memory, made from the distribution's packages.

Nothing is installed: packages are unpacked and picked from. An image is made on this machine, and kept under a hash
of the packages with their versions, of the recipe, which is this code, and of its keys; the same wish finds the same
image until its folder is removed, so that the guests of two runs are the same. A host that is to boot it gets a copy.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

from nvbench.guests import initramfs, kernel, testpmd_files
from nvbench.guests.base import CACHE
from nvbench.guests.kept import digest, keep, making
from nvbench.guests.packages import Archive, Package
from nvbench.hosts import Host, LocalHost

KERNELS = {"cloud": "linux-image-cloud-amd64", "generic": "linux-image-amd64"}
"""Flavour -> the package that stands for its newest kernel."""

TOOLS = "busybox-static coreutils dash dropbear-bin ethtool iperf iperf3 iproute2 iputils-ping procps sockperf tcpdump"
OPTIONAL_TOOLS = "netperf"
"""In the distribution's non-free part, which may be out of reach."""

PICKED = {
    # busybox's own env, timeout, ... run its applets in place of the real programs, such as ip.
    "coreutils": ("env", "libstdbuf.so", "nice", "nohup", "stdbuf", "timeout"),
    "tcpreplay": ("tcpreplay",),
    "util-linux": ("chrt", "flock", "lscpu", "nsenter", "setsid", "taskset", "unshare"),
}
"""Packages of which little is wanted."""

UNWANTED = re.compile(
    r"(adduser|debconf|dpkg|gcc-\d+-base|init-system-helpers|kmod|libaudit.*|libdb5.*|libfile-.*|libgdbm.*|libkmod.*"
    r"|libnumber-.*|libpam.*|libperl.*|libsem.*|libsepol.*|libtext-.*|passwd|perl.*|tar|usrmerge|debianutils|util-linux-extra)"
)
"""What only the installation of the others would need."""

DRIVERS = "virtio_pci virtio_net igb igbvf ixgbevf iavf mlx5_core"
"""Loaded at boot, where the flavour has them."""

MODULES = (
    f"{DRIVERS} 8021q act_* bonding br_netfilter bridge cls_* dummy em_* ifb ip6_tables ip_tables ipvlan macvlan "
    "macvtap nf_conntrack nf_tables openvswitch pktgen sch_* tcp_bbr tun uio_pci_generic veth vfio_pci vhost_net vrf "
    "vport_* vxlan"
)

_KEPT = ("usr/bin/", "usr/sbin/", "usr/lib/", "usr/lib64/", "usr/libexec/coreutils/", "etc/iproute2/")
_DROPPED = re.compile(r"usr/lib/(systemd|[^/]+/(gconv|audit|security|perl.*)|debug|python.*)/")
_ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\ntcpdump:x:100:100::/:/bin/false\n",
    "etc/group": "root:x:0:\ntcpdump:x:100:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\n",
    "etc/shells": "/bin/sh\n",
    "etc/hosts": "127.0.0.1 localhost\n",
}
_RECIPE = ("image.py", "initramfs.py", "kernel.py", "packages.py", "testpmd_files.py", "init")


@dataclass(frozen=True, slots=True)
class Image:
    """A kernel and its root, ready to boot.

    Attributes:
        home: Where it was made, on this machine; with its keys.
        folder: Where the host that boots it has it, and with it what is made from it there.
    """

    home: Path
    folder: str

    @property
    def kernel(self) -> str:
        """The kernel, on the host that boots it."""
        return f"{self.folder}/vmlinux"

    @property
    def root(self) -> str:
        """The initramfs, on the host that boots it."""
        return f"{self.folder}/initramfs"

    @property
    def key(self) -> Path:
        """The private key that lets one in as root, on this machine."""
        return self.home / "key"

    @property
    def host_key(self) -> str:
        """Its SSH host key, as in known_hosts: kind and base64."""
        return (self.home / "host_key.pub").read_text().strip()

    @property
    def release(self) -> str:
        """The kernel's release."""
        return (self.home / "release").read_text().strip()

    @property
    def dpdk(self) -> str:
        """The release of the DPDK in it; empty where there is none."""
        listed = (self.home / "packages").read_text()
        found = re.search(rf"^{testpmd_files.PACKAGE}=(?:\d+:)?([\d.]+)", listed, re.MULTILINE)
        return found[1] if found else ""


def image(host: Host, cache: str, flavour: str, *, testpmd: bool = False) -> Image:
    """The image of a flavour; made where it is not there yet, which takes about half a minute.

    Args:
        host: The machine that is to boot it.
        cache: Where it is kept there.
        flavour: One of `KERNELS`.
        testpmd: Whether dpdk-testpmd is in it.

    Raises:
        GuestError: It cannot be made.
        CommandError: It cannot be brought to the host.
    """
    home = _home(flavour, testpmd=testpmd)
    found = Image(home, f"{cache}/guests/{home.name}")
    if not host.exists(found.folder):
        with making(host, cache) as folder:
            if not host.exists(found.folder):
                draft = f"{folder}/draft-{home.name}"
                host.make_folder(draft)
                for path in (found.kernel, found.root):
                    name = path.rpartition("/")[2]
                    host.upload(home / name, f"{draft}/{name}")
                keep(host, draft, found.folder)
    return found


def _home(flavour: str, *, testpmd: bool) -> Path:
    """Where the image of a flavour is on this machine, once it is made."""
    cache = CACHE if os.geteuid() == 0 else str(Path("~/.cache/nvbench").expanduser())
    recipe = digest(*((Path(__file__).parent / name).read_bytes() for name in _RECIPE))
    wish = Path(cache, "guests", f"{flavour}{'-testpmd' if testpmd else ''}-{recipe}")
    if not wish.exists():
        host = LocalHost()
        with making(host, cache) as folder:
            if not wish.exists():
                _make(host, Path(folder), flavour, wish, testpmd=testpmd)
    return wish.resolve()


def _make(host: Host, folder: Path, flavour: str, wish: Path, *, testpmd: bool) -> None:
    archive = Archive(host, f"{folder}/apt", alone=True)
    archive.refresh()
    tools = [*TOOLS.split(), *PICKED, *filter(archive.has, OPTIONAL_TOOLS.split())]
    packages = [found for found in archive.closure(tools) if not UNWANTED.fullmatch(found.name)]
    chosen = archive.kernel(KERNELS[flavour])
    beside = testpmd_files.packages(archive) if testpmd else []
    draft = folder / f"draft-{wish.name}"
    archive.unpack([*packages, chosen], f"{draft}/unpacked")
    if beside:
        archive.unpack(beside, f"{draft}/beside", together=True)
    _assemble(host, draft, packages, beside, chosen)
    key = (draft / "host_key.pub").read_bytes()
    made = folder / f"image-{digest(wish.name, (draft / 'packages').read_bytes(), key)}"
    keep(host, str(draft), str(made), str(wish))


def _assemble(host: Host, draft: Path, packages: list[Package], beside: list[Package], chosen: Package) -> None:
    unpacked = draft / "unpacked"
    release = chosen.name.removeprefix("linux-image-")
    boot = unpacked / chosen.name
    (draft / "vmlinux").write_bytes(kernel.bootable((boot / f"boot/vmlinuz-{release}").read_bytes()))
    (draft / "release").write_text(f"{release}\n")
    (draft / "packages").write_text("".join(f"{package}\n" for package in dict.fromkeys((*packages, *beside, chosen))))
    entries: dict[str, initramfs.Entry] = {}
    for package in packages:
        entries |= _files(unpacked / package.name, PICKED.get(package.name, ()))
    applets = host.run([str(unpacked / "busybox-static/bin/busybox"), "--list"]).stdout.split()
    entries |= {f"usr/bin/{name}": initramfs.symlink("busybox") for name in applets if not _is_there(entries, name)}
    entries |= {"usr/bin/sh": initramfs.symlink("dash"), "usr/sbin/modprobe": initramfs.symlink("../bin/busybox")}
    entries |= _modules(next(boot.glob("**/lib/modules/*")), f"usr/lib/modules/{release}")
    if beside:
        entries |= testpmd_files.entries(host, draft / "beside")
        shutil.rmtree(draft / "beside")
    entries |= _own_files() | _keys(draft)
    with (draft / "initramfs").open("wb") as out:
        initramfs.write(entries, out)
    shutil.rmtree(unpacked)


def _files(root: Path, picked: tuple[str, ...]) -> dict[str, initramfs.Entry]:
    """What is wanted of an unpacked package, /bin, /sbin and /lib merged into /usr."""
    found = {}
    for name, entry in initramfs.tree(root):
        path = f"usr/{name}" if name.startswith(("bin/", "sbin/", "lib/", "lib64/")) else name
        if path.startswith(_KEPT) and not _DROPPED.match(path) and (not picked or Path(path).name in picked):
            found[path] = entry
    return found


def _is_there(entries: dict[str, initramfs.Entry], name: str) -> bool:
    return f"usr/bin/{name}" in entries or f"usr/sbin/{name}" in entries


def _modules(root: Path, target: str) -> dict[str, initramfs.Entry]:
    wanted = kernel.wanted_modules(root, MODULES.split())
    entries = {f"{target}/{module.path}": initramfs.file(module.data) for module in wanted.values()}
    entries[f"{target}/modules.dep"] = initramfs.file(kernel.dependency_table(wanted))
    entries[f"{target}/modules.alias"] = initramfs.file(kernel.alias_table(wanted))
    entries[f"{target}/modules.builtin"] = initramfs.file((root / "modules.builtin").read_bytes())
    entries["etc/drivers"] = initramfs.file(DRIVERS)
    return entries


def _own_files() -> dict[str, initramfs.Entry]:
    init = (Path(__file__).parent / "init").read_bytes()
    entries = {path: initramfs.file(text) for path, text in _ACCOUNTS.items()}
    entries |= {name: initramfs.folder() for name in ("dev", "mnt", "proc", "run", "sys", "var/log")}
    entries |= {name: initramfs.symlink(f"usr/{name}") for name in ("bin", "sbin", "lib", "lib64")}
    entries |= {"var/run": initramfs.symlink("/run"), "tmp": initramfs.folder(0o1777), "root": initramfs.folder(0o700)}
    return entries | {"init": initramfs.file(init, 0o755)}


def _keys(folder: Path) -> dict[str, initramfs.Entry]:
    """Key pairs of an image alone: one lets nvbench in, by the other it knows that it is there."""
    from cryptography.hazmat.primitives import serialization as form  # noqa: PLC0415 - slow to import, needed once
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - see above

    client, server = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    private = client.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption())
    key = folder / "key"
    key.touch(mode=0o600)
    key.write_bytes(private)
    openssh = (form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)
    public = server.public_key().public_bytes(*openssh).decode()
    (folder / "host_key.pub").write_text(f"{public}\n")
    # dropbear's own format: the kind, then the private key with the public one behind it.
    pair = server.private_bytes_raw() + server.public_key().public_bytes_raw()
    kind = public.split()[0].encode()
    host_key = struct.pack(">I", len(kind)) + kind + struct.pack(">I", len(pair)) + pair
    return {
        "root/.ssh": initramfs.folder(0o700),
        "root/.ssh/authorized_keys": initramfs.file(client.public_key().public_bytes(*openssh), 0o600),
        "etc/dropbear/host_key": initramfs.file(host_key, 0o600),
    }


def host_key_data(known: str) -> bytes:
    """The public key of a known_hosts entry."""
    return base64.b64decode(known.split()[1])
