"""The control socket of an Open vSwitch daemon, spoken to directly as ovs-appctl(8) does: JSON-RPC 1.0 (RFC 7047, 4).

To start a program for each question takes some milliseconds of a core that a generator may be polling on.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path

from nvbench.errors import CommandError
from nvbench.hosts import Host

TIMEOUT_S = 30.0
"""A daemon that shares its core with a polling generator gets a hundredth of it."""
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_PIECE_BYTES = 1 << 16


def here(host: Host) -> bool:
    """Whether a host is this machine, by the id of its boot: its sockets can be connected to then."""
    return host.read(_BOOT_ID) == Path(_BOOT_ID).read_text()


def ask(path: str, questions: Sequence[Sequence[str]]) -> list[str]:
    """What a daemon answers to commands in turn; nothing to one that it does not know.

    Args:
        path: Its control socket.
        questions: Commands with their arguments.

    Raises:
        CommandError: It has gone.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_S)
        try:
            connection.connect(path)
            return [_answer(connection, question) for question in questions]
        except OSError as error:
            raise CommandError(f"no answer: {error}", place=path) from error


def _answer(connection: socket.socket, question: Sequence[str]) -> str:
    method, *params = question
    connection.sendall(json.dumps({"method": method, "params": params, "id": 0}).encode())
    told = b""
    while True:
        piece = connection.recv(_PIECE_BYTES)
        told += piece
        try:
            answer = json.loads(told)
        except ValueError:
            if piece:
                continue  # there is more to come
            raise ConnectionError("the connection was closed") from None
        return str(answer["result"] or "")
