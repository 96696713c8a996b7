"""The collectors of a whole machine."""

from __future__ import annotations

from collections.abc import Sequence

from nvbench.collectors.base import Collector
from nvbench.collectors.cpu import Cpu
from nvbench.collectors.files import Files
from nvbench.collectors.frequency import frequency
from nvbench.collectors.interrupts import Interrupts
from nvbench.collectors.memory import Memory
from nvbench.collectors.softnet import Softnet
from nvbench.collectors.tasks import Task, Tasks
from nvbench.hosts import Host


def machine(
    host: Host, *, local: bool, cores: frozenset[int], tasks: Sequence[Task], prefix: str = ""
) -> tuple[Collector, Collector]:
    """Who looks at a machine around a trial, at all of it, and who during it, at what belongs to the bench.

    Args:
        host: The machine.
        local: Whether it is this one.
        cores: The cores of the bench.
        tasks: The threads of the bench.
        prefix: What stands before each source.
    """
    running = (Tasks(tasks), frequency(host, cores))
    around = (Cpu(), Softnet(), *running, Interrupts(), Memory())
    during = (Cpu(cores), Softnet(cores), *running)
    return (
        Files(host, around, local=local, prefix=prefix),
        Files(host, during, local=local, prefix=prefix),
    )
