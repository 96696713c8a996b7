"""Drives TRex on the host where it is installed: far end of `nvbench.generators.trex`, spoken to in JSON lines.

    python3 trex_driver.py FILE_PREFIX

With `trex_server.py` it is copied to hosts that have no nvbench, and needs no more than Python 3.6 and TRex's own
client, out of the folder of TRex. It starts a server of its own, which ends when the other end goes: when standard
input closes, on a signal, and when this program is killed; a trial ends in its own time, with or without listeners.

A request is `{"do": NAME, ...}`; the answer is an event: `ready`, `done` or `error`, and `live` while a trial runs.
"""
# ruff: noqa: UP006, UP032, UP035, UP045, B905 - notations that Python 3.6 does not know

import collections
import json
import os
import re
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Deque, Dict, List, NoReturn, Optional

from trex_server import Fault, Server, free_ports, mellanox, running, seclude  # type: ignore[import-not-found]

SAMPLE_S = 0.05
"""Time between two looks at the counters of a running trial."""

REQUEST_S = 2
"""The client waits for an answer up to four times as long."""

OVERTIME_S, OVERTIME_RATIO = 0.05, 0.02
"""TRex that is late stretches its schedule, and its clock may be slow: a trial is stopped so long after its time."""

BACKSTOP_S = 2.0
"""The server itself ends a trial so long after its time."""

MOST_IN_BURST = 2**32 - 1
"""A stream of more frames than TRex can count is one without an end, and stopped."""

COUNTERS = ("opackets", "ipackets", "oerrors", "ierrors")
"""What is counted of a port, under TRex's names."""

CLIENT = "automation/trex_control_plane/interactive"
EVENTS = sys.stdout


def wait(seconds: float) -> None:
    """Wait so long; nothing is asked meanwhile, so that what comes is the other end's going.

    Raises:
        SystemExit: It has gone.
    """
    if select.select([0], [], [], seconds)[0]:
        sys.exit(1)


def say(**event: Any) -> None:
    """An event, on a line of its own."""
    EVENTS.write(json.dumps(event) + "\n")
    EVENTS.flush()


