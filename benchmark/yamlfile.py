"""Strict YAML with places: every value knows its line, every fault is told, nothing is guessed.

Scalars follow YAML 1.2's core schema. What YAML 1.1 would have turned into something else (`on`,
`010`) is refused; what it would have turned into a number by accident (`52:54:00:12:34:56`) is text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path as FilePath
from typing import Any

from nvbench.errors import UsageError
from nvbench.faults import Fault, Path, did_you_mean, refuse, shown
from nvbench.yamlvalues import Reader, compose

_MAX_BYTES = 1 << 20


@dataclass
class Document:
    """What a file says, and where it says it.

    Attributes:
        name: The file's name, as the reader knows it.
        value: Plain dicts, lists and scalars.
        places: Path -> `file:line`, or `-s key` for an override.
        broken: Path -> the line that tells why there is no value to check.
    """

    name: str
    value: dict[str, Any]
    places: dict[Path, str] = field(default_factory=dict)
    broken: dict[Path, str] = field(default_factory=dict)

    def place(self, path: Path) -> str:
        """Where the value, or the nearest thing around it, was written."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, self.name)

    def line(self, fault: Fault) -> str:
        """A fault as one line: `file:line: path.to.key: what (remedy)`."""
        path = self._known(fault.path)
        place, dotted = self.place(path), ".".join(str(part) for part in path)
        shown = "" if not dotted or place == f"-s {dotted}" else f"{dotted}: "
        return f"{place}: {shown}{fault.what}" + (f" ({fault.remedy})" if fault.remedy else "")

    def lines(self, faults: Iterable[Fault]) -> list[str]:
        """All that is wrong, a line each, in the file's order: what could not be read and these faults."""
        order = {path: index for index, path in enumerate(self.places)}
        found = [(order.get(path, 0), line) for path, line in self.broken.items()]
        for fault in faults:
            if not any(fault.path[: len(path)] == path for path in self.broken):
                found.append((order.get(self._known(fault.path), len(order)), self.line(fault)))
        return [line for _, line in sorted(found, key=lambda each: each[0])]

    def merged(self, key: str, use: bool = True) -> Document:
        """A copy without `key`; with `use`, the mapping under it is laid over the rest."""
        rest = {name: _copy(below) for name, below in self.value.items() if name != key}
        merged = Document(self.name, rest, dict(self.places), dict(self.broken))
        overlay = self.value.get(key)
        if use and isinstance(overlay, dict):
            merged._overlay(self, (), (key,), overlay)
        return merged

    def override(self, text: str) -> None:
        """Take one `path.to.key=value`; a number counts the entries of a list or mapping.

        Raises:
            UsageError: It is not of that form, the value is no YAML, or the path leads nowhere.
        """
        dotted, equals, raw = (part.strip() for part in text.partition("="))
        place = f"-s {dotted}" if dotted else "-s"
        parts = dotted.split(".")
        if not equals or not all(parts):
            raise UsageError("needs a key and a value", place=f"-s {text!r}", remedy="write -s path.to.key=value")
        if not raw:
            raise UsageError("has no value", place=place, remedy="for none write null")
        node = compose(raw, lambda _: place)
        reader = Reader(lambda _: place)
        holders = list(self._descend(parts, place))
        for path, holder in holders:
            value = reader.value(node, path) if node is not None else None
            if reader.broken:
                refuse(reader.broken.values())
            self._forget(path)
            self.places.update(reader.places)
            holder[path[-1]] = value

    def _descend(
        self, parts: Sequence[str], place: str, path: Path = (), value: Any = None
    ) -> Iterator[tuple[Path, Any]]:
        """The paths of what is set and the dicts or lists that hold it; mappings on the way are made.

        A key below a list of mappings is set in each of them.
        """
        current = value if path else self.value
        part, *rest = parts
        key = _entry(current, part)
        if key is None and not part.isdigit() and _mappings(current):
            for index, below in enumerate(current):
                yield from self._descend(parts, place, (*path, index), below)
            return
        if key is None:
            above = ".".join(str(known) for known in path)
            what = f"`{above}` has entries 0 to {len(current) - 1}" if current else f"`{above}` is empty"
            raise UsageError(what, place=place)
        here = (*path, key)
        if not rest:
            yield here, current
            return
        entries: Any = current
        below = entries.get(key) if isinstance(current, dict) else current[int(key)]
        if below is None:
            below = entries[key] = {}
            self.places[here] = place
        if not isinstance(below, dict | list):
            raise UsageError(f"`{'.'.join(str(known) for known in here)}` has no keys below it", place=place)
        yield from self._descend(rest, place, here, below)

    def _overlay(self, source: Document, path: Path, origin: Path, overlay: dict[str, Any]) -> None:
        target: Any = self.value
        for part in path:
            target = target[part]
        for key, value in overlay.items():
            here, there = (*path, key), (*origin, key)
            if isinstance(value, dict) and isinstance(target.get(key), dict):
                self._overlay(source, here, there, value)
                continue
            below = target.get(key)
            if isinstance(value, dict) and _mappings(below):
                for index in range(len(below)):
                    self._overlay(source, (*here, index), there, value)
                continue
            target[key] = _copy(value)
            self._forget(here)
            for mine, theirs in ((self.places, source.places), (self.broken, source.broken)):
                found = {known: line for known, line in theirs.items() if known[: len(there)] == there}
                mine.update({(*here, *known[len(there) :]): line for known, line in found.items()})

    def _forget(self, path: Path) -> None:
        for known in [known for known in (*self.places, *self.broken) if known[: len(path)] == path]:
            self.places.pop(known, None)
            self.broken.pop(known, None)

    def _known(self, path: Path) -> Path:
        """The path without what the file does not say: the index of what is taken as a list of one."""
        current: Any = self.value
        known: Path = ()
        for part in path:
            if isinstance(current, list):
                if not (isinstance(part, int) and part < len(current)):
                    break
                current = current[part]
            elif isinstance(current, dict):
                if isinstance(part, int) and str(part) not in current:
                    continue
                current = current.get(str(part))
            else:
                break
            known = (*known, part)
        return known


