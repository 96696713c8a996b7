"""dpdk-testpmd as a switch: its command line for each kind of link, its start, its end."""

from collections.abc import Sequence

import pytest

from nvbench.datapaths.base import Place
from nvbench.datapaths.direct import Direct, DirectParameters
from nvbench.datapaths.testpmd import Testpmd, TestpmdParameters
from nvbench.endpoint import Link, LinkKind
from nvbench.errors import DatapathError
from nvbench.hosts import Completed

FOLDER = "/run/nvbench/local-7-1"
VHOST = (Link(LinkKind.VHOST_USER, f"{FOLDER}/a.sock"), Link(LinkKind.VHOST_USER, f"{FOLDER}/b.sock"))
VETH = (Link(LinkKind.VETH, "nv0"), Link(LinkKind.VETH, "nv1"))
JOINED = [
    "io packet forwarding - ports=2 - cores=1 - streams=2 - NUMA support enabled, MP allocation mode: native",
    "  RX P=0/Q=0 (socket 0) -> TX P=1/Q=0 (socket 0) peer=02:00:00:00:00:01",
    "  RX P=1/Q=0 (socket 0) -> TX P=0/Q=0 (socket 0) peer=02:00:00:00:00:00",
]
READY = "Press enter to exit"


class FakeProcess:
    """Says its lines; then it is silent, or has ended."""

    def __init__(self, lines: Sequence[str], *, ended: bool = False, complaints: Sequence[str] = ()) -> None:
        self.lines = list(lines)
        self.ended = ended
        self.said = list(complaints)
        self.closed = self.killed = False
        self.status = 0

    def receive(self, timeout_s: float) -> str | None:
        if self.lines:
            return self.lines.pop(0)
        if self.ended:
            return None
        raise TimeoutError

    def complaints(self) -> list[str]:
        return self.said

    def close(self, timeout_s: float = 5.0) -> int | None:
        self.closed = True
        return self.status

    def kill(self) -> None:
        self.killed = True


class FakeHost:
    """Runs one testpmd, process 42, beside somebody else's, process 41."""

    name = "fake"

    def __init__(self, *processes: FakeProcess) -> None:
        self.processes = list(processes)
        self.did: list[str] = []
        self.alive = True

    def run(self, argv: Sequence[str], *, timeout_s=30.0, stdin="", check=True) -> Completed:
        line = " ".join(argv)
        self.did.append(line)
        if line == "kill -KILL 42":
            self.alive = False
        answers = {"pgrep -x dpdk-testpmd": "41\n42\n", "pkg-config --modversion libdpdk": "22.11.4\n"}
        threads = "41 dpdk-testpmd\n43 lcore-worker-1\n" if line.startswith("ps ") else ""
        return Completed(tuple(argv), 0, answers.get(line, threads), "", 0.0)

    def spawn(self, argv: Sequence[str]) -> FakeProcess:
        self.did.append(" ".join(argv))
        self.alive = True
        return self.processes.pop(0)

    def read(self, path: str) -> str | None:
        words = {"41": "dpdk-testpmd\0--file-prefix\0other", "42": "dpdk-testpmd\0--file-prefix\0local-7-1\0"}
        if path.endswith("/cmdline"):
            return words[path.split("/")[2]]
        return None

    def exists(self, path: str) -> bool:
        return True

    def make_folder(self, path: str) -> None:
        self.did.append(f"folder {path}")

    def remove(self, path: str) -> None:
        self.did.append(f"remove {path}")


class FakeJournal:
    def __init__(self) -> None:
        self.records: list[str] = []

    def mark(self) -> int:
        return 0

    def record(self, host: object, undo: object) -> None:
        self.records.append(str(undo))

    def undo_since(self, mark: int) -> list[str]:
        self.records.append("undone")
        return []


def place(host: FakeHost, *segments: tuple[Link, Link], namespace: str = "") -> Place:
    return Place(host, FOLDER, (2, 3), 0, 512, segments, namespace=namespace)


def command(*segments: tuple[Link, Link], **options: object) -> list[str]:
    return Testpmd(place(FakeHost(), *segments), TestpmdParameters.model_validate(options)).command()


