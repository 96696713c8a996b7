"""What a person sees of TCP and UDP between two endpoints, and of what the bench cannot do."""

import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner

from nvbench.attribution import explain
from nvbench.cli import group
from nvbench.reading import Results, open_results
from nvbench.report import attribution
from nvbench.report.document import as_markdown, as_text
from nvbench.report.rfc2544 import rfc2544_report
from nvbench.report.text import rendered, results_table
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import LatencySummary, LimitedBy, ResultRow, Setting, Subject
from tests.unit.test_attribution import simulated


def subject(datapath: str, test: str = "tcp_stream", **switches: bool) -> Subject:
    names = {"tso": "endpoints.tso", "checksum": "endpoints.tx_checksum", "gro": "endpoints.gro"}
    settings = tuple(Setting(names.get(name, name), "on" if on else "off") for name, on in switches.items())
    case_id = "-".join([datapath, *(name for name, on in switches.items() if on)])
    return Subject(case_id, test, datapath, "iperf3", 0, topology="VM-to-VM", guest="namespace", settings=settings)


def stream(of: Subject, gbps: float, packet_bytes: float = 1514.0, **more: object) -> ResultRow:
    """A result whose repeats lie 10 % around `gbps`."""
    values: dict[str, object] = {
        "goodput_bps": gbps * 1e9,
        "value_min": gbps * 0.9e9,
        "value_median": gbps * 1e9,
        "value_max": gbps * 1.1e9,
        "packets_pps": gbps * 1e9 / 8 / packet_bytes,
        "packet_bytes": packet_bytes,
        "retransmits": 12.0,
        "cores": 1.6,
        "repeats": 5,
    }
    return ResultRow(subject=of, rate_pps=None, **(values | more))  # type: ignore[arg-type]


def impossible(datapath: str, queues: int, reason: str) -> ResultRow:
    of = Subject(f"{datapath}-{queues}q", "tcp_stream", datapath, "iperf3", 0, queues=queues)
    return ResultRow(subject=of, rate_pps=None, verdict=f"not possible here: {reason}")


def offload_rows() -> list[ResultRow]:
    """A small sweep, in any order: gro is on everywhere, and one case hung."""
    bridge = [
        stream(subject("linux_bridge", tso=True, checksum=True, gro=True), 9.412, 31234.0),
        stream(subject("linux_bridge", tso=False, checksum=True, gro=True), 2.47),
        stream(subject("linux_bridge", tso=False, checksum=False, gro=True), 1.77),
    ]
    ovs = [
        stream(subject("ovs_dpdk", tso=True, checksum=True, gro=True, userspace_tso=True), 4.46, 28000.0),
        stream(subject("ovs_dpdk", tso=False, checksum=False, gro=True, userspace_tso=False), 0.4),
        ResultRow(
            subject=subject("ovs_dpdk", tso=True, checksum=True, gro=True, userspace_tso=False),
            rate_pps=None,
            verdict="no answer within 12 s",
        ),
    ]
    rows = [*bridge, *ovs]
    rows += [impossible("sriov", queues, "no device with virtual functions") for queues in (1, 2)]
    random.Random(7).shuffle(rows)  # noqa: S311
    return rows


def written(root: Path, rows: Iterable[ResultRow]) -> Results:
    with RunWriter.create(root, RunHeader("offload-tso", "local")) as run:
        for row in rows:
            run.append_result(row)
    return open_results(run.path)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return written(tmp_path, offload_rows())


def text_of(results: Results, width: int = 140) -> str:
    [run] = results.runs
    return rendered(results_table(results, width), width).replace(str(run.path), "PATH").replace(run.run_id, "RUN")


