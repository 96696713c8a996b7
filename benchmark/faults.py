"""Faults of what people wrote: which value, what is wrong with it, what to do; pydantic's findings as such.

All faults of a file are told at once, one a line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, NoReturn, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from nvbench.errors import UsageError

Path = tuple[str | int, ...]
"""Where a value is: `("traffic", "frame_bytes", 0)`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with a value.

    Attributes:
        path: Where in the document.
        what: What is wrong, in one clause.
        remedy: What the reader can do about it.
    """

    path: Path
    what: str
    remedy: str = ""


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """A remedy that names the nearest known word, or nothing."""
    near = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else ""


def refuse(lines: Iterable[str]) -> NoReturn:
    """Raise every fault at once, each once, one a line.

    Raises:
        UsageError: Always.
    """
    raise UsageError("\n".join(dict.fromkeys(lines)))


def faults(error: ValidationError, model: type[BaseModel], above: Path = ()) -> list[Fault]:
    """What pydantic found, in this program's words, below the path `above`."""
    found = []
    details = error.errors(include_url=False)
    for detail in details:
        if detail["type"] == "too_short" and _explained(detail["loc"], details):
            continue
        path = tuple(part for part in detail["loc"] if part != "[key]")
        if detail["type"] == "missing":
            found.append(Fault((*above, *path[:-1]), f"`{path[-1]}` is missing"))
        elif detail["type"] == "extra_forbidden":
            known = _keys(model, path[:-1])
            remedy = did_you_mean(path[-1], known) or f"known are {', '.join(known)}"
            found.append(Fault((*above, *path), "unknown key", remedy))
        else:
            found.append(Fault((*above, *path), *_said(detail["type"], detail)))
    return found


def _explained(loc: Path, details: Sequence[ErrorDetails]) -> bool:
    """Whether a list is short only because its entries are faulty."""
    return any(len(other["loc"]) > len(loc) and other["loc"][: len(loc)] == loc for other in details)


_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("above", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("below", "lt"),
}
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "string": "text",
    "bool": "true or false",
    "model": "a mapping of keys",
    "dict": "a mapping of keys",
    "tuple": "a list",
}


def _said(kind: str, detail: Any) -> tuple[str, str]:
    """What is wrong and a remedy, from one of pydantic's findings."""
    context, given = detail.get("ctx", {}), shown(detail["input"])
    expected = _KINDS.get(kind.partition("_")[0])
    what, remedy = str(detail["msg"]), ""
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        what = f"must be {word} {context[key]}, not {given}"
    elif kind in ("enum", "literal_error"):
        words = re.findall(r"'([^']*)'", context["expected"])
        what = f"must be one of {', '.join(words)}; not {given}"
        remedy = did_you_mean(detail["input"], words)
    elif kind == "too_short":
        what = f"needs {context['min_length']} or more entries, has {context['actual_length']}"
    elif kind == "too_long":
        what = f"takes {context['max_length']} entries, has {context['actual_length']}"
    elif kind == "value_error":
        what, remedy = (*(str(argument) for argument in context["error"].args), "")[:2]
    elif expected:
        what = f"must be {expected}, not {given}"
        if expected == "text" and isinstance(detail["input"], int | float):
            remedy = "put it in quotes"
    return what, remedy


def _keys(annotation: Any, path: Path) -> list[str]:
    """The keys that a model knows at a path below it."""
    for part in (*path, None):
        while get_origin(annotation) in (Annotated, Union, UnionType):
            annotation = get_args(annotation)[0]
        if part is None:
            break
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            known = annotation.model_fields.get(str(part))
            annotation = known.annotation if known else None
        else:  # dict[str, X] or tuple[X, ...]
            arguments = [argument for argument in get_args(annotation) if argument is not ...]
            annotation = arguments[-1] if arguments else None
    return list(annotation.model_fields) if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


def shown(value: object) -> str:
    """A value as a fault quotes it: short."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
