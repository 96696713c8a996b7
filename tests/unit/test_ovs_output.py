"""OVS's own words, parsed: recordings of a private OVS 3.1.0 with two vhost-user ports of two queues."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from nvbench.datapaths.ovs_options import OvsDpdkParameters
from nvbench.datapaths.ovs_output import (
    MacTable,
    parse_interfaces,
    parse_mac_table,
    parse_pmd_rxqs,
    parse_pmd_stats,
    parse_port_stats,
    parse_qos,
)

RECORDED = Path(__file__).parents[1] / "recorded" / "ovs-3.1.0"


def test_interfaces_with_absent_values():
    bridge, first, second = parse_interfaces((RECORDED / "list-interface.json").read_text())
    assert (first.name, first.link_state, first.mtu, first.ofport) == ("nvp0", "up", 1500, 1)
    assert (first.error, first.ingress_policing_rate) == ("", 100_000)
    assert (second.name, second.ingress_policing_rate) == ("nvp1", 0)
    assert bridge.name == "nvbr0"


def test_which_pmd_polls_which_queue():
    queues = parse_pmd_rxqs((RECORDED / "pmd-rxq-show.txt").read_text())
    assert [(rxq.port, rxq.queue, rxq.core) for rxq in queues] == [
        ("nvp0", 0, 1),
        ("nvp0", 1, 1),
        ("nvp1", 0, 1),
        ("nvp1", 1, 1),
    ]
    assert all(rxq.enabled for rxq in queues)


def test_pmd_counters_without_averages_and_without_the_main_thread():
    rows = list(parse_pmd_stats((RECORDED / "pmd-stats-show.txt").read_text()))
    values = {metric: value for _, metric, value, _ in rows}
    assert {source for source, _, _, _ in rows} == {"pmd core 1"}
    assert values["packets_received"] == 746_143
    assert values["idle_cycles"] == 2_087_891_070
    assert values["processing_cycles"] == 1_038_745_168
    assert not [metric for metric in values if "avg" in metric]


def test_port_counters_of_the_named_ports_only():
    rows = list(parse_port_stats((RECORDED / "dpctl-show-s.txt").read_text(), ("nvp0", "nvp1")))
    values = {(source, metric): value for source, metric, value, _ in rows}
    assert values["port nvp0", "rx_packets"] == 606_336
    assert values["port nvp0", "rx_dropped"] == 466_753  # by the policer
    assert values["port nvp0", "tx_bytes"] == 32_768
    assert values["port nvp1", "tx_dropped"] == 139_071
    assert {source for source, _ in values} == {"port nvp0", "port nvp1"}
    assert len(rows) == len(values)


def test_how_many_addresses_are_known_now_not_since_the_start():
    assert parse_mac_table((RECORDED / "fdb-stats-show.txt").read_text()) == MacTable(addresses=2, size=1000)


def test_the_qos_in_force():
    assert parse_qos((RECORDED / "qos-show.txt").read_text()) == {"cir": "12500000", "cbs": "65536"}
    assert parse_qos((RECORDED / "qos-show-none.txt").read_text()) == {}


def test_options_are_said_in_the_switchs_words():
    plain = OvsDpdkParameters()
    assert plain.flows() == ["in_port=1,actions=output:2", "in_port=2,actions=output:1"]
    assert plain.policing() == []
    assert plain.policer() == {}
    dropping = OvsDpdkParameters(flow_set="normal", drop_every=8, ingress_policing_kbps=5, ingress_policing_burst_kb=3)
    assert dropping.flows() == ["actions=NORMAL", "priority=40000,udp,udp_src=0/0x7,actions=drop"]
    assert dropping.policing() == ["ingress_policing_rate=5", "ingress_policing_burst=3"]
    assert OvsDpdkParameters(egress_policer_bytes_per_s=12500000).policer() == {"cir": "12500000", "cbs": "65536"}


@pytest.mark.parametrize("option", [{"drop_every": 3}, {"drop_every": 2048}, {"mac_table_size": 9}])
def test_options_that_the_switch_cannot_take_are_refused(option):
    with pytest.raises(ValidationError):
        OvsDpdkParameters.model_validate(option)