class Driver:
    """TRex, its client, and the other end."""

    def __init__(self) -> None:
        self.server: Optional[Server] = None
        self.client: Any = None
        self.ports: List[int] = []
        self._api: Any = None

    def serve(self) -> None:
        """Do what is asked until the other end goes."""
        for line in iter(sys.stdin.readline, ""):
            request = json.loads(line)
            try:
                say(**getattr(self, "do_" + request.pop("do"))(**request))
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - TRex's client raises what it likes
                say(event="error", what=self._told(error))

    def _told(self, error: BaseException) -> str:
        """What went wrong, on a line; if the server ended, that."""
        try:
            if self.server is not None:
                self.server.check_alive()
        except Fault as fault:
            return str(fault)
        lines = [line.strip(" *") for line in str(error).splitlines() if re.search(r"\w", line)]
        return "; ".join(lines[:3]) or type(error).__name__

    # -- up and down -------------------------------------------------------------------------------------------

    def do_open(
        self, trex: str, config: str, pci: List[str], ports: int, mark: str, patience_s: float
    ) -> Dict[str, Any]:
        """Start a server, connect to it, and take its ports; it and their links have so long to come up."""
        others = running()
        if others:
            raise Fault("TRex is running already, process {}".format(others[0]))
        self._load(trex)
        seclude(pci)
        requests, events = free_ports()
        folder = Path(__file__).parent
        path = folder / "trex.yaml"
        path.write_text("{}  zmq_rpc_port: {}\n  zmq_pub_port: {}\n".format(config, requests, events))
        argv = ["nice", "-n", "-20", trex + "/_t-rex-64", "-i", "--stl", "--cfg", str(path), "--prefix", mark]
        self.server = Server([*argv, "--iom", "0", "--no-key", "--hdrh", *mellanox(pci)], trex, folder / "trex.log")
        deadline = time.monotonic() + patience_s
        self._await_answer(requests, deadline)
        asked = {"sync_port": requests, "async_port": events, "sync_timeout": REQUEST_S, "async_timeout": REQUEST_S}
        self.client = self._api.STLClient(server="127.0.0.1", verbose_level="none", **asked)
        self.client.connect()
        there = list(self.client.get_all_ports())
        if len(there) < ports:
            raise Fault("TRex has {} of {} ports{}".format(len(there), ports, self.server.last_words()))
        self.ports = there[:ports]
        self.client.acquire(ports=self.ports, force=False)
        self.client.set_port_attr(ports=self.ports, promiscuous=True)
        for port in self.ports:
            self._await_link(port, deadline)
        return {"event": "ready", "version": str(self.client.get_server_version()["version"])}

    def _load(self, trex: str) -> None:
        sys.path.insert(0, str(Path(trex, CLIENT)))
        try:
            from trex.stl import api  # type: ignore[import-not-found]  # noqa: PLC0415 - TRex brings it
        except (Exception, SystemExit) as error:
            raise Fault(
                "TRex's client does not run on Python {0.major}.{0.minor}: {1}".format(sys.version_info, error)
            ) from error
        self._api = api

    def _await_answer(self, port: int, deadline: float) -> None:
        assert self.server is not None  # noqa: S101 - it was started
        while True:
            self.server.check_alive()
            try:
                socket.create_connection(("127.0.0.1", port), 1.0).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise Fault("TRex did not start in time{}".format(self.server.last_words())) from None
            wait(0.1)

    def _await_link(self, port: int, deadline: float) -> None:
        while self.client.get_port_attr(port)["link"] != "UP":
            if time.monotonic() > deadline:
                raise Fault("the link of TRex's port {} is down".format(port))
            wait(0.1)

    def end(self) -> None:
        """Stop sending, let go of the ports, end the server."""
        if self.server is None:
            return
        try:
            if self.client is not None and self.server.child.poll() is None:
                self.client.disconnect(stop_traffic=True, release_ports=True)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the server ends anyway, whatever it says
            sys.stderr.write("{}\n".format(error))
        finally:
            self.server.end()

    # -- trials ------------------------------------------------------------------------------------------------

    def do_trial(self, streams: List[List[Dict[str, Any]]], **window: Any) -> Dict[str, Any]:
        """Send `streams`, a list for each port, and count; see `Trial.run` for the rest."""
        assert self.server is not None  # noqa: S101 - it was started
        self.server.check_alive()
        self.client.remove_all_streams(ports=self.ports)
        for port, each in zip(self.ports, streams):
            if each:
                self.client.add_streams([self._stream(number, one) for number, one in enumerate(each)], ports=[port])
        self.client.clear_stats()
        return Trial(self.client, self.server, self.ports, streams).run(**window)

    def _stream(self, number: int, asked: Dict[str, Any]) -> Any:
        """A stream as TRex wants it; one of a group measures latency."""
        api, engine = self._api, self._api.STLVM()
        for field in asked["fields"]:
            first, name = field["first"], "at{}".format(field["offset"])
            engine.var(name=name, min_value=first, max_value=first + asked["flows"] - 1, size=4, op="inc")
        for field in asked["fields"]:
            place = {"fv_name": "at{}".format(field["offset"]), "pkt_offset": field["offset"]}
            if field["width"] == 4:
                engine.write(**place)
            else:
                engine.write_mask(pkt_cast_size=field["width"], mask=0xFFFF, **place)
        if asked["checksum"] is not None:
            engine.fix_chksum(offset=asked["checksum"])
        pace, bounded = {"pps": asked["pps"]}, asked["count"] <= MOST_IN_BURST
        return api.STLStream(
            name=str(number),
            packet=api.STLPktBuilder(pkt_buffer=bytes.fromhex(asked["frame"]), vm=engine if asked["fields"] else None),
            mode=api.STLTXSingleBurst(total_pkts=asked["count"], **pace) if bounded else api.STLTXCont(**pace),
            flow_stats=api.STLFlowLatencyStats(pg_id=asked["group"]) if asked["group"] else None,
            mac_src_override_by_pkt=1,  # what is in the frame
            mac_dst_override_mode=1,
        )


