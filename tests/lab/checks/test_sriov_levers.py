"""Levers of SR-IOV do to the NIC what they say, quote its driver where that refuses, and leave it as it was."""

import json
from contextlib import contextmanager

import pytest

from nvbench.errors import NotPossibleError
from nvbench.stands import PEER, Way
from tests.lab.checks.conftest import misses, reaches


@contextmanager
def as_before(stand):
    """The set-up changes within, and is the same again afterwards."""
    before = stand.state()
    yield before
    assert stand.state() == before


def vf(stand, number):
    told = stand.host.run(["ip", "-j", "-d", "link", "show", "dev", stand.pf]).stdout
    return json.loads(told)[0]["vfinfo_list"][number]


def test_members_of_different_vlans_do_not_reach_each_other(on_sriov):
    with as_before(on_sriov), on_sriov.levers.separated("vm2"):
        assert vf(on_sriov, 1)["vlan_list"][0]["vlan"] == 100
        assert misses(on_sriov.member("vm1"), on_sriov.member("vm2"))
    assert reaches(on_sriov.member("vm1"), on_sriov.member("vm2"))
    with as_before(on_sriov), on_sriov.levers.access({"vm1": 7, "vm2": 7}):
        assert reaches(on_sriov.member("vm1"), on_sriov.member("vm2"))
        assert misses(on_sriov.member("vm1"), on_sriov.member(PEER))


def test_a_limit_is_asked_for_in_megabits(on_sriov):
    with as_before(on_sriov), on_sriov.levers.limited("vm2", Way.OUT, 20_000_000, 10_000):
        assert vf(on_sriov, 1)["rate"]["max_tx"] == 20
        assert vf(on_sriov, 0)["rate"]["max_tx"] == 0


def test_members_are_trusted(on_sriov):
    with as_before(on_sriov), on_sriov.levers.trusted("vm2"):
        assert [vf(on_sriov, number)["trust"] for number in (0, 1)] == [False, True]
        assert reaches(on_sriov.member("vm1"), on_sriov.member("vm2"))


def test_the_mtu_of_the_port_changes_and_the_members_find_their_links_again(on_sriov):
    with as_before(on_sriov), on_sriov.levers.mtu(4000):
        assert on_sriov.host.read(f"/sys/class/net/{on_sriov.pf}/mtu") == "4000\n"
        assert reaches(on_sriov.member("vm1"), on_sriov.member("vm2"))
    assert reaches(on_sriov.member("vm1"), on_sriov.member("vm2"))


def test_a_port_that_is_down_only_for_a_moment_is_not_missed(on_sriov):
    with as_before(on_sriov), on_sriov.levers.uplink_down():
        pass
    assert reaches(on_sriov.member("vm1"), on_sriov.member("vm2"))
    assert reaches(on_sriov.member("vm1"), on_sriov.member(PEER))


@pytest.mark.parametrize(
    ("lever", "told"),
    [
        (lambda levers: levers.tunnelled(100, "vm1"), "vlan 100 proto 802.1ad: .*Protocol not supported"),
        (
            lambda levers: levers.port_down("vm1"),
            r"state auto, .* \(.*not supported\): .* state disable could not be",
        ),
        (lambda levers: levers.access({PEER: 100}), "peer is at the physical port, and has no virtual function"),
        (lambda levers: levers.limited("vm1", Way.IN, 10**7, 10**4), "receives cannot be limited"),
        (lambda levers: levers.snooping(), "multicast cannot be snooped"),
    ],
)
def test_what_cannot_be_is_told(on_sriov, lever, told):
    with as_before(on_sriov), pytest.raises(NotPossibleError, match=f"^sriov: .*{told}"), lever(on_sriov.levers):
        pass
