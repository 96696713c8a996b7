"""Machines: run commands, keep processes, handle small files."""

from nvbench.hosts.base import Completed, Host, Process
from nvbench.hosts.local import LocalHost
from nvbench.hosts.namespace import NamespaceHost

__all__ = ["Completed", "Host", "LocalHost", "NamespaceHost", "Process"]
