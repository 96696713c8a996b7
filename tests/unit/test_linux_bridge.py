"""The kernel's bridge as a datapath: what it runs, what it puts back, and how it reads what the tools print."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from nvbench.datapaths.base import Place
from nvbench.datapaths.kernel_output import (
    cpu_mask,
    dynamic_addresses,
    ethtool_readings,
    kernel_lacks,
    link_readings,
    parse_links,
    qdisc_readings,
    root_qdisc,
    vlans_of,
)
from nvbench.datapaths.linux_bridge import LinuxBridge, LinuxBridgeParameters
from nvbench.endpoint import Link, LinkKind
from nvbench.errors import CommandError, DatapathError
from nvbench.hosts import Completed
from nvbench.tables import Reading

RECORDED = Path(__file__).parent.parent / "recorded"
CONFIG = "CONFIG_BRIDGE=m\n# CONFIG_BRIDGE_VLAN_FILTERING is not set\nCONFIG_NET_SCH_FIFO=y\n"


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


class FakeHost:
    """A host that answers by the beginning of a command line, and has the files that it is given."""

    name = "fake"

    def __init__(self, answers: dict[str, str], files: dict[str, str]) -> None:
        self.answers = {"uname -r": "6.18.5\n", **answers}
        self.files = files
        self.did: list[str] = []

    def run(self, argv: Sequence[str], *, timeout_s=30.0, stdin="", check=True) -> Completed:
        line = " ".join(argv)
        self.did.append(line if not stdin else f"{line} < {stdin.strip()}")
        fits = [answer for start, answer in self.answers.items() if line.startswith(start)]
        if fits and fits[0].startswith("refused: "):
            done = Completed(tuple(argv), 2, "", fits[0].removeprefix("refused: "), 0.0)
            return done.checked(self.name) if check else done
        return Completed(tuple(argv), 0, fits[0] if fits else "", "", 0.0)

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def write(self, path: str, text: str) -> None:
        self.did.append(f"write {path} {text.strip()}")

    def exists(self, path: str) -> bool:
        return path in self.files


class FakeJournal:
    """Notes an undo among what the host does, so that a test sees which came first."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host

    def mark(self) -> int:
        return 0

    def record(self, host: FakeHost, undo: object) -> None:
        self._host.did.append(f"journal {undo}")

    def undo_since(self, mark: int) -> list[str]:
        self._host.did.append("undo")
        return []


def told(name: str, bridge: str = "nvbr0", **changes: object) -> dict[str, object]:
    """A port as `ip -j -d link` tells of it once it is one."""
    port = {
        "ifname": name,
        "flags": ["UP", "LOWER_UP"],
        "mtu": 1500,
        "qdisc": "noqueue",
        "master": bridge,
        "num_rx_queues": 1,
        "num_tx_queues": 1,
        "linkinfo": {"info_slave_data": {"state": "forwarding"}},
    }
    return port | changes


def bridge_row(name: str = "nvbr0", **changes: object) -> dict[str, object]:
    options = {"stp_state": 0, "forward_delay": 0, "mcast_snooping": 0, "vlan_filtering": 0}
    return {"ifname": name, "mtu": 1500, "flags": ["UP"], "linkinfo": {"info_data": options | changes}}


def setup(
    kind: LinkKind = LinkKind.DEVICE,
    rows: Sequence[dict[str, object]] = (),
    files: dict[str, str] | None = None,
    steer: bool = False,
    **options: object,
) -> tuple[LinuxBridge, FakeHost, FakeJournal]:
    rows = [*rows, *(told(name) for name in ("eth2", "eth3")), bridge_row()]
    known = {row["ifname"]: row for row in reversed(rows)}
    answers = {f"ip -j -d link show dev {name}": json.dumps([row]) for name, row in known.items()}
    answers |= {"ip -j -d link show": json.dumps(list(known.values()))}
    host = FakeHost(answers, files or {})
    links = (Link(kind, "eth2"), Link(kind, "eth3"))
    place = Place(host, "/run/x", (1, 33), 0, 0, (links,), steer=steer)
    return LinuxBridge(place, LinuxBridgeParameters.model_validate(options)), host, FakeJournal(host)