def test_vhost_user_links_by_either_side():
    served = (VHOST[0], Link(LinkKind.VHOST_USER, f"{FOLDER}/c.sock", served=True))
    words = command(served, queues=2, forward="macswap", burst=64)
    assert words[:4] == ["stdbuf", "-oL", "dpdk-testpmd", "--lcores=0@0,1@2,2@3"]
    assert f"net_vhost0,iface={FOLDER}/a.sock,client=1,queues=2" in words
    assert f"net_vhost1,iface={FOLDER}/c.sock,client=0,queues=2" in words
    assert {"--no-pci", "--rxq=2", "--txq=2", "--forward-mode=macswap", "--burst=64", "--nb-cores=2"} <= set(words)
    assert words[words.index("--socket-mem") + 1] == "512"
    assert "--portlist=0,1" in words
    assert not [word for word in words if word.startswith("--max-pkt-len")]


@pytest.mark.parametrize(
    ("mtu", "ring", "buffer"),
    [(1500, "framesz=2048,blocksz=4096", 2176), (9000, "framesz=12288,blocksz=12288", 12288 + 128)],
)
def test_a_ring_of_af_packet_has_room_for_the_largest_frame(mtu, ring, buffer):
    words = command(VETH, mtu=mtu, descriptors=1024)
    assert f"net_af_packet0,iface=nv0,qpairs=1,{ring},framecnt=1024" in words
    assert f"--mbuf-size={buffer}" in words


def test_ports_are_numbered_as_dpdk_finds_them_and_joined_as_asked():
    """Physical ports come first and by address, wherever they stand on the command line."""
    physical = (Link(LinkKind.PCI, "0000:3b:00.1"), Link(LinkKind.PCI, "0000:3b:00.0"))
    words = command((physical[0], VHOST[0]), (VHOST[1], physical[1]), mtu=9000, descriptors=512)
    assert "--portlist=1,2,3,0" in words
    assert "--no-pci" not in words
    assert words.count("-a") == 2
    assert "--max-pkt-len=9018" in words
    assert f"--total-num-mbufs={8192 + 2 * 2 * 512}" in words


def test_a_device_string_is_passed_on():
    assert "net_tap0,iface=x" in command((Link(LinkKind.VDEV, "net_tap0,iface=x"), VHOST[0]))


def test_noise_is_told_in_its_own_words_and_what_it_holds_back_has_buffers():
    noise = {"noisy_buffer": 1024, "noisy_flush_ms": 2, "noisy_memory_mb": 64, "noisy_reads": 8, "noisy_writes": 4}
    words = command(VHOST, forward="noisy", **noise)
    assert "--forward-mode=noisy" in words
    assert [word for word in words if word.startswith("--noisy")] == [
        "--noisy-tx-sw-buffer-size=1024",
        "--noisy-tx-sw-buffer-flushtime=2",
        "--noisy-lkup-memory=64",
        "--noisy-lkup-num-reads=8",
        "--noisy-lkup-num-writes=4",
    ]
    assert f"--total-num-mbufs={8192 + 2 * 1024}" in words
    assert not [word for word in command(VHOST, forward="noisy") if word.startswith("--noisy")]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"forward": "io", "noisy_reads": 1, "noisy_memory_mb": 1}, "noisy_memory_mb needs forward: noisy"),
        ({"noisy_buffer": 128}, "noisy_buffer and noisy_flush_ms go together"),
        ({"noisy_flush_ms": 1}, "noisy_buffer and noisy_flush_ms go together"),
        ({"noisy_buffer": 32, "noisy_flush_ms": 1}, "more than a burst"),
        ({"noisy_buffer": 100, "noisy_flush_ms": 1}, "power of two"),
        ({"noisy_reads": 1}, "noisy_memory_mb and noisy_reads or noisy_writes go together"),
        ({"noisy_memory_mb": 1}, "noisy_memory_mb and noisy_reads or noisy_writes go together"),
    ],
)
def test_noise_that_would_not_be_what_it_says_is_refused(options, why):
    with pytest.raises(ValueError, match=why):
        TestpmdParameters.model_validate({"forward": "noisy"} | options)


