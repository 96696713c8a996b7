"""Machines of the testbed, one interface: this one, and those behind SSH."""

from nvbench.hosts.base import Completed, Host, Process
from nvbench.hosts.local import LocalHost

__all__ = ["Completed", "Host", "LocalHost", "Process"]
