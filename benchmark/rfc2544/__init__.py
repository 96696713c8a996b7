"""The tests of RFC 2544, each asking `measure` for trials."""

from nvbench.rfc2544.latency import LatencyAnswer, latency, merged
from nvbench.rfc2544.throughput import throughput

__all__ = ["LatencyAnswer", "latency", "merged", "throughput"]
