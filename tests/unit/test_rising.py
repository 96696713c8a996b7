"""Where a run keeps its files: in root's own folder on every host, whoever it is that runs nvbench."""

import os
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from nvbench import rigs, rising
from nvbench.errors import NotPossibleError
from nvbench.generators import KINDS
from nvbench.journal import Journal, state_folder
from nvbench.placement import place_cores
from nvbench.plan import make_plan
from nvbench.profile import load_profile
from nvbench.testbed import load_testbed

LOCAL = load_testbed("local")
NVGEN = KINDS[0]


class Host:
    name = "far"

    def __init__(self):
        self.made = []

    def make_folder(self, path):
        self.made.append(path)


@pytest.fixture
def somebody(monkeypatch):
    """A controller who is not root, and whose user id is another person's on the hosts."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert str(state_folder()) == "/run/user/1000/nvbench"


@pytest.fixture
def bench(tmp_path):
    host = Host()
    return SimpleNamespace(
        testbed=LOCAL,
        placement=place_cores(LOCAL, dict.fromkeys(range(4), 0)),
        switch_host=host,
        generator_host=host,
        journal=Journal(tmp_path / "journal", {}),
        new_name=lambda: "nv1-1",
    )


@pytest.fixture
def setup():
    plan = make_plan(load_profile("10ge-forwarding", ("datapath.queues=1",), True), LOCAL)
    return next(iter(plan.setups))


@pytest.mark.usefixtures("somebody")
def test_a_datapath_and_its_guests_have_their_files_where_only_root_may_write(bench, setup, monkeypatch):
    places = []

    def make_datapath(kind, place, parameters, *, pf):
        places.append(place)
        return SimpleNamespace(missing=lambda: "far enough")

    monkeypatch.setattr(rising, "make_datapath", make_datapath)
    with ExitStack() as stack, pytest.raises(NotPossibleError, match="far enough"):
        rising.Rising(bench, setup, stack, NVGEN)
    assert places[0].folder == "/run/nvbench/nv1-1"


@pytest.mark.usefixtures("somebody")
def test_a_generator_has_too(bench, setup):
    up = SimpleNamespace(name="nv1-1", generator_ports=lambda: ((), bench.generator_host))
    assert rigs._seat(bench, up, setup, NVGEN, 0.1).folder == "/run/nvbench/nv1-1-gen"
    assert bench.generator_host.made == ["/run/nvbench/nv1-1-gen"]
    assert {"host": "far", "kind": "remove", "path": "/run/nvbench/nv1-1-gen"} in bench.journal.entries


def test_what_is_brought_up_after_a_loss_finds_its_ports_held_again(bench):
    bench.keep_ports = lambda: bench.journal.record(bench.switch_host, rigs.Remove("kept"))
    with rigs.taken_down(bench) as stack:
        stack.callback(lambda: None)
        assert [entry["path"] for entry in bench.journal.entries] == ["kept"]  # before anything else