def test_each_pair_of_links_gets_a_bridge_and_the_journal_knows_first():
    bridge, host, journal = setup()
    bridge.up(journal)
    assert bridge.version == "Linux 6.18.5 bridge"
    assert host.did[1:] == [
        "journal RemoveLink(name='nvbr0')",
        "ip link add nvbr0 mtu 1500 up type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
    ]


def test_a_device_that_was_there_is_put_back_as_it_was():
    down = told("eth3", master="br-lan", mtu=9000, flags=["BROADCAST"])
    bridge, host, journal = setup(rows=[down])
    bridge.up(journal)
    host.did.clear()
    with pytest.raises(
        DatapathError, match=r"port eth3: mtu is 9000, not 1500; .*master is br-lan.*; port eth3 is down"
    ):
        bridge.attach()
    assert host.did[3:5] == [
        "journal RunBack(argv=('ip', 'link', 'set', 'eth3', 'mtu', '9000', 'master', 'br-lan', 'down'))",
        "ip link set eth3 mtu 1500 master nvbr0 up",
    ]


def test_a_qdisc_that_somebody_set_is_not_touched():
    bridge, host, journal = setup(qdisc="pfifo")
    host.answers["tc -j qdisc show dev eth2"] = '[{"kind":"htb","handle":"1:","root":true}]'
    bridge.up(journal)
    with pytest.raises(DatapathError, match="port eth2: somebody has set its qdisc htb: hands off"):
        bridge.attach()
    assert not [line for line in host.did if line.startswith("tc qdisc replace")]


def test_its_forwarding_is_kept_on_the_polling_cores():
    path = "/sys/class/net/eth2/queues/rx-0/rps_cpus"
    bridge, host, journal = setup(steer=True, files={path: "00,00000000\n"})
    host.answers["find /sys/class/net/eth2/queues"] = path
    bridge.up(journal)
    bridge.attach()
    steps = [line for line in host.did if "rps_cpus" in line and not line.startswith("find")]
    assert steps == [f"journal Restore(path='{path}', text='00,00000000\\n')", f"tee {path} < 00000002,00000002"]


def test_a_virtual_port_goes_with_its_pair_and_needs_no_undo():
    bridge, host, journal = setup(kind=LinkKind.VETH)
    bridge.up(journal)
    host.did.clear()
    bridge.attach()
    assert not [line for line in host.did if line.startswith("journal")]


def test_frames_go_round_the_packet_filter_if_asked():
    path = "/proc/sys/net/bridge/bridge-nf-call-iptables"
    bridge, host, journal = setup(files={path: "1\n"}, netfilter=False)
    bridge.up(journal)
    assert host.did[-2:] == [f"journal Restore(path='{path}', text='1\\n')", f"write {path} 0"]


def test_a_name_that_is_taken_is_left_alone():
    bridge, host, journal = setup(files={"/sys/class/net/nvbr0": ""})
    with pytest.raises(DatapathError, match="nvbr0 is there already and is not ours: hands off"):
        bridge.up(journal)
    bridge.down()
    assert host.did == []


def test_what_the_kernel_refuses_is_told_in_its_words():
    bridge, host, journal = setup(vlan_filtering=True)
    host.answers["ip link add"] = "refused: RTNETLINK answers: Operation not supported"
    with pytest.raises(DatapathError, match="vlan_filtering 1: status 2: RTNETLINK answers: Operation not supported"):
        bridge.up(journal)


@pytest.mark.parametrize(
    ("options", "lacking"),
    [
        ({}, ""),
        ({"qdisc": "pfifo"}, ""),
        ({"vlan_filtering": True}, "the kernel 6.18.5 is built without CONFIG_BRIDGE_VLAN_FILTERING"),
        ({"qdisc": "fq_codel"}, "the kernel 6.18.5 is built without CONFIG_NET_SCH_FQ_CODEL"),
    ],
)
def test_what_the_kernel_lacks_is_known_before_anything_is_done(options, lacking):
    bridge, _, _ = setup(files={"/boot/config-6.18.5": CONFIG}, **options)
    assert bridge.missing() == lacking


