"""OVS's own words, parsed: recordings of a private OVS 3.1.0 with two vhost-user ports of two queues."""

from pathlib import Path

from nvbench.datapaths.ovs_output import (
    MacTable,
    parse_coverage,
    parse_interfaces,
    parse_lookups,
    parse_mac_table,
    parse_of_ports,
    parse_pmd_performance,
    parse_pmd_rxqs,
    parse_pmd_stats,
    parse_port_configurations,
    parse_port_stats,
    parse_qos,
    parse_upcalls,
    parse_vrings,
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


def test_the_main_threads_counters_where_it_polls_ports():
    rows = list(parse_pmd_stats((RECORDED / "pmd-stats-show.txt").read_text(), main_thread=True))
    told = {metric for source, metric, _, _ in rows if source == "main thread"}
    assert {"packets_received", "emc_hits", "smc_hits", "megaflow_hits", "miss_with_success_upcall"} <= told


def test_what_the_datapath_knew_and_what_it_had_to_ask_for():
    shown = (RECORDED / "dpctl-show-s.txt").read_text()
    values = {metric: value for _, metric, value, _ in parse_lookups(shown)}
    assert values == {"lookups_hit": 746_141, "lookups_missed": 2, "lookups_lost": 0}


def test_what_a_port_was_granted():
    granted = parse_port_configurations((RECORDED / "dpctl-show-s.txt").read_text())
    assert granted["nvp1"]["configured_rx_queues"] == "2"
    assert granted["nvp1"]["mtu"] == "1500"
    assert granted["nvbr0"] == {}


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


def test_iterations_of_a_pmd_and_its_batches_as_numbers():
    rows = list(parse_pmd_performance((RECORDED / "pmd-perf-show.txt").read_text()))
    assert {source for source, _, _, _ in rows} == {"pmd core 1"}
    assert {metric: (value, unit) for _, metric, value, unit in rows} == {
        "iterations": (6_369_223, "count"),
        "used_cycles": (6_462_296_572, "cycles"),
        "idle_iterations": (6_012_222, "count"),
        "busy_iterations": (357_001, "count"),
        "sleep_iterations": (0, "count"),
        "sleep_us": (0, "us"),
        "upcalls": (3, "count"),
        "lost_upcalls": (0, "count"),
        "tx_packets": (410_006, "count"),
        "tx_batches": (371_232, "count"),
    }


def test_totals_of_coverage():
    rows = {metric: value for _, metric, value, _ in parse_coverage((RECORDED / "coverage-show.txt").read_text())}
    assert rows["netdev_sent"] == 177_825
    assert rows["bridge_reconfigure"] == 4
    assert len(rows) == 46


def test_flows_of_the_datapath_and_their_limit():
    rows = list(parse_upcalls((RECORDED / "upcall-show.txt").read_text()))
    assert rows == [("datapath", "flows", 3.0, "state"), ("datapath", "flow_limit", 10_000.0, "state")]


def test_why_a_port_lost_frames_and_what_its_queues_passed():
    text = (RECORDED / "dump-ports.txt").read_text()
    rows = {(source, metric): value for source, metric, value, _ in parse_of_ports(text, {"1": "nvp0", "2": "nvp1"})}
    causes = {metric for source, metric in rows if source == "port nvp1"}
    assert causes == {
        "ovs_rx_qos_drops",
        "ovs_tx_failure_drops",
        "ovs_tx_invalid_hwol_drops",
        "ovs_tx_mtu_exceeded_drops",
        "ovs_tx_qos_drops",
        "ovs_tx_retries",
    }
    passed = [rows[f"port nvp0 queue {queue}", "rx_packets"] for queue in (0, 1)]
    assert sum(passed) == 220_273  # as the line of the port itself has it
    assert rows["port nvp0 queue 1", "tx_guest_notifications"] == 0
    assert not [source for source, _ in rows if "LOCAL" in source]


def test_rings_of_vhost_user_ports():
    rows = list(parse_vrings((RECORDED / "list-interface-status.json").read_text()))
    told = {(source, metric): value for source, metric, value, _ in rows}
    assert told["port nvp0", "vrings"] == 4
    assert told["port nvp1 queue 1", "tx_vring_size"] == told["port nvp1 queue 0", "rx_vring_size"] == 4096
    assert not [source for source, _ in told if "nvbr0" in source]
    assert list(parse_vrings("")) == []