class Trial:
    """Sending for a while, and what was counted."""

    def __init__(self, client: Any, server: Server, ports: List[int], streams: List[List[Dict[str, Any]]]) -> None:
        self._client, self._server, self._ports = client, server, ports
        self._sending = [port for port, each in zip(ports, streams) if each]
        self._groups = [one["group"] for each in streams for one in each if one["group"]]
        self._asked = sum(one["count"] for each in streams for one in each)
        self._queue_full = 0
        self._before = [[0] * len(COUNTERS) for _ in ports]
        self._before = self._count()
        self._earlier: Deque[int] = collections.deque([0, 0], maxlen=2)

    def _count(self) -> List[List[int]]:
        """What each port has counted since the trial's begin."""
        stats = self._client.get_stats(ports=self._ports)
        self._queue_full = int(stats["global"]["queue_full"])
        rows = zip(self._ports, self._before)
        return [[int(stats[port][name]) - base for name, base in zip(COUNTERS, before)] for port, before in rows]

    def run(self, paths: List[List[int]], duration_s: float, drain_s: float, max_lost: Optional[int]) -> Dict[str, Any]:
        """Go, watch, halt, wait for stragglers.

        Args:
            paths: Of each direction the port where its frames leave, and where they come back.
            duration_s: Sending time.
            drain_s: Longest wait for stragglers.
            max_lost: It ends once more frames than this are lost; None: never.
        """
        waited_ns, self._server.longest_wait_ns = self._server.waited_ns(), 0
        started_at, began_s = time.time(), time.monotonic()
        self._client.start(ports=self._sending, force=True, duration=duration_s + BACKSTOP_S)
        aborted = interrupted = finished = False
        while not (aborted or interrupted or finished):
            wait(SAMPLE_S)
            self._server.check_alive()
            aborted = self._look(paths, began_s, max_lost)
            stopped_s = time.monotonic() - began_s
            finished = stopped_s >= duration_s and self._finished()
            interrupted = stopped_s > duration_s * (1 + OVERTIME_RATIO) + OVERTIME_S and not finished
        self._client.stop(ports=self._sending, rx_delay_ms=int(drain_s * 1000))
        return {
            "event": "done",
            "ports": self._drained(drain_s),
            "stopped_s": stopped_s,
            "queue_full": self._queue_full,
            "aborted": aborted,
            "interrupted": interrupted,
            "latency": self._latency(),
            "clock_step_us": (time.time() - started_at - time.monotonic() + began_s) * 1e6,
            "started_at": started_at,
            "waited_us": (self._server.waited_ns() - waited_ns) / 1e3,
            "longest_wait_us": self._server.longest_wait_ns / 1e3,
        }

    def _look(self, paths: List[List[int]], began_s: float, max_lost: Optional[int]) -> bool:
        """Look at the counters, and tell: whether too much is lost."""
        asked_s = time.monotonic() - began_s
        ports = self._count()
        told_s = time.monotonic() - began_s
        say(event="live", elapsed_s=(asked_s + told_s) / 2, within_s=(told_s - asked_s) / 2, ports=ports)
        self._server.waited_ns()
        came = sum(ports[back][1] for _, back in paths)
        lost_too_much = max_lost is not None and self._earlier[0] - came > max_lost
        self._earlier.append(sum(ports[out][0] for out, _ in paths))  # those of two looks may be on their way
        return lost_too_much

    def _finished(self) -> bool:
        """Whether all was sent, or TRex sends no more."""
        if self._earlier[-1] >= self._asked:
            return True
        return all(self._client.get_port_attr(port)["status"] != "TRANSMITTING" for port in self._sending)

    def _drained(self, drain_s: float) -> List[List[int]]:
        """The counters once they stand still."""
        deadline = time.monotonic() + drain_s
        ports, now = self._before, self._count()
        while now != ports and time.monotonic() < deadline:
            wait(SAMPLE_S / 5)
            ports, now = now, self._count()
        return now

    def _latency(self) -> List[str]:
        """The distributions of latency, each an HDR histogram of microseconds in its log format."""
        seen = self._client.get_stats(ports=self._ports)["latency"] if self._groups else {}
        found = [seen.get(group, {}).get("latency", {}).get("hdrh") for group in self._groups]
        return [each for each in found if each]


def main() -> NoReturn:
    """Does what is asked until nobody asks any more."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    driver = Driver()
    try:
        driver.serve()
    finally:
        driver.end()
    sys.exit()


if __name__ == "__main__":
    EVENTS = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # TRex's client prints, and that is no event
    main()
