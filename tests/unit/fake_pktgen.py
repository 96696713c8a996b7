#!/usr/bin/env python3
"""Stands in for Pktgen-DPDK 23.03: what it says, how it sends, and what it counts, without DPDK and without root.

What it does wrong stands in `quirks.json` beside its script:

    says        a file whose text it prints instead of coming up, before it ends
    version     its version
    true_hz     frequency of its clock; DPDK says 2.5 GHz
    most_pps    frames per second and direction that it can send
    loses       of so many frames one does not come back
    misses      so many frames find its receive ring full
    dies        the function in which it dies; `trial`: half a second later
    garbles     the function which it answers with garbage
    stuck       seconds of sending after which its port takes nothing more
"""

import json
import math
import os
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path

DPDK_HZ = 2.5e9
FILL_S = 0.08
"""Time in which it fills the buffers of a port: nothing leaves, and its schedule runs on."""

LINE_PPS = 14_880_952


class Sender:
    """Its sending core: both ports by one schedule."""

    def __init__(self, quirks: dict) -> None:
        self.hz = quirks.get("true_hz", DPDK_HZ)
        self.most_pps = quirks.get("most_pps", 1e7)
        self.stuck_s = quirks.get("stuck", math.inf)
        self.percent, self.burst, self.cycles = 100.0, 64, 1
        self.sending: set[int] = set()
        self.sent = [0, 0]
        self.filled = [math.inf, math.inf]
        self.looked = self.due = time.monotonic()
        self.went = math.inf
        self.lock = threading.Lock()

    def advance(self) -> None:
        """All that happened since it was last looked at."""
        now = time.monotonic()
        period = self.cycles / self.hz
        ready = max((self.filled[port] for port in self.sending), default=now)
        if now >= ready and now < self.went + self.stuck_s:
            ticks = max(0, math.floor((now - self.due) / period) + 1)
            able = int(self.most_pps * (now - max(self.looked, ready)) / self.burst) + 1
            for port in self.sending:
                self.sent[port] += min(ticks, able) * self.burst
            self.due += (min(ticks, able) if self.sending else ticks) * period
        self.looked = now

    def set(self, percent: float, burst: int, cycles: int, ports: tuple[int, ...] | None = None) -> str:
        """Another load; the schedule begins anew. False where its core hangs in a port that takes nothing."""
        with self.lock:
            self.advance()
            if time.monotonic() >= self.went + self.stuck_s:
                self.sending = set()
                return "fault it waits for a port that takes no frame"
            self.percent, self.burst, self.cycles = percent, burst, cycles
            self.due = time.monotonic() + burst * 100 / (LINE_PPS * percent)
            if ports is not None:
                self.sending = set(ports)
                begins = (time.monotonic() + FILL_S * (1 + order) for order in range(len(ports)))
                self.filled = [next(begins, math.inf) for _ in self.filled]
            self.went = time.monotonic() if ports is None and self.sending else math.inf
            return "ok nil"


class Program:
    """It, with its terminal and its telemetry."""

    def __init__(self, argv: list[str]) -> None:
        self.folder = Path(argv[argv.index("-f") + 1]).parent
        path = self.folder / "quirks.json"
        self.quirks = json.loads(path.read_text()) if path.exists() else {}
        self.prefix = argv[argv.index("--file-prefix") + 1]
        self.sender = Sender(self.quirks)

    def run(self) -> None:
        """Come up, do what is typed, until the terminal goes."""
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: os._exit(255))
        if "says" in self.quirks:
            self.say(Path(self.quirks["says"]).read_text())
            os.abort()
        threading.Thread(target=self.serve, args=(self.listen(),), daemon=True).start()
        self.say("\x1b[0;39;49mLua 5.3.6  Copyright (C) 1994-2020 Lua.org, PUC-Rio\r\nPktgen:/> \r\n")
        version = self.quirks.get("version", "23.03.0")
        self.say(f"\n@@0 ok Pktgen {version}, DPDK 22.11.11, {DPDK_HZ:.0f}@@\n")
        for line in sys.stdin:
            number, _, text = line.strip().partition(" ")
            self.say(f"\n@@{number} {self.do(text)}@@\n")

    def do(self, text: str) -> str:
        """What a line of Lua comes to."""
        name, _, told = text.rstrip(")").partition("(")
        if self.quirks.get("dies") == name:
            os.abort()
        if self.quirks.get("garbles") == name:
            return "\x07\x1b[2Jattempt to@"
        if name == "frames" and re.fullmatch(r'"[01]", \{size=\d+, .*dst_port=\{\d+, \d+, [01]\}\}', told):
            with (self.folder / "frames.txt").open("a") as file:
                file.write(told + "\n")
            return "ok nil"
        if name == "begin":
            ports, cycles = re.fullmatch(r'"([01,]+)", (\d+)', told).groups()
            return self.sender.set(0.01, 1, int(cycles), tuple(map(int, ports.split(","))))
        if name == "go":
            if self.quirks.get("dies") == "trial":
                threading.Timer(0.1, os.abort).start()
            percent, burst, cycles = told.split(", ")
            return self.sender.set(float(percent), int(burst), int(cycles))
        if name == "halt":
            return self.sender.set(0.01, 1, 1680107, ())
        return f"fault [string \"{text}\"]:1: attempt to call a nil value (global '{name}')"

    def say(self, text: str) -> None:
        """Print at once."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def listen(self) -> socket.socket:
        """Its telemetry socket."""
        path = self.folder / "run" / self.prefix / "dpdk_telemetry.v2"
        path.parent.mkdir(parents=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(path))
        listener.listen()
        return listener

    def serve(self, listener: socket.socket) -> None:
        """Answer questions of one client after the other."""
        while True:
            client, _ = listener.accept()
            client.send(json.dumps({"version": "DPDK 22.11.11", "pid": os.getpid(), "max_output_len": 16384}).encode())
            while question := client.recv(1024).decode():
                name, _, port = question.partition(",")
                client.send(json.dumps({name: self.stats(int(port))}).encode())

    def stats(self, port: int) -> dict[str, int]:
        """Counters of a port; what the other one sends comes back here."""
        with self.sender.lock:
            self.sender.advance()
            sent, came = self.sender.sent[port], self.sender.sent[1 - port]
        came -= came // self.quirks["loses"] if "loses" in self.quirks else 0
        missed = min(came, self.quirks.get("misses", 0))
        return {"ipackets": came - missed, "opackets": sent, "imissed": missed, "oerrors": 0, "ierrors": 0}


if __name__ == "__main__":
    Program(sys.argv[1:]).run()
