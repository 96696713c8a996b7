"""What is measured beside the traffic during a trial."""

from nvbench.collectors.base import Collector, Recorder, Recording
from nvbench.collectors.dpdk_telemetry import DpdkTelemetry
from nvbench.collectors.guest import Inside
from nvbench.collectors.machine import machine
from nvbench.collectors.poller import Absence, PollerWatch
from nvbench.collectors.tasks import find_process, tasks_of

__all__ = [
    "Absence",
    "Collector",
    "DpdkTelemetry",
    "Inside",
    "PollerWatch",
    "Recorder",
    "Recording",
    "find_process",
    "machine",
    "tasks_of",
]
