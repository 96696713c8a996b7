"""From YAML's text to plain values, strictly: each with its place, each fault told."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import yaml
from yaml.error import Mark

from nvbench.errors import UsageError
from nvbench.faults import Path

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


class Loader(yaml.SafeLoader):
    """Composes nodes; which scalar means what is decided by `Reader`."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node; aliases and deep nests are refused."""
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
        """The tag of a node; plain scalars stay untyped."""
        if kind is yaml.ScalarNode and implicit[0]:
            return _PLAIN
        tag: str = super().resolve(kind, value, (False, False))  # type: ignore[no-untyped-call]
        return tag


def compose(text: str, place: Callable[[int], str]) -> yaml.Node | None:
    """The nodes of a text.

    Raises:
        UsageError: It is no YAML.
    """
    try:
        loader = Loader(text)
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


class Reader:
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
