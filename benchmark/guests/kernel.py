"""A distribution's kernel, made ready for a guest: its ELF image, and the modules that are wanted."""

from __future__ import annotations

import lzma
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

_ZSTD = b"\x28\xb5\x2f\xfd"
_LZ4 = b"\x02\x21\x4c\x18"
_LZ4_BLOCK = 8 << 20
_FIELD = re.compile(rb"(?:^|\0)(depends|alias)=([^\0]*)(?=\0)")


def bootable(bzimage: bytes) -> bytes:
    """The ELF image within a compressed one: QEMU starts it by its PVH entry, and nothing is unpacked in the guest.

    A compressed image starts too, a little later; it comes back as it is where its packing is none of ours.
    """
    sectors = bzimage[0x1F1] or 4  # the boot protocol's setup_sects, payload_offset and payload_length
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    begin = (sectors + 1) * 512 + offset
    payload = bzimage[begin : begin + length]
    if payload.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor().decompress(payload)
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(payload)
    if payload.startswith(_ZSTD):
        return _unzstd(payload[:-4])  # the kernel's build appends the size
    if payload.startswith(_LZ4):
        return _unlz4(payload)
    return bzimage


def _unzstd(data: bytes) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 - slow to import, needed once

    with pa.input_stream(pa.BufferReader(data), compression="zstd") as stream:
        return bytes(stream.read())


def _unlz4(data: bytes) -> bytes:
    """The old format of lz4(1): blocks of 8 MiB, each behind its packed size; the kernel's build appends the whole."""
    import pyarrow as pa  # noqa: PLC0415 - slow to import, needed once

    (left,) = struct.unpack("<I", data[-4:])
    at, whole = len(_LZ4), bytearray()
    while left:
        (packed,) = struct.unpack_from("<I", data, at)
        size = min(left, _LZ4_BLOCK)
        whole += pa.decompress(data[at + 4 : at + 4 + packed], size, codec="lz4_raw", asbytes=True)
        at += 4 + packed
        left -= size
    return bytes(whole)


@dataclass(frozen=True, slots=True)
class Module:
    """A kernel module.

    Attributes:
        path: Where it is under /lib/modules/RELEASE, unpacked: `kernel/net/openvswitch/openvswitch.ko`.
        data: The object itself.
        needs: Names of the modules that it needs.
        aliases: What else it is asked for by: `pci:v00008086d00001520*`.
    """

    path: str
    data: bytes
    needs: tuple[str, ...]
    aliases: tuple[str, ...]

    @classmethod
    def read(cls, path: str, packed: bytes) -> Module:
        """From its file; what it needs and answers to is text within (modinfo(8))."""
        if path.endswith(".xz"):
            path, packed = path.removesuffix(".xz"), lzma.decompress(packed)
        elif path.endswith(".zst"):
            path, packed = path.removesuffix(".zst"), _unzstd(packed)
        fields = [(key, value.decode()) for key, value in _FIELD.findall(packed)]
        needs = [module_name(need) for key, value in fields if key == b"depends" for need in value.split(",") if need]
        return cls(path, packed, tuple(needs), tuple(value for key, value in fields if key == b"alias"))


def module_name(path: str) -> str:
    """The name that a module's file stands for; the kernel does not tell - from _."""
    return Path(path).name.split(".ko")[0].replace("-", "_")


def wanted_modules(root: Path, patterns: Sequence[str]) -> dict[str, Module]:
    """The modules under /lib/modules/RELEASE that fit a pattern, and those that they need, by name.

    A pattern that fits none is fine: another flavour of the kernel has it built in, or does without.
    """
    paths = {module_name(path.name): path for path in sorted(root.glob("kernel/**/*.ko*"))}
    asked = [name for name in paths if any(fnmatch(name, pattern) for pattern in patterns)]
    found: dict[str, Module] = {}
    while asked:
        name = asked.pop()
        if name in paths and name not in found:
            path = paths[name]
            found[name] = Module.read(path.relative_to(root).as_posix(), path.read_bytes())
            asked.extend(found[name].needs)
    return found


def _all_needs(name: str, modules: Mapping[str, Module]) -> Iterator[str]:
    """What it needs, and what that needs: in an order in which the last is to be loaded first."""
    for need in modules[name].needs:
        if need in modules:
            yield need
    for need in modules[name].needs:
        if need in modules:
            yield from _all_needs(need, modules)


def dependency_table(modules: Mapping[str, Module]) -> str:
    """modules.dep (modules.dep(5)), as depmod(8) would write it."""
    lines = []
    for name in sorted(modules):
        # Of a module that is needed twice the last mention stays: it has to be there before both.
        needs = list(dict.fromkeys(reversed(list(_all_needs(name, modules)))))[::-1]
        lines.append(f"{modules[name].path}:" + "".join(f" {modules[need].path}" for need in needs))
    return "\n".join(lines) + "\n"


def alias_table(modules: Mapping[str, Module]) -> str:
    """modules.alias, as depmod(8) would write it."""
    rows = (f"alias {alias} {name}" for name in sorted(modules) for alias in modules[name].aliases)
    return "\n".join(rows) + "\n"
