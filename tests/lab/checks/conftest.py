"""Stands that the tests of checks share: each path is brought up once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from nvbench.bench import Bench, bench
from nvbench.campaign import Outcome, Verdict
from nvbench.checking import judged
from nvbench.stands import BENCH, BRIDGE, OVS, SRIOV, Check, Ground, Member, Record, Stand, Wish, stand
from nvbench.stands.reach import ping
from nvbench.testbed import load_testbed
from tests.lab.conftest import leaves_no_trace

LookAt = Callable[[Check, Ground], Verdict]


STANDS = ("on_bench", "on_bridge", "on_ovs", "on_ovs_vms", "on_sriov")
"""Fixtures of stands, in the order in which their tests run: none is brought up twice."""


def pytest_collection_modifyitems(items):
    mine = [item for item in items if Path(__file__).parent in item.path.parents]
    places = [number for number, item in enumerate(items) if item in mine]
    for place, item in zip(places, sorted(mine, key=_stand_of), strict=True):
        items[place] = item


def _stand_of(item) -> int:
    """Those that hold the bench by themselves come first: the stands hold it from the first to the last of theirs."""
    named = item.callspec.params.values() if hasattr(item, "callspec") else ()  # asked for by `request`
    names = [*item.fixturenames, *(each for each in named if isinstance(each, str))]
    place = next((number for number, name in enumerate(STANDS) if name in names), len(STANDS))
    return place if place < len(STANDS) or "held" in names else -1


@pytest.fixture(scope="package")
def held() -> Iterator[Bench]:
    """The built-in testbed."""
    with leaves_no_trace(), bench(load_testbed("local")) as made:
        yield made


@dataclass
class Stands:
    """One stand at a time is up, the one that was asked for last."""

    bench: Bench
    stack: ExitStack
    key: tuple[str, str] = ("", "")
    up: Stand | None = None

    def get(self, path: str, guest: str = "") -> Stand:
        if self.up is None or self.key != (path, guest):
            self.close()
            self.up = self.stack.enter_context(stand(self.bench, path, Wish(guest=guest)))
            self.key = (path, guest)
        return self.up

    def close(self) -> None:
        self.up = None
        self.stack.close()


@pytest.fixture(scope="package")
def stands(held) -> Iterator[Stands]:
    with ExitStack() as stack:
        made = Stands(held, stack)
        yield made
        made.close()


@pytest.fixture
def on_bench(stands) -> Ground:
    """The bench itself, with nothing up."""
    stands.close()
    return Ground(stands.bench, BENCH)


@pytest.fixture
def on_bridge(stands) -> Stand:
    """The kernel's bridge with guests that are namespaces."""
    return stands.get(BRIDGE)


@pytest.fixture
def on_ovs(stands) -> Stand:
    """OVS-DPDK with guests that are namespaces: there in two seconds."""
    return stands.get(OVS, "namespace")


@pytest.fixture
def on_ovs_vms(stands) -> Stand:
    """OVS-DPDK with virtual machines."""
    return stands.get(OVS)


@pytest.fixture
def on_sriov(stands) -> Stand:
    """Virtual functions of an emulated NIC."""
    return stands.get(SRIOV)


@pytest.fixture
def nothing_is_late(monkeypatch) -> None:
    """What does not come at once does not come: so that a check that misses it ends soon."""
    monkeypatch.setattr("nvbench.generators.frames.LATE_S", 0.0)


@pytest.fixture
def look_at(tmp_path) -> LookAt:
    """What comes of a check on a stand, whose set-up is the same again afterwards; its evidence is in `tmp_path`."""

    def looked_at(check: Check, ground: Ground) -> Verdict:
        record, before = Record(tmp_path / check.name), ground.state()
        ground.witnessed(record)
        outcome, told, quote = judged(check, ground, record)
        ground.witnessed(None)
        assert ground.state() == before
        verdict = Verdict(check.name, check.name, check.title, ground.path, outcome, told, quote)
        print(verdict, *record.observations, *record.grids, sep="\n")
        return replace(
            verdict,
            observations=tuple(record.observations),
            grids=tuple(record.grids),
            advice=tuple(record.advice),
            files=tuple(record.files),
        )

    return looked_at


def reaches(one: Member, other: Member) -> bool:
    """Whether a ping is answered, sooner or later."""
    return one.host.run(["ping", "-n", "-c", "1", "-w", "20", other.address], check=False).ok


def misses(one: Member, other: Member) -> bool:
    """Whether pings are not answered."""
    return ping(one.host, other.address, count=2, patience_s=0.5).silent


def evidence(tmp_path: Path, verdict: Verdict) -> Path:
    """The folder of a verdict's evidence."""
    return tmp_path / verdict.check


__all__ = ["LookAt", "Outcome", "evidence", "misses", "reaches"]
