"""The tests of RFC 2544 and what came after it, each asking `measure` for trials; a test is a module of its own."""

from nvbench.rfc2544.back_to_back import BackToBackTest
from nvbench.rfc2544.frame_loss import FrameLossTest
from nvbench.rfc2544.latency import LatencyTest, probe_pps
from nvbench.rfc2544.learning import LearningTest
from nvbench.rfc2544.mrr import MrrTest
from nvbench.rfc2544.recovery import RecoveryTest
from nvbench.rfc2544.reset import ResetTest
from nvbench.rfc2544.scene import Addresses, Expected, Scene, Section
from nvbench.rfc2544.soak import SoakTest
from nvbench.rfc2544.throughput import ThroughputTest

TESTS: tuple[type[Section], ...] = (
    ThroughputTest,
    LatencyTest,
    FrameLossTest,
    BackToBackTest,
    RecoveryTest,
    ResetTest,
    MrrTest,
    SoakTest,
    LearningTest,
)
"""Every test, in the order in which a case is measured: that of RFC 2544, then the others."""

__all__ = ["TESTS", "Addresses", "Expected", "LatencyTest", "Scene", "Section", "probe_pps"]