WIDE = """\
offload-tso on local, run RUN

tcp stream: VM-to-VM, in namespace, queues: 1, MTU 1500, iperf3 generator, repeats: 5

              userspace             tx     min  median     max  Packets  Packet    CPU  Retrans-
Datapath            tso  tso  checksum  Gbit/s  Gbit/s  Gbit/s     kpps       B  cores      mits  Verdict
───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
linux_bridge          -  off       off   1.593   1.770   1.947    146.1    1514  1.600        12
linux_bridge          -  off        on   2.223   2.470   2.717    203.9    1514  1.600        12
linux_bridge          -   on        on   8.471   9.412   10.35    37.67   31234  1.600        12
ovs_dpdk            off  off       off  0.3600  0.4000  0.4400    33.03    1514  1.600        12
ovs_dpdk            off   on        on       -       -       -        -       -      -         -  no answer within 12 s
ovs_dpdk             on   on        on   4.014   4.460   4.906    19.91   28000  1.600        12

not possible here: sriov-1q, sriov-2q: no device with virtual functions

results: PATH
"""

NARROW = """\
              userspace             tx                           CPU  Retrans-
Datapath            tso  tso  checksum  Verdict                cores      mits
──────────────────────────────────────────────────────────────────────────────
linux_bridge          -  off       off                         1.600        12
"""


def test_a_sweep_of_offloads_stands_in_order_with_the_options_that_differ(results: Results) -> None:
    assert text_of(results) == WIDE


def test_a_narrow_table_repeats_what_tells_its_rows_apart(results: Results) -> None:
    text = text_of(results, 80)
    assert NARROW in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_transactions_have_their_own_unit_and_latency(tmp_path: Path) -> None:
    rates = {"value_min": 300.0, "value_median": 350.0, "value_max": 360.0, "goodput_bps": None, "packets_pps": None}
    latency = LatencySummary(None, 2800.0, 2900.0, 4100.0)
    row = stream(subject("linux_bridge", "tcp_rr"), 1.0, transactions_per_s=350.0, latency=latency, **rates)
    text = text_of(written(tmp_path, [row, stream(subject("ovs_dpdk", "udp_stream"), 0.02)]))
    requests, _, datagrams = text.partition("udp stream: ovs_dpdk, VM-to-VM")
    for part in ("tcp rr: linux_bridge, VM-to-VM", "300.0   350.0  360.0", "1/s", "2800", "4100"):
        assert part in requests
    assert "p50" not in datagrams
    assert "0.02000" in datagrams


def test_repeats_have_a_column_where_they_differ(tmp_path: Path) -> None:
    rows = [stream(subject("linux_bridge"), 9.0), stream(subject("ovs_dpdk"), 0.4, repeats=3)]
    text = text_of(written(tmp_path, rows))
    assert "repeats:" not in text
    assert "Repeats" in text


def test_mtu_queues_and_guests_have_a_column_where_they_differ(tmp_path: Path) -> None:
    plain = subject("linux_bridge")
    rows = [
        stream(Subject("c", "tcp_stream", "linux_bridge", "iperf3", 0, mtu=mtu, queues=queues, guest=guest), 9.0)
        for mtu, queues, guest in ((9000, 1, "qemu"), (1500, 2, "namespace"), (1500, 1, "namespace"))
    ]
    text = text_of(written(tmp_path, rows))
    assert [line.split()[0:3] for line in text.splitlines() if "9.000" in line] == [
        ["namespace", "1", "1500"],
        ["namespace", "2", "1500"],
        ["qemu", "1", "9000"],
    ]
    assert "MTU 1500" in text_of(written(tmp_path / "plain", [stream(plain, 9.0)]))


def test_emulated_processors_are_labelled_at_the_title_and_in_the_verdict(tmp_path: Path) -> None:
    results = written(tmp_path, [stream(subject("linux_bridge"), 0.4, emulated=True)])
    text = text_of(results, 200)
    assert text.splitlines()[1] == "emulated: not a performance figure"
    assert text.count("emulated: not a performance figure") == 2
    assert "EMULATED" in rendered(as_text(rfc2544_report(results)))


