"""What is measured beside the traffic during a trial."""

from nvbench.collectors.poller import Absence, PollerWatch

__all__ = ["Absence", "PollerWatch"]
