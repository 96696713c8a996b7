"""The options of Open vSwitch, said in its own words."""

import pytest
from pydantic import ValidationError

from nvbench.datapaths.ovs_options import OvsDpdkParameters
from nvbench.datapaths.ovs_ports import dpdk_ports
from nvbench.endpoint import Link, LinkKind

LOG = """
2026-01-01T00:00:00.000Z|00016|userspace_tso|INFO|Userspace TCP Segmentation Offloading support enabled
2026-01-01T00:00:00.000Z|00050|dpif_netdev|INFO|SMC cache is enabled
2026-01-01T00:00:00.000Z|00051|dpif_netdev|INFO|EMC insertion probability changed to zero
2026-01-01T00:00:00.000Z|00056|dpif_netdev|INFO|PMD max sleep request is 500 usecs.
"""


def test_flows_join_the_two_ports_or_learn():
    assert OvsDpdkParameters().flows() == ["table=0,in_port=1,actions=output:2", "table=0,in_port=2,actions=output:1"]
    dropping = OvsDpdkParameters(flow_set="normal", drop_every=8)
    assert dropping.flows() == ["table=0,actions=NORMAL", "table=0,priority=40000,udp,udp_src=0/0x7,actions=drop"]


def test_flows_in_a_chain_of_tables():
    chained = OvsDpdkParameters(flow_set="normal", flow_tables=3)
    assert chained.flows() == [
        "table=0,actions=resubmit(,1)",
        "table=1,actions=resubmit(,2)",
        "table=2,actions=NORMAL",
    ]


def test_policers_and_tunnels_are_columns():
    plain = OvsDpdkParameters()
    assert (plain.policing(), plain.policer(), plain.tunnel()) == ([], {}, [])
    policed = OvsDpdkParameters(ingress_policing_kbps=5, ingress_policing_burst_kb=3)
    assert policed.policing() == ["ingress_policing_rate=5", "ingress_policing_burst=3"]
    assert OvsDpdkParameters(egress_policer_bytes_per_s=12500000).policer() == {"cir": "12500000", "cbs": "65536"}
    tunnelled = OvsDpdkParameters(flow_set="normal", dot1q_tunnel=100)
    assert tunnelled.tunnel() == ["vlan_mode=dot1q-tunnel", "tag=100"]


@pytest.mark.parametrize(
    ("option", "settings"),
    [
        ({}, {}),
        ({"emc": False, "smc": True}, {"emc-insert-inv-prob": "0", "smc-enable": "true"}),
        ({"userspace_tso": True}, {"userspace-tso-enable": "true"}),
        ({"pmd_maxsleep_us": 500}, {"pmd-maxsleep": "500", "pmd-sleep-max": "500"}),
    ],
)
def test_settings_of_the_switch_are_those_that_are_not_its_defaults(option, settings):
    assert OvsDpdkParameters(**option).settings() == settings


def test_options_that_the_switch_does_not_say_it_has_taken():
    wanted = OvsDpdkParameters(emc=False, smc=True, userspace_tso=True, pmd_maxsleep_us=500)
    assert wanted.unconfirmed(LOG) == []
    assert wanted.unconfirmed("Default PMD thread max sleep:  500 us") == ["emc", "smc", "userspace_tso"]
    assert OvsDpdkParameters(pmd_maxsleep_us=50).unconfirmed(LOG) == ["pmd_maxsleep_us"]
    assert OvsDpdkParameters().unconfirmed("") == []


@pytest.mark.parametrize(
    "option",
    [
        {"drop_every": 3},
        {"drop_every": 2048},
        {"mac_table_size": 9},
        {"rxq_affinity": "0"},
        {"rxq_affinity": "0:1,"},
        {"dot1q_tunnel": 100},  # without flow_set normal nothing would heed it
        {"pmd_maxsleep_us": 10_001},
    ],
)
def test_options_that_the_switch_cannot_take_are_refused(option):
    with pytest.raises(ValidationError):
        OvsDpdkParameters.model_validate(option)


RINGS = ("options:n_rxq=2", "options:n_rxq_desc=512", "options:n_txq_desc=512")


@pytest.mark.parametrize(
    ("link", "kernel_ports", "name", "type_", "options"),
    [
        (
            Link(LinkKind.VHOST_USER, "/run/vhost0.sock"),
            "system",
            "nvp0",
            "dpdkvhostuserclient",
            ("options:vhost-server-path=/run/vhost0.sock",),
        ),
        (Link(LinkKind.VHOST_USER, "/run/nvp0", served=True), "system", "nvp0", "dpdkvhostuser", ()),
        (
            Link(LinkKind.PCI, "0000:3b:00.0"),
            "system",
            "nvp0",
            "dpdk",
            ('options:dpdk-devargs="0000:3b:00.0"', *RINGS),
        ),
        (
            Link(LinkKind.VDEV, "net_tap0,iface=t0"),
            "system",
            "nvp0",
            "dpdk",
            ('options:dpdk-devargs="net_tap0,iface=t0"', *RINGS),
        ),
        (Link(LinkKind.DEVICE, "enp1s0f0"), "system", "enp1s0f0", "system", ()),
        (
            Link(LinkKind.VETH, "v0"),
            "af_packet",
            "nvp0",
            "dpdk",
            ('options:dpdk-devargs="net_af_packet0,iface=v0,qpairs=2"', *RINGS),
        ),
        (Link(LinkKind.TAP, "tap0"), "afxdp", "tap0", "afxdp", ("options:n_rxq=2",)),
    ],
)
def test_what_a_link_is_to_the_switch(link, kernel_ports, name, type_, options):
    wanted = OvsDpdkParameters(queues=2, descriptors=512, kernel_ports=kernel_ports)
    (port,) = dpdk_ports([link], wanted)
    assert (port.name, port.type, port.options) == (name, type_, options)
    assert port.polled == (type_ != "system")


def test_queues_are_pinned_on_every_port_that_a_pmd_polls():
    links = [Link(LinkKind.VHOST_USER, "/run/a"), Link(LinkKind.PCI, "0000:3b:00.0")]
    ports = dpdk_ports(links, OvsDpdkParameters(rxq_affinity="0:3,1:5"))
    assert [port.options[-1] for port in ports] == ['other_config:pmd-rxq-affinity="0:3,1:5"'] * 2
    assert OvsDpdkParameters(rxq_affinity="0:3,1:5").affinity() == {0: 3, 1: 5}
