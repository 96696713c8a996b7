"""Offloads of an endpoint: what a kernel makes of what is asked, and what it granted."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvbench.axes import OffloadAxes
from nvbench.errors import RunBrokeError
from nvbench.offloads import ETHTOOL_NAMES, Flag, Offloads, parse_features, refused, settings, side_effects

SWITCH = st.sampled_from([None, True, False])
ANSWER = """[ {
    "ifname": "eth0",
    "tx-checksumming": {"active": true, "fixed": null, "requested": null},
    "scatter-gather": {"active": true, "fixed": false, "requested": true},
    "tcp-segmentation-offload": {"active": false, "fixed": true, "requested": false}
} ]"""


def test_ethtools_answer_says_what_is_on_and_what_cannot_be_changed():
    flags = parse_features(ANSWER)
    assert flags["scatter-gather"] == Flag(active=True, fixed=False)
    assert flags["tcp-segmentation-offload"] == Flag(active=False, fixed=True)
    assert [(each.name, each.value) for each in settings(flags)][-1] == ("tx-checksumming", "on")
    assert ("tcp-segmentation-offload", "off [fixed]") in [(each.name, each.value) for each in settings(flags)]


@pytest.mark.parametrize("text", ["", "[]", "{}", "no device", '[{"a": 1}]'])
def test_another_answer_is_told_as_such(text):
    with pytest.raises(RunBrokeError, match="ethtool -k answered"):
        parse_features(text)


@given(st.tuples(SWITCH, SWITCH, SWITCH, SWITCH, SWITCH))
def test_no_segmentation_without_scatter_gather_and_none_of_both_without_checksums(asked):
    found = Offloads(*asked).settled()
    assert found.settled() == found
    if found.tx_checksum is False:
        assert found.sg is False
    if found.sg is False:
        assert found.tso is False
        assert found.gso is False
    assert found.gro == asked[-1]


def test_combinations_that_no_kernel_can_have_are_one_case():
    both = [True, False]
    axes = OffloadAxes(tx_checksum=both, sg=both, tso=both, gso=both, gro=both)
    assert len(list(axes.each())) == 12  # of 32


def test_the_words_are_ethtools():
    assert Offloads(tx_checksum=True, tso=False).words() == ["tx", "on", "tso", "off"]
    assert Offloads().words() == []


def test_what_is_not_asked_for_is_put_back_to_what_was_found():
    found = Offloads.found(parse_features(ANSWER))
    assert found == Offloads(tx_checksum=True, sg=True)  # tso is fixed
    assert found.overlaid(Offloads(sg=False)) == Offloads(tx_checksum=True, sg=False)


def test_a_switch_that_did_not_move_is_told():
    flags = parse_features(ANSWER)
    assert refused(Offloads(tso=True, sg=True), flags) == ["tso: asked for on, it is off [fixed]"]
    assert refused(Offloads(tso=False), flags) == []
    assert refused(Offloads(gro=True), flags) == ["gro: the device does not know it"]


def test_flags_that_moved_unasked_are_told():
    before = parse_features(ANSWER)
    after = {**before, "scatter-gather": Flag(active=False, fixed=False)}
    assert side_effects(Offloads(tx_checksum=False), before, after) == ["sg: on -> off"]
    assert side_effects(Offloads(sg=False), before, after) == []


def test_every_switch_has_a_name_that_ethtool_knows():
    told = json.dumps([{"ifname": "x", **{long: {"active": True, "fixed": False} for long in ETHTOOL_NAMES.values()}}])
    assert Offloads.found(parse_features(told)) == Offloads(True, True, True, True, True)
