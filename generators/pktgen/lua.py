"""What nvbench and Pktgen-DPDK say to each other: a script of Lua that Pktgen runs, and the lines typed to it.

Pktgen also has a socket for Lua. It is not used: it listens on all addresses, whatever it is told, and runs as root
what anybody sends there; some versions lack it; and it keeps faults to itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from nvbench.errors import GeneratorError
from nvbench.traffic import Template

# It sends by a schedule, and what it could not send when due it sends as soon as it can. That would be a burst of
# all that fell due while it filled its buffers, which takes up to a second after every start, or while more was asked
# than it can send. Cycles of zero have it begin its schedule anew; a trial starts slowly, and goes once frames move.
_SCRIPT = """\
local PORTS, LEAST_PERCENT, PATIENCE_MS, LINK_PATIENCE_MS = "%s", 0.01, 1000, 15000
local function ranged(set, port, span)
  set(port, "start", span[1]) set(port, "min", span[1]) set(port, "max", span[2]) set(port, "inc", span[3])
end
local function timing()
  return pktgen.portInfo("0")[0].info.tx_debug
end
local function begin_schedule(patience_ms)
  pktgen.set(PORTS, "cycles", 0)
  for _ = 1, patience_ms do
    if timing().tx_cycles ~= 0 then return end
    pktgen.delay(1)
  end
  local link = pktgen.linkState("0")[0]
  error(link:find("UP") and "it waits for a port that takes no frame" or "it waits for its link", 0)
end
function frames(port, f)
  local range = pktgen.range
  range.set_type(port, "ipv4") range.ip_proto(port, "udp")
  range.ttl(port, "start", 64) range.ttl(port, "inc", 0)
  ranged(range.pkt_size, port, {f.size, f.size, 0})
  ranged(range.src_mac, port, f.src_mac) ranged(range.dst_mac, port, f.dst_mac)
  ranged(range.src_ip, port, f.src_ip) ranged(range.dst_ip, port, f.dst_ip)
  ranged(range.src_port, port, f.src_port) ranged(range.dst_port, port, f.dst_port)
  ranged(range.vlan_id, port, {f.vlan or 1, f.vlan or 1, 0})
  pktgen.vlan(port, f.vlan and "on" or "off")
  pktgen.set_range(port, "on")
end
function begin(ports, cycles)
  pktgen.set(PORTS, "burst", 1) pktgen.set(PORTS, "rate", LEAST_PERCENT)
  begin_schedule(PATIENCE_MS)
  pktgen.set(PORTS, "cycles", cycles)
  pktgen.start(ports)
end
function go(percent, burst, cycles)
  pktgen.set(PORTS, "rate", percent) pktgen.set(PORTS, "burst", burst)
  begin_schedule(PATIENCE_MS)
  pktgen.set(PORTS, "cycles", cycles)
end
function halt()
  pktgen.stop(PORTS) pktgen.set(PORTS, "rate", LEAST_PERCENT)
  begin_schedule(PATIENCE_MS)
end
local function answer(number, ok, told)
  io.write("\\n@@", number, ok and " ok " or " fault ", tostring(told), "@@\\n") io.flush()
end
local function hello()
  pktgen.set(PORTS, "rate", LEAST_PERCENT) pktgen.set(PORTS, "burst", 1)
  begin_schedule(LINK_PATIENCE_MS)
  return pktgen.info.Pktgen_Version .. ", " .. pktgen.info.DPDK_Version .. ", " .. timing().tx_pps * timing().tx_cycles
end
pktgen.screen("off")
answer(0, pcall(hello))
for line in io.lines() do
  local number, text = line:match("^(%%d+) (.*)$")
  if number then
    local chunk, fault = load(text)
    if chunk then answer(number, pcall(chunk)) else answer(number, false, fault) end
  end
