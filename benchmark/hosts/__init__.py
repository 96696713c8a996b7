"""Machines: run commands, keep processes, handle small files."""

from nvbench.hosts.base import RUN_FOLDER, Completed, Host, Process
from nvbench.hosts.local import LocalHost
from nvbench.hosts.namespace import NamespaceHost

__all__ = ["RUN_FOLDER", "Completed", "Host", "LocalHost", "NamespaceHost", "Process"]
