"""What a DPDK program tells of its ports over its telemetry socket, version 2: packets of JSON on a local socket."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from nvbench.tables import Reading

TIMEOUT_S = 2.0
_GREETING_BYTES = 1024
_QUEUE = re.compile(r"([rt]x)_q(\d+)_(?:good_)?(packets|bytes|errors|guest_notifications)")
_PORT = re.compile(r"([rt]x)_(?:good_)?(packets|bytes)|\w*(?:drop|err|miss|fail|discard)\w*")


class DpdkTelemetry:
    """See `Collector`: extended statistics (rte_eth_xstats) of the ports of a program on this machine.

    Args:
        path: Its socket, `dpdk_telemetry.v2` in its runtime folder.
        names: DPDK's number of a port -> its name on the bench.
    """

    def __init__(self, path: str, names: Mapping[int, str]) -> None:
        self._path = path
        self._names = names

    def readings(self) -> list[Reading]:
        """See `Collector.readings`; of a program that has gone, nothing: whoever started it tells so."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(TIMEOUT_S)
            try:
                connection.connect(self._path)
                most_bytes = int(json.loads(connection.recv(_GREETING_BYTES))["max_output_len"])
                asked = ((name, f"/ethdev/xstats,{port}") for port, name in self._names.items())
                return [
                    reading
                    for name, question in asked
                    for reading in port_readings(name, _answer(connection, question, most_bytes))
                ]
            except (OSError, ValueError):
                return []


def _answer(connection: socket.socket, question: str, most_bytes: int) -> dict[str, Any]:
    connection.send(question.encode())
    (told,) = json.loads(connection.recv(most_bytes)).values()
    return dict(told or {})


def port_readings(name: str, xstats: Mapping[str, float]) -> Iterator[Reading]:
    """`/ethdev/xstats,N`: what came in and went out at a port and at each of its queues, and every cause of loss.

    Drivers tell some of it twice, as `rx_q0_packets` and `rx_q0_good_packets`: once is enough.
    """
    found: dict[tuple[str, str], Reading] = {}
    for key, value in xstats.items():
        if queue := _QUEUE.fullmatch(key):
            source, metric = f"port {name} queue {queue[2]}", f"{queue[1]}_{queue[3]}"
        elif port := _PORT.fullmatch(key):
            source, metric = f"port {name}", f"{port[1]}_{port[2]}" if port[1] else key
        else:
            continue
        unit = "bytes" if metric.endswith("bytes") else "count" if "notifications" in metric else "frames"
        found.setdefault((source, metric), Reading(source, metric, float(value), unit))
    yield from found.values()
