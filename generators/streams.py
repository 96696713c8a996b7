"""What nvbench asks of a tool that makes TCP or UDP streams between two endpoints: argv out, numbers in."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Protocol

from nvbench.hosts import Completed


class StreamTest(StrEnum):
    """What the endpoints do; the names are netperf's."""

    TCP_STREAM = "tcp_stream"
    """The client sends in bulk."""

    TCP_MAERTS = "tcp_maerts"
    """The server sends in bulk."""

    TCP_BIDIR = "tcp_bidir"
    """Both send in bulk."""

    TCP_RR = "tcp_rr"
    """Requests and responses of a byte each, one at a time, over a connection that stands."""

    TCP_CRR = "tcp_crr"
    """The same with a connection for each."""

    UDP_STREAM = "udp_stream"
    """The client sends datagrams at a rate."""

    UDP_RR = "udp_rr"
    """Requests and responses of a byte each in datagrams."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One run of a tool.

    Attributes:
        test: What to do.
        address: The server's.
        port: TCP or UDP port of the server's control connection.
        duration_s: How long it counts.
        warmup_s: What goes before and is left out.
        parallel: Streams at the same time.
        message_bytes: Size of each write; None for the tool's own.
        rate_bps: What UDP streams offer together; None for as much as can be.
    """

    test: StreamTest
    address: str
    port: int = 5201
    duration_s: float = 10.0
    warmup_s: float = 0.0
    parallel: int = 1
    message_bytes: int | None = None
    rate_bps: float | None = None

    @property
    def limit_s(self) -> float:
        """Time after which the tool hangs."""
        return self.duration_s + self.warmup_s + 10.0


@dataclass(frozen=True, slots=True)
class Flowed:
    """What a tool measured; None where it does not say. Rates count payload (goodput), as the receiver saw it.

    Attributes:
        elapsed_s: Time that counts.
        goodput_bps: Client to server, or all of a test that has one direction.
        reverse_bps: Server to client, of a test with both.
        transactions_per_s: Of a request and response test.
        retransmits: TCP segments that the sender sent again.
        lost_ratio: Datagrams lost, as a share.
        jitter_us: Of datagrams (RFC 3550).
        latency_us: Round-trip times by name: `min`, `mean`, `p50`, `p90`, `p99`, `p99_9`, `max`.
        client_cores: Cores that the client's machine spent, 1.0 for one whole core.
        server_cores: The server's likewise.
        warnings: What the tool itself says against its numbers.
    """

    elapsed_s: float
    goodput_bps: float | None = None
    reverse_bps: float | None = None
    transactions_per_s: float | None = None
    retransmits: int | None = None
    lost_ratio: float | None = None
    jitter_us: float | None = None
    latency_us: dict[str, float] = field(default_factory=dict)
    client_cores: float | None = None
    server_cores: float | None = None
    warnings: tuple[str, ...] = ()


class StreamTool(Protocol):
    """iperf3, netperf and their like. No tool keeps state: commands in, numbers out."""

    name: ClassVar[str]
    tests: ClassVar[frozenset[StreamTest]]
    """What it can do."""

    client: ClassVar[str]
    server: ClassVar[str]
    """Its programs."""

    remedy: ClassVar[str]
    """How to get it: a command or a sentence."""

    packages: ClassVar[tuple[str, ...]]
    """Debian packages that bring it, where apt's ordinary sources have them."""

    def serve(self, ask: Ask, seconds: float) -> list[str]:
        """The server's command line; it ends by itself after `seconds` (`timeout`), and stays in the foreground."""

    def send(self, ask: Ask) -> list[str]:
        """The client's command line."""

    def parse(self, ask: Ask, done: Completed) -> Flowed:
        """What the client measured.

        Raises:
            GeneratorError: It failed, said so in its output although it exited with 0, or printed something that is
                not its format; names the tool, what it said, and what helps.
        """