def parse(data: bytes, name: str) -> Document:
    """Read a document whose top is a mapping.

    Raises:
        UsageError: It is none. What is wrong with single values is told by `Document.lines`.
    """
    if len(data) > _MAX_BYTES:
        raise UsageError(f"is larger than {_MAX_BYTES} bytes", place=name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError("is not UTF-8 text", place=f"{name}:{line}", remedy="save it as UTF-8") from None
    node = compose(text, lambda line: f"{name}:{line}")
    if node is None:
        raise UsageError("is empty", place=name)
    reader = Reader(lambda line: f"{name}:{line}")
    value = reader.value(node, ())
    if () in reader.broken:
        refuse(reader.broken.values())
    if not isinstance(value, dict):
        raise UsageError(f"must hold `key: value` lines, not {shown(value)}", place=name)
    return Document(name, value, reader.places, reader.broken)


def locate(what: str, package: str, name_or_path: str) -> tuple[str, bytes]:
    """The display name and the bytes of a packaged file (by its bare name) or of a file on disk.

    Raises:
        UsageError: There is none, or it cannot be read.
    """
    names = packaged(package)
    if name_or_path in names:
        file = resources.files(package) / f"{name_or_path}.yaml"
        return f"{name_or_path}.yaml", file.read_bytes()
    try:
        with FilePath(name_or_path).open("rb") as file_on_disk:
            return name_or_path, file_on_disk.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError | ValueError) and not re.search(r"[/\\]|\.ya?ml$", name_or_path):
            listed = f"there are {', '.join(names)}; or give a file"
            remedy = "; ".join(filter(None, (did_you_mean(name_or_path, names), listed)))
            raise UsageError(f"no {what} is called {name_or_path!r}", remedy=remedy) from None
        why = (getattr(error, "strerror", None) or str(error)).lower()
        raise UsageError(f"cannot be read: {why}", place=name_or_path) from None


def packaged(package: str) -> list[str]:
    """Names of the YAML files that come with a package."""
    files = resources.files(package).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def _mappings(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(below, dict) for below in value)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(below) for key, below in value.items()}
    return [_copy(below) for below in value] if isinstance(value, list) else value


def _entry(holder: Any, part: str) -> str | int | None:
    """The key or index that a part of an override's path means; None if a list has no such entry."""
    number = int(part) if part.isascii() and part.isdigit() and len(part) < 6 else None
    if isinstance(holder, list):
        return number if number is not None and number < len(holder) else None
    if part not in holder and number is not None and number < len(holder):
        return str(list(holder)[number])
    return part