def test_a_kernel_that_shows_no_configuration_is_tried():
    bridge, _, _ = setup(vlan_filtering=True)
    assert bridge.missing() == ""


@pytest.mark.parametrize("options", [{"vlan": 100}, {"vlan": 1, "vlan_filtering": True}, {"qdisc": "fifo"}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValidationError):
        LinuxBridgeParameters.model_validate(options)


def test_too_few_queues_and_devices_that_are_not_there():
    bridge, _, journal = setup(queues=2)
    bridge.up(journal)
    with pytest.raises(DatapathError, match="port eth2: has 1 queues, not 2"):
        bridge.attach()
    bridge, host, journal = setup()
    host.answers["ip -j -d link show"] = "[]"
    bridge.up(journal)
    with pytest.raises(DatapathError, match="there is no network device eth2"):
        bridge.attach()


def test_an_option_that_the_kernel_took_otherwise_is_a_fault():
    bridge, _, journal = setup(rows=[bridge_row(mcast_snooping=1)])
    bridge.up(journal)
    with pytest.raises(DatapathError, match="nvbr0: mcast_snooping is 1, not 0"):
        bridge.attach()


def test_counters_of_the_ports():
    text = recorded("iproute2-6.1/link-show-bridge.json")
    found = list(link_readings(text, ("nv0", "nv1")))
    assert Reading("port nv0", "rx_packets", 100.0, "frames") in found
    assert Reading("port nv0", "rx_bytes", 6000.0, "bytes") in found
    assert {each.source for each in found} == {"port nv0", "port nv1"}
    assert parse_links(text)["nv0"]["master"] == "nvbr0"


def test_counters_of_drivers_and_queueing_disciplines():
    found = list(ethtool_readings(recorded("ethtool-6.1/statistics-veth.txt"), "nv0"))
    assert Reading("driver nv0", "rx_queue_0_drops", 0.0, "count") in found
    assert not [each for each in found if each.metric == "peer_ifindex"]
    text = recorded("iproute2-6.1/qdisc-show.json")
    drops, *others = qdisc_readings(text, ("nv1",))
    assert drops == Reading("qdisc nv1", "drops", 0.0, "frames")
    assert [each.metric for each in others] == ["overlimits", "requeues", "qlen", "backlog"]
    assert root_qdisc(text) == ("noqueue", False)
    assert root_qdisc('[{"kind":"pfifo","handle":"8028:","root":true}]') == ("pfifo", True)


def test_only_learned_addresses_are_counted():
    text = recorded("iproute2-6.1/fdb-show.json")
    assert text.count('"mac"') > 5
    assert dynamic_addresses(text, ("nvbr0",)) == 1
    assert dynamic_addresses(text, ("br-lan",)) == 0


def test_vlans_come_one_by_one_or_as_a_range():
    text = '[{"ifname":"p0","vlans":[{"vlan":1,"flags":["PVID"]},{"vlan":10,"vlanEnd":12}]},{"ifname":"p1","vlans":[]}]'
    assert vlans_of(text, "p0") == {1, 10, 11, 12}
    assert vlans_of(text, "p1") == set()


def test_kernel_configurations_and_core_masks():
    assert kernel_lacks(CONFIG, ("BRIDGE", "NET_SCH_FIFO", "VETH")) == ["CONFIG_VETH"]
    assert cpu_mask((0, 1)) == "00000003"
    assert cpu_mask((32,)) == "00000001,00000000"


def test_a_bridge_that_has_gone_is_told():
    bridge, host, journal = setup()
    bridge.up(journal)
    assert bridge.crashed() == "the bridge nvbr0 has gone"
    host.files["/sys/class/net/nvbr0"] = ""
    assert bridge.crashed() == ""
    host.answers["bridge -j fdb show"] = "refused: no"
    with pytest.raises(DatapathError) as caught:
        bridge.learned_addresses()
    assert isinstance(caught.value.__cause__, CommandError)