def frame_row(frame_bytes: int, datapath: str = "ovs_dpdk", mtu: int = 1500, **settings: str) -> ResultRow:
    options = tuple(Setting(name, value) for name, value in settings.items())
    of = Subject(f"{datapath}-{frame_bytes}", "throughput", datapath, "nvgen", frame_bytes, mtu=mtu, settings=options)
    return ResultRow(subject=of, rate_pps=1e6, loss_ratio=0.0, limited_by=LimitedBy.SUT)


def test_frames_are_in_order_of_case_and_size_however_they_were_measured(tmp_path: Path) -> None:
    rows = [frame_row(1518), frame_row(64, "direct"), frame_row(64), frame_row(512, "direct")]
    text = text_of(written(tmp_path, rows))
    lines = [line.split()[:2] for line in text.splitlines() if "device limited" in line]
    assert lines == [["direct", "64"], ["direct", "512"], ["ovs_dpdk", "64"], ["ovs_dpdk", "1518"]]
    assert "MTU" not in text


def test_frames_tell_options_and_mtu_that_differ(tmp_path: Path) -> None:
    rows = [
        frame_row(64, emc="on", n_rxq_desc="2048"),
        frame_row(64, emc="off", n_rxq_desc="2048"),
        frame_row(64, mtu=9000, emc="off", n_rxq_desc="512"),
    ]
    text = text_of(written(tmp_path, rows))
    assert [line.split()[:3] for line in text.splitlines() if "device limited" in line] == [
        ["1500", "off", "2048"],
        ["1500", "on", "2048"],
        ["9000", "off", "512"],
    ]


def test_the_report_lists_streams_and_what_is_not_possible(results: Results) -> None:
    text = rendered(as_text(rfc2544_report(results)))
    assert "TCP and UDP streams\n-------------------" in text
    assert "26.1 Throughput" not in text
    assert "TCP and UDP; endpoints choose their frames" in text
    assert "- sriov-1q, sriov-2q: no device with virtual functions" in text
    lines = [line.split() for line in text.splitlines() if "31234" in line]
    assert lines[0][4:7] == ["8.471", "9.412", "10.35"]
    assert "| linux_bridge | - | on | on | 8.471 |" in as_markdown(rfc2544_report(results))


def test_frames_and_streams_share_a_report(tmp_path: Path) -> None:
    rows = [frame_row(64), stream(subject("linux_bridge"), 9.0)]
    text = rendered(as_text(rfc2544_report(written(tmp_path, rows))))
    assert text.index("26.1 Throughput") < text.index("TCP and UDP streams")
    assert "UDP over IPv4 over Ethernet" in text


def test_streams_are_drawn(results: Results, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "plot.png"
    outcome = CliRunner().invoke(group, ["report", str(results.runs[0].path), "--plot", str(picture)])
    assert outcome.exception is None
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_an_explanation_shows_every_part_and_every_warning() -> None:
    explanation = explain(simulated(1))
    text = rendered(attribution.table(explanation))
    flowing = " ".join(text.split())
    assert text.startswith("linux_bridge-cstgr against ovs_dpdk-r\n\nTCP over linux_bridge with GRO")
    assert explanation.sentence in flowing
    for part in explanation.effects:
        [line] = [line for line in text.splitlines() if line.startswith(f"{part.name}  ")]
        assert line.endswith("within noise") == part.noise
    for part in ("all of the gap 17x (16-18) 100 %", "Gives back", "TSO with GSO", "warning: TCP did not pass at all"):
        assert part in flowing


@pytest.mark.parametrize("width", [30, 60, 80])
def test_no_width_cuts_a_number_off(results: Results, width: int) -> None:
    explained = rendered(attribution.table(explain(simulated(1))), width)
    text = rendered(results_table(results, width), width)
    assert "…" not in explained + text
    assert "17x (16-18)" in explained
    for number in ("8.471", "9.412", "10.35", "31234", "0.4000"):
        assert number in text