end
pktgen.stop(PORTS)
pktgen.quit()
"""


def script(ports: int) -> str:
    """The Lua script of a Pktgen with so many ports."""
    return _SCRIPT % ("0" if ports == 1 else f"0-{ports - 1}")


def answered(number: int) -> str:
    """A regular expression for what Pktgen says to line `number`; 0 is what it says when it is up."""
    return rf"(?s)@@{number} (?:ok|fault) .*?@@"


def done(number: int) -> str:
    """The same for what it says where it could do so."""
    return rf"(?s)@@{number} ok .*?@@"


def answer(said: str, place: str = "") -> str:
    """What Pktgen answered, at the end of all that it printed.

    Raises:
        GeneratorError: It could not do so; carries its own words.
    """
    if fault := faulted(said):
        raise GeneratorError(f"Pktgen: {fault}", place=place)
    return said.rpartition("@@")[0].rpartition("@@")[2].partition(" ok ")[2]


def faulted(said: str) -> str:
    """What kept Pktgen from doing what it was asked; empty where it could."""
    found = re.search(r"(?s)@@\d+ fault (.*?)@@\Z", said)
    return " ".join(found[1].split()) if found else ""


@dataclass(frozen=True, slots=True)
class Hello:
    """What Pktgen says when it is up.

    Attributes:
        version: Its own version, `23.03.0`.
        dpdk: That of the DPDK under it, `DPDK 22.11.11`.
        dpdk_hz: Frequency of the clock that it paces by, as DPDK takes it.
    """

    version: str
    dpdk: str
    dpdk_hz: float

    @classmethod
    def parse(cls, told: str, place: str = "") -> Hello:
        """Reads its answer to line 0.

        Raises:
            GeneratorError: It is something else.
        """
        found = re.fullmatch(r"Pktgen (\d+\.\d+\S*), (DPDK \S+), (\d+)", told.strip())
        if not found:
            raise GeneratorError(f"Pktgen says of itself {told[:80]!r}", place=place)
        return cls(found[1], found[2], float(found[3]))

    @property
    def release(self) -> tuple[int, int]:
        """Year and month of its version."""
        year, month = self.version.split(".")[:2]
        return int(year), int(month)


@dataclass(frozen=True, slots=True)
class Span:
    """Values that a header field takes, one after the other, over and over.

    Attributes:
        first: The first one.
        last: The last one; of a field that stays as it is the first.
    """

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Stream:
    """What one port sends, in UDP over IPv4; the fields that differ from flow to flow step together.

    Attributes:
        frame_bytes: Size with FCS and, of tagged frames, the tag.
        vlan: VLAN id, or None for untagged frames.
        src_mac: Source MAC addresses, as numbers of 48 bits.
        dst_mac: Destination MAC addresses.
        src_ip: Source IPv4 addresses, as numbers of 32 bits.
        dst_ip: Destination IPv4 addresses.
        src_port: Source ports.
        dst_port: Destination ports.
    """

    frame_bytes: int
    vlan: int | None
    src_mac: Span
    dst_mac: Span
    src_ip: Span
    dst_ip: Span
    src_port: Span
    dst_port: Span

    @classmethod
    def of(cls, template: Template, frame_bytes: int, vlan: int | None) -> Stream:
        """The stream of a direction of traffic."""
        frame, ipv4 = template.frames[0], template.ipv4_offset
        varied = {field.offset for field in template.fields}

        def span(at: int, width: int, varies_at: int) -> Span:
            first = int.from_bytes(frame[at : at + width])
            return Span(first, first + template.flows - 1 if varies_at in varied else first)

        return cls(
            frame_bytes=frame_bytes,
            vlan=vlan,
            src_mac=span(6, 6, 8),
            dst_mac=span(0, 6, 2),
            src_ip=span(ipv4 + 12, 4, ipv4 + 12),
            dst_ip=span(ipv4 + 16, 4, ipv4 + 16),
            src_port=span(ipv4 + 20, 2, ipv4 + 20),
            dst_port=span(ipv4 + 22, 2, ipv4 + 22),
        )

    def to_group(self, group: str) -> Stream:
        """The same to an IPv4 multicast group, at the group's MAC address (RFC 1112 section 6.4)."""
        address = int(IPv4Address(group))
        mac = 0x01005E000000 | address & 0x7FFFFF
        return replace(self, dst_ip=Span(address, address), dst_mac=Span(mac, mac))

    def lua(self, port: int) -> str:
        """What makes a port send it."""
        spans: list[tuple[str, Span, Callable[[int], str]]] = [
            ("src_mac", self.src_mac, _mac),
            ("dst_mac", self.dst_mac, _mac),
            ("src_ip", self.src_ip, _ip),
            ("dst_ip", self.dst_ip, _ip),
            ("src_port", self.src_port, str),
            ("dst_port", self.dst_port, str),
        ]
        parts = [f"size={self.frame_bytes}", *([] if self.vlan is None else [f"vlan={self.vlan}"])]
        parts += [f"{name}={_table(span, shown)}" for name, span, shown in spans]
        return f'frames("{port}", {{{", ".join(parts)}}})'


def _table(span: Span, shown: Callable[[int], str]) -> str:
    step = 1 if span.last > span.first else 0
    return "{" + ", ".join(map(shown, (span.first, span.last, step))) + "}"


def _mac(number: int) -> str:
    return f'"{number.to_bytes(6).hex(":")}"'


def _ip(number: int) -> str:
    return f'"{IPv4Address(number)}"'


def begin(ports: Sequence[int], cycles: int) -> str:
    """What has ports send, a frame every so many cycles."""
    return f'begin("{",".join(map(str, ports))}", {cycles})'


WAITS = "it waits"
"""How the script begins to say that the device, or the link, keeps it from what it was asked."""

HALT = "halt()"
"""What has all ports stop sending."""

LEAST_CYCLES = 10_000
"""Cycles between bursts, so that a whole number of them is the load that was asked for."""

MOST_BURST = 64
MOST_CYCLES = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Pace:
    """How often it sends bursts of how many frames, out of each port.

    Attributes:
        percent: About the same as a share of the link speed, in which Pktgen computes.
        burst: Frames in a burst.
        cycles: Clock cycles from burst to burst.
    """

    percent: float
    burst: int
    cycles: int

    @classmethod
    def of(cls, load_pps: float, hz: float, line_rate_pps: float) -> Pace:
        """That of a load in frames per second, with a clock of `hz`; the smallest bursts that give it exactly."""
        burst = min(MOST_BURST, max(1, -int(-LEAST_CYCLES * load_pps // hz)))
        cycles = min(MOST_CYCLES, max(1, round(hz * burst / load_pps)))
        return cls(min(100.0, max(1e-4, 100 * load_pps / line_rate_pps)), burst, cycles)

    @property
    def lua(self) -> str:
        """What has ports that send already go at it."""
        return f"go({self.percent:.4f}, {self.burst}, {self.cycles})"
