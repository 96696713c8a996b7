"""Levers are let go of at their end; what nobody can take back is not changed, or is forgotten with its device."""

from types import SimpleNamespace

import pytest

from nvbench.errors import CommandError, CommandTimeoutError, DatapathError, NotPossibleError
from nvbench.hosts import Completed
from nvbench.journal import Journal, RunBack
from nvbench.stands.bridge import BridgeLevers
from nvbench.stands.levers import Step, changed, refusals

NV1 = "/sys/class/net/nv1"


class FakeHost:
    """A host whose commands succeed, but for those that it refuses."""

    name = "fake"

    def __init__(self, *paths: str) -> None:
        self.paths = set(paths)
        self.refuses: set[str] = set()
        self.answers: dict[str, str] = {}
        self.did: list[str] = []

    def run(self, argv, *, check=True, **how) -> Completed:
        line = " ".join(argv)
        self.did.append(line)
        refused = line in self.refuses
        complaint = "RTNETLINK answers: Operation not supported\n" if refused else ""
        done = Completed(tuple(argv), 2 if refused else 0, self.answers.get(line, ""), complaint, 0.0)
        return done.checked(self.name) if check else done

    def exists(self, path: str) -> bool:
        return path in self.paths


@pytest.fixture
def stand(tmp_path):
    """A stand of which nothing is real but the journal."""
    host = FakeHost(NV1)
    place = SimpleNamespace(host=host, namespace="")
    return SimpleNamespace(host=host, place=place, journal=Journal(tmp_path / "j", {"fake": host}), path="any")


def steps(*names: str) -> list[Step]:
    return [Step(["set", name], [["reset", name]], NV1) for name in names]


def test_what_was_changed_last_is_taken_back_first(stand):
    with changed(stand, steps("a", "b")):
        assert [entry["argv"][1] for entry in stand.journal.entries] == ["a", "b"]
    assert stand.host.did == ["set a", "set b", "reset b", "reset a"]
    assert stand.journal.entries == []


def test_what_else_was_written_down_meanwhile_is_taken_back_too(stand):
    with changed(stand):
        stand.journal.record(stand.host, RunBack(("reset", "beside")))
    assert stand.host.did == ["reset beside"]


def test_a_refusal_is_told_and_what_came_before_it_is_taken_back(stand):
    stand.host.refuses.add("set b")
    with pytest.raises(NotPossibleError, match=r"^any: set b: status 2: RTNETLINK answers: Operation not supported$"):
        changed(stand, steps("a", "b", "c")).__enter__()
    assert stand.host.did == ["set a", "set b", "reset b", "reset a"]


def test_what_is_refused_although_it_is_so_already_is_not_changed(stand):
    stand.host.refuses |= {"set a", "reset a"}
    told = r"^any: reset a, which is so already, is refused \(.*not supported\): set a could not be taken back$"
    with pytest.raises(NotPossibleError, match=told):
        changed(stand, steps("a"), tried=True).__enter__()
    assert stand.host.did == ["reset a"]
    assert stand.journal.entries == []


def test_what_cannot_be_taken_back_is_told_and_forgotten_with_its_device(stand):
    with pytest.raises(DatapathError, match=r"^any: run_back on fake: .*reset a: status 2"), changed(stand, steps("a")):
        stand.host.refuses.add("reset a")
    assert len(stand.journal.undo_since()) == 1
    stand.host.paths.clear()
    assert stand.journal.undo_since() == []
    assert stand.journal.entries == []


def test_what_was_changed_in_a_namespace_is_forgotten_with_it(stand):
    stand.place.namespace = "ns"
    stand.host.paths = {"/run/netns/ns"}
    with pytest.raises(DatapathError), changed(stand, steps("a")):
        stand.host.refuses.add("ip netns exec ns reset a")
    stand.host.paths.clear()
    assert stand.journal.undo_since() == []


def test_a_command_that_hangs_is_no_refusal():
    with pytest.raises(NotPossibleError, match=r"^any: no$"), refusals("any"):
        raise CommandError("no")
    with pytest.raises(CommandTimeoutError), refusals("any"):
        raise CommandTimeoutError("ip took more than 30 s")


def test_a_bridge_that_knows_no_snooping(stand):
    told = '[{"ifname": "nvbr0", "linkinfo": {"info_kind": "bridge", "info_data": {"stp_state": 0}}}]'
    stand.host.answers["ip -j -d link show"] = told
    with pytest.raises(NotPossibleError, match=r"^linux_bridge: the kernel is built without BRIDGE_IGMP_SNOOPING$"):
        BridgeLevers(stand).snooping().__enter__()
    assert stand.journal.entries == []
