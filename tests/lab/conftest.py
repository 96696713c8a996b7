"""Lab tests use the real switch and the real generator; they leave the machine as they found it."""

import os
import shutil
import subprocess
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.lab.waiting import wait_until

PROGRAMS = ("ovs-vswitchd", "ovsdb-server", "dpdk-testpmd", "nvgen-", "pktgen --lcores", "minder.py", "tcpreplay")
NEEDS = ("ovs-vsctl", "dpdk-testpmd", "gcc", "pkg-config", "ip")


def pytest_collection_modifyitems(items):
    lacking = [name for name in NEEDS if shutil.which(name) is None]
    reason = "needs root" if os.geteuid() else f"needs {', '.join(lacking)}" if lacking else ""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.lab)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def running(*names: str) -> dict[int, str]:
    """Process id -> command line, of the live processes that hold one of these words; zombies are not."""
    told = subprocess.run(["ps", "-ewwo", "pid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = (line.split(maxsplit=2) for line in told.splitlines())
    return {int(pid): args for pid, state, args in rows if state[0] != "Z" and any(name in args for name in names)}


def traces() -> dict[str, object]:
    """What a run could leave behind."""
    state = Path("/run/nvbench")
    return {
        "hugepages": Path("/proc/sys/vm/nr_hugepages").read_text(),
        "links": sorted(entry.name for entry in Path("/sys/class/net").iterdir()),
        "state": sorted(entry.name for entry in state.glob("*") if entry.suffix != ".lock"),
        "dpdk": sorted(entry.name for entry in Path("/run/dpdk").glob("*")),
        "processes": sorted(running(*PROGRAMS).values()),
    }


@contextmanager
def leaves_no_trace():
    """Fails what is done within if it leaves the machine other than it was; what was killed has time to go."""
    before = traces()

    def now() -> dict[str, object]:
        """The traces, as if those processes still ran that ran before: they may have been ending already."""
        found = traces()
        gone = Counter(before["processes"]) - Counter(found["processes"])
        return {**found, "processes": sorted([*found["processes"], *gone.elements()])}

    yield
    with suppress(AssertionError):  # what differs is told below
        wait_until(lambda: now() == before)
    assert now() == before


@pytest.fixture
def as_found():
    """Fails the test if it leaves the machine other than it was."""
    with leaves_no_trace():
        yield
