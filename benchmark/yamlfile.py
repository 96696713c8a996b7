"""Strict YAML with places: every value knows its line, every fault is told, nothing is guessed.

Scalars follow YAML 1.2's core schema. What YAML 1.1 would have turned into something else (`on`,
`010`) is refused; what it would have turned into a number by accident (`52:54:00:12:34:56`) is text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path as FilePath
from typing import Any

import yaml
from yaml.error import Mark

from nvbench.errors import UsageError
from nvbench.faults import Fault, Path, did_you_mean, refuse, shown

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 32
_NULLS = {"null", "Null", "NULL", "~"}
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_AMBIGUOUS = {"on", "off", "yes", "no"}
_INTEGER = re.compile(r"[-+]?(0|[1-9](_?[0-9])*)")
_ZERO_LED = re.compile(r"[-+]?0[0-9_]+")
_BASED = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_PLAIN = "plain"


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
        node = _compose(raw, lambda _: place)
        reader = _Reader(lambda _: place)
        path, holder = self._descend(parts, place)
        value = reader.value(node, path) if node is not None else None
        if reader.broken:
            refuse(reader.broken.values())
        self._forget(path)
        self.places.update(reader.places)
        holder[path[-1]] = value

    def _descend(self, parts: Sequence[str], place: str) -> tuple[Path, Any]:
        """The path of what is set and the dict or list that holds it; mappings on the way are made."""
        current: Any = self.value
        path: Path = ()
        for depth, part in enumerate(parts):
            key = _entry(current, part)
            if key is None:
                above = ".".join(parts[:depth])
                what = f"`{above}` has entries 0 to {len(current) - 1}" if current else f"`{above}` is empty"
                raise UsageError(what, place=place)
            path = (*path, key)
            if depth == len(parts) - 1:
                break
            below = current.get(key) if isinstance(current, dict) else current[int(key)]
            if below is None:
                below = current[key] = {}
                self.places[path] = place
            if not isinstance(below, dict | list):
                raise UsageError(f"`{'.'.join(parts[: depth + 1])}` has no keys below it", place=place)
            current = below
        return path, current

    def _overlay(self, source: Document, path: Path, origin: Path, overlay: dict[str, Any]) -> None:
        target: Any = self.value
        for part in path:
            target = target[part]
        for key, value in overlay.items():
            here, there = (*path, key), (*origin, key)
            if isinstance(value, dict) and isinstance(target.get(key), dict):
                self._overlay(source, here, there, value)
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
        """The path without what the file does not say: the index of a scalar taken as a list of one."""
        current: Any = self.value
        for depth, part in enumerate(path):
            if isinstance(current, list):
                if not (isinstance(part, int) and part < len(current)):
                    return path[:depth]
                current = current[part]
            elif isinstance(current, dict):
                current = current.get(str(part))
            else:
                return path[:depth]
        return path


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
    node = _compose(text, lambda line: f"{name}:{line}")
    if node is None:
        raise UsageError("is empty", place=name)
    reader = _Reader(lambda line: f"{name}:{line}")
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


class _Loader(yaml.SafeLoader):
    """Composes nodes; which scalar means what is decided by `_Reader`."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        alias = self.check_event(yaml.AliasEvent)
        if alias or self.depth > _MAX_DEPTH:
            what = "aliases are not supported: write the value out" if alias else "nested too deeply"
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=what, problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return _PLAIN
        tag: str = super().resolve(kind, value, (False, False))  # type: ignore[no-untyped-call]
        return tag


def _compose(text: str, place: Callable[[int], str]) -> yaml.Node | None:
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise UsageError("holds a character that YAML does not allow", place=place(line)) from None
    except yaml.MarkedYAMLError as error:
        mark: Mark | None = error.problem_mark or error.context_mark
        number = mark.line if mark else 0
        lines = text.splitlines()
        indent = re.match(r"\s*", lines[number] if number < len(lines) else "")
        if (indent and "\t" in indent.group()) or "'\\t'" in str(error.problem):
            raise UsageError("a tab in the indentation", place=place(number + 1), remedy="use spaces") from None
        raise UsageError(f"not YAML: {error.problem or error.context}", place=place(number + 1)) from None


class _Reader:
    """Turns nodes into plain values; collects what is broken instead of raising it."""

    def __init__(self, place: Callable[[int], str]) -> None:
        self.place = place
        self.broken: dict[Path, str] = {}
        self.places: dict[Path, str] = {}

    def value(self, node: yaml.Node, path: Path) -> Any:
        """The value of a node."""
        self.places[path] = self.place(node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.value(below, (*path, index)) for index, below in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag == _PLAIN:
            return self._plain(node, path)
        if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:str":
            return node.value
        return self._fault(node, path, f"the tag `{node.tag}` is not supported: write the bare value")

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, below in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(key_node, (*path, "?"), "a key must be a word")
                continue
            key = key_node.value
            if key_node.tag == _PLAIN and key.lower() in _AMBIGUOUS:
                self._fault(key_node, (*path, key), f"`{key}` is ambiguous as a key: write '{key}'")
            if key in result:
                self._fault(key_node, (*path, key), f"`{key}` is given twice: first on line {lines[key]}")
                continue
            lines[key] = key_node.start_mark.line + 1
            self.places[(*path, key)] = self.place(lines[key])
            result[key] = self.value(below, (*path, key))
            self.places[(*path, key)] = self.place(lines[key])
        return result

    def _plain(self, node: yaml.ScalarNode, path: Path) -> Any:
        text: str = node.value
        if not text:
            name = f"`{path[-1]}`" if path else "the file"
            return self._fault(node, path, f"{name} has no value: write one, or null")
        if text in _NULLS or text in _BOOLS:
            return _BOOLS.get(text)
        number = _number(text)
        if text.lower() in _AMBIGUOUS:
            self._fault(node, path, f"`{text}` is ambiguous: write true, false or '{text}'")
        elif _ZERO_LED.fullmatch(text):
            self._fault(node, path, f"`{text}` is ambiguous: write {text.lstrip('+-0_') or 0} or '{text}'")
        elif number is not None and not math.isfinite(number):
            self._fault(node, path, f"`{text[:40]}` is not a number that can be used")
        return text if number is None else number

    def _fault(self, node: yaml.Node, path: Path, what: str) -> None:
        self.broken[path] = f"{self.place(node.start_mark.line + 1)}: {what}"


def _number(text: str) -> float | int | None:
    """The number that a plain scalar means: None if it is text, infinity if it is none to count with."""
    if _NOT_FINITE.fullmatch(text):
        return math.inf
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) < 40 else math.inf
    if _BASED.fullmatch(text):
        return int(text, 0) if len(text) < 40 else math.inf
    if not _FLOAT.fullmatch(text):
        return None
    number = float(text)
    whole = "." not in text and abs(number) < 2**53 and number.is_integer()
    return int(number) if whole else number