def test_it_comes_up_in_its_namespace_and_goes_down():
    host, journal = FakeHost(FakeProcess([*JOINED, READY])), FakeJournal()
    datapath = Testpmd(place(host, VETH, namespace="nv"), TestpmdParameters(mtu=4000))
    assert datapath.missing() == ""
    datapath.up(journal)
    assert datapath.version == "testpmd of DPDK 22.11.4"
    assert journal.records == [f"Remove(path='{FOLDER}')", "Remove(path='/run/dpdk/local-7-1')"]
    datapath.attach()
    assert "ip netns exec nv ip link set nv1 mtu 4000 up" in host.did
    assert [line for line in host.did if line.startswith("ip netns exec nv stdbuf -oL dpdk-testpmd")]
    assert datapath.poller() == 42
    assert datapath.crashed() == ""
    datapath.down()
    assert journal.records[-1] == "undone"
    assert datapath.poller() is None


def test_a_start_that_fails_is_told_in_its_words():
    ended = FakeProcess([], ended=True, complaints=["EAL: Error - exiting with code: 1", "  Cause: Start ports failed"])
    datapath = Testpmd(place(FakeHost(ended), VHOST), TestpmdParameters())
    datapath.up(FakeJournal())
    with pytest.raises(DatapathError, match=r"did not start: EAL: Error .* / Cause: Start ports failed / status 0"):
        datapath.attach()


def test_ports_that_are_joined_otherwise_are_a_fault():
    datapath = Testpmd(place(FakeHost(FakeProcess([*JOINED[:2], READY])), VHOST), TestpmdParameters())
    datapath.up(FakeJournal())
    with pytest.raises(DatapathError, match=r"it joins the ports \[\(0, 1\)\], not \[\(0, 1\), \(1, 0\)\]"):
        datapath.attach()


def test_its_end_is_noticed_with_its_last_words():
    process = FakeProcess([*JOINED, READY])
    datapath = Testpmd(place(FakeHost(process), VHOST), TestpmdParameters())
    assert datapath.crashed() == ""
    datapath.up(FakeJournal())
    datapath.attach()
    boasts = ["EAL: Detected NUMA nodes: 1", "VHOST_CONFIG: (a.sock) read message VHOST_USER_SET_VRING_CALL"]
    process.ended, process.said, process.status = True, [*boasts, "VHOST_CONFIG: failed to map memory"], -11
    assert datapath.crashed() == "dpdk-testpmd has ended: VHOST_CONFIG: failed to map memory / status -11"
    with pytest.raises(DatapathError, match="dpdk-testpmd has ended"):
        datapath.restart(0.0)


def test_a_restart_takes_away_the_sockets_that_the_killed_one_served():
    served = (VHOST[0], Link(LinkKind.VHOST_USER, f"{FOLDER}/c.sock", served=True))
    first = FakeProcess([*JOINED, READY])
    host = FakeHost(first, FakeProcess([*JOINED, READY]))
    datapath = Testpmd(place(host, served), TestpmdParameters())
    datapath.up(FakeJournal())
    datapath.attach()
    host.did.clear()
    datapath.restart(0.0)
    steps = [line.split(" --")[0] for line in host.did if line.startswith(("kill", "remove", "stdbuf"))]
    assert steps == ["kill -KILL 42", f"remove {FOLDER}/c.sock", "stdbuf -oL dpdk-testpmd"]
    assert first.closed
    assert datapath.poller() == 42


def test_a_wire_of_devices_needs_nothing():
    host, journal = FakeHost(), FakeJournal()
    cable = (Link(LinkKind.VETH, "nv0"), Link(LinkKind.DEVICE, "nv0"))
    wire = Direct(place(host, cable, namespace="nv"), DirectParameters())
    assert wire.missing() == ""
    wire.up(journal)
    wire.attach()
    assert (wire.crashed(), wire.poller()) == ("", None)
    wire.down()
    assert (host.did, journal.records) == ([], [])


def test_a_wire_of_sockets_is_testpmd_that_does_nothing_else():
    host, journal = FakeHost(FakeProcess([*JOINED, READY])), FakeJournal()
    wire = Direct(place(host, VHOST), DirectParameters(queues=2, descriptors=1024))
    wire.up(journal)
    wire.attach()
    (line,) = [line for line in host.did if line.startswith("stdbuf")]
    assert "--forward-mode=io" in line
    assert "--socket-mem 256" in line
    assert "--rxq=2" in line
    assert wire.poller() is None
    with pytest.raises(DatapathError, match="a wire cannot be restarted"):
        wire.restart(0.0)
    wire.down()
