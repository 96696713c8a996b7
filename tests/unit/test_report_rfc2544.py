"""The report: RFC 2544's order and formats, every number from the results folder, and what was not as the RFC asks."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from nvbench.cli import group
from nvbench.errors import NvbenchError
from nvbench.reading import open_results
from nvbench.report.document import as_markdown, as_text
from nvbench.report.rfc2544 import rfc2544_report
from nvbench.report.text import rendered
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import LatencySummary, LimitedBy, LossEvent, ResultRow, Setting, Subject
from nvbench.units import line_rate_pps

LATENCY = LatencySummary(4.1, 12.34, 20.5, 45.2, 120.7, 1234.5, 116.6, 1.25, 640.0)
PROFILE = {
    "description": "All of it",
    "link_gbps": 10.0,
    "traffic": {"flows": [1000], "vary": [["udp_src"]], "vlan": [100], "direction": ["bidirectional"]},
}
TESTBED = {"description": "Here", "generator": {"ports": [{"vhost_user": True}] * 2}}
FINGERPRINT = {
    "hosts": {"local": {"os": "Debian 12", "kernel": "6.1", "versions": {"ovs": "3.1.0"}, "nics": [{"name": "eth0"}]}},
    "placement": "The switch polls on core 1",
    "ovs_dpdk": "OVS 3.1.0, DPDK 22.11.11",
    "generator": "nvgen on DPDK 22.11.11",
}


def row(test: str, frame_bytes: int = 64, imix: str = "", **values: object) -> ResultRow:
    """A result as a test makes it."""
    subject = Subject(f"c{frame_bytes}", test, "ovs_dpdk", "nvgen", frame_bytes, 1000, 1, "bidirectional", imix)
    base: dict[str, object] = {
        "rate_pps": None,
        "line_rate_pps": line_rate_pps(1e10, frame_bytes),
        "final_duration_s": 1.0,
        "trial_ids": ("t00001",),
        "quick": True,
    }
    return ResultRow(subject=subject, **(base | values))  # type: ignore[arg-type]


def spread(unit: float = 1.0, repeats: int = 3) -> dict[str, object]:
    points = {"value_min": 1.0, "value_mean": 2.0, "value_max": 3.5, "value_stdev": 0.5}
    return {"repeats": repeats, **{name: value * unit for name, value in points.items()}}


def rows() -> list[ResultRow]:
    """One answer of each test, and more where a curve needs them."""
    throughput = {64: 2_817_045.0, 512: 1_202_000.0, 1518: 810_100.0}
    made = [
        row("throughput", size, rate_pps=rate, loss_ratio=0.0, limited_by=LimitedBy.SUT, latency=LATENCY)
        for size, rate in throughput.items()
    ]
    for share in (0.0, 0.5, 1.0):
        probe = {"load_share": share, "latency": LATENCY, "floor_p50_us": 3.2, "verdict": "at a load"}
        made.append(row("latency", rate_pps=share * 2.8e6 or 1000.0, loss_ratio=0.0, **probe, **spread()))
    for size, first in ((64, 0.6), (512, 0.2)):
        line = line_rate_pps(1e10, size)
        for step in range(5):
            share = 1 - step / 10
            loss = max(0.0, first - 0.3 * step)
            rate = min(share, 0.95) * line  # the generator does not reach the line rate
            made.append(row("frame_loss", size, load_share=share, rate_pps=rate, loss_ratio=loss, latency=LATENCY))
    buffers = {"burst_frames": 2000.0, "buffer_time_us": 134.4, "corrected_buffer_time_us": 108.9}
    made.append(
        row("back_to_back", rate_pps=14.2e6, load_share=0.95, verdict="device limited", **buffers, **spread(1e3))
    )
    made.append(row("recovery", rate_pps=3.1e6, load_share=1.1, recovery_time_s=0.002, **spread(1e-3)))
    event = LossEvent(1.2, 1.05, 24_000)
    made.append(row("reset", rate_pps=2.8e6, load_share=1.0, outage_s=2.0, events=(event,), **spread()))
    made.append(row("mrr", rate_pps=3.0e6, load_share=0.95, loss_ratio=0.7, **spread(1e6)))
    events = tuple(LossEvent(float(at), 0.01, 5) for at in range(25))
    made.append(row("soak", rate_pps=2.5e6, load_share=0.9, loss_ratio=1e-7, latency=LATENCY, events=events))
    made.append(row("learning", addresses=8192, learning_pps=61_000.0, verdict="the table is full"))
    return made


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A quick run of every test."""
    header = RunHeader("rfc2544-full", "local", profile=PROFILE, testbed=TESTBED, quick=True)
    with RunWriter.create(tmp_path, header) as writer:
        writer.note_fingerprint(FINGERPRINT)
        writer.warn("the generator shares its core")
        for answer in rows():
            writer.append_result(answer)
    return writer.path


def text_of(path: Path, width: int = 140) -> str:
    return rendered(as_text(rfc2544_report(open_results(path)), width), width)


def section(text: str, title: str) -> str:
    """What stands under a heading of the text form."""
    below = text.partition(f"\n{title}\n")[2].splitlines()[1:]
    ends = [number for number, line in enumerate(below) if line and set(line) == {"-"} and below[number - 1]]
    return "\n".join(below[: ends[0] - 1] if ends else below)


TITLES = (
    *("Conditions", "26.1 Throughput", "26.2 Latency", "26.3 Frame loss rate", "26.4 Back-to-back frames"),
    *("26.5 System recovery", "26.6 Reset", "Maximum receive rate", "Soak", "Address learning"),
    "Deviations and warnings",
)


def test_the_order_is_the_rfcs(run: Path) -> None:
    text = text_of(run)
    places = [text.index(f"\n{title}\n") for title in TITLES]
    assert places == sorted(places)
    assert "Not measured" not in text


def test_conditions_say_who_measured_what_with_what(run: Path) -> None:
    text = section(text_of(run), "Conditions")
    for part in (
        "OVS 3.1.0, DPDK 22.11.11",
        "nvgen on DPDK 22.11.11",
        "UDP over IPv4 over Ethernet, 802.1Q VLAN 100",
        "bidirectional, constant load, flows: 1000 that differ in udp_src",
        "virtual (vhost-user); theoretical rates are those of an Ethernet link of 10 Gbit/s",
        "kernel 6.1; ovs 3.1.0; NIC eth0",
    ):
        assert part in text
    assert "QUICK" in text_of(run)


def test_throughput_stands_beside_the_theoretical_rate(run: Path) -> None:
    text = section(text_of(run), "26.1 Throughput")
    smallest = next(line for line in text.splitlines() if line.split()[:1] == ["64"])
    for number in ("2,817,045", "14,880,952", "18.9 %", "1.442", "7.619", "1.893", "device limited"):
        assert number in smallest
    assert "2,817,045 frames/s of 64 bytes, UDP over IPv4; the theoretical limit of the media is 14,880,952" in text


def test_latency_says_how_it_was_measured_and_at_what_load(run: Path) -> None:
    text = section(text_of(run), "26.2 Latency")
    assert "One-way latency, measured in software" in text
    for part in ("probe", "50 %", "100 %", "12.34", "1234", "116.6", "3.200", "2.000", "0.5000"):
        assert part in text


def test_loss_is_a_curve_over_loads_and_says_where_the_load_was_not_offered(run: Path) -> None:
    lines = section(text_of(run), "26.3 Frame loss rate").splitlines()
    table = {line.split("%")[0].strip(): line for line in lines if "%" in line.split("  ")[0] or line.startswith(" ")}
    assert "60.0 % at 95.0 %" in table["100"]
    assert "30.0 %" in table["90"]
    assert "95.0 %" not in table["90"]
    assert table["60"].split() == ["60", "%", "0", "0"]


@pytest.mark.parametrize(
    ("title", "numbers"),
    [
        ("26.4 Back-to-back frames", ("14.20", "2000", "1000", "3500", "500.0", "134.4", "108.9")),
        ("26.5 System recovery", ("3.100", "2.000", "1.000", "3.500", "0.5000")),
        ("26.6 Reset", ("2.800", "2.000", "3.500", "at 1.200 s, for 1.050 s: 24000 frames")),
        ("Maximum receive rate", ("95 %", "2.000", "3.500", "70.0 %")),
        ("Soak", ("90 %", "0.0000100 %", "25", "the 20 largest of 25")),
        ("Address learning", ("8192", "61.00", "the table is full")),
    ],
)
def test_every_other_test_has_its_own_numbers(run: Path, title: str, numbers: tuple[str, ...]) -> None:
    text = section(text_of(run), title)
    for number in numbers:
        assert number in text


def test_what_is_less_than_the_rfcs_ask_for_is_told(run: Path) -> None:
    text = section(text_of(run), "Deviations and warnings")
    for part in (
        "throughput: trials of 1 s, RFC 2544 section 24 asks for at least 60 s",
        "latency: trials of 1 s, RFC 2544 section 26.2 asks for at least 120 s",
        "latency: repeats 3, RFC 2544 section 26.2 asks for at least 20",
        "back to back: repeats 3, RFC 9004 section 6.3 asks for at least 50",
        "the generator shares its core",
    ):
        assert part in text


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path, RunHeader("p", "t", simulated=True)) as writer:
        writer.append_result(
            row("throughput", 353, imix="aaaaaaabbbbd", rate_pps=None, line_rate_pps=None, trial_ids=())
        )
    text = text_of(writer.path)
    assert "SIMULATED" in text
    assert "mix 353: IMIX genome aaaaaaabbbbd" in text
    assert section(text, "26.6 Reset").strip() == "Not measured."
    assert section(text, "Deviations and warnings").strip() == "None."


def test_frames_of_a_file_are_told_by_its_name(tmp_path: Path) -> None:
    profile = {**PROFILE, "traffic": {"pcap": ["/lab/web.pcap"], "direction": ["unidirectional"]}}
    sent = row("throughput", 353)
    subject = replace(sent.subject, settings=(Setting("pcap", "web@0a1b2c3d"),))
    with RunWriter.create(tmp_path, RunHeader("p", "t", profile)) as writer:
        writer.append_result(replace(sent, subject=subject))
    text = text_of(writer.path)
    assert "mix 353: frames of web@0a1b2c3d" in text
    assert "frames of /lab/web.pcap, over and over" in text
    assert "flows" not in text


@pytest.mark.parametrize("width", [20, 60, 80])
def test_no_width_cuts_a_number_off(run: Path, width: int) -> None:
    text = text_of(run, width)
    assert "…" not in text
    for number in ("2,817,045", "14,880,952", "1234", "108.9", "61.00"):
        assert number in text


def test_markdown_has_tables_and_headings(run: Path) -> None:
    text = as_markdown(rfc2544_report(open_results(run)))
    assert text.startswith("# rfc2544-full on local\n")
    assert "\n## 26.1 Throughput\n" in text
    heads = [line for line in text.splitlines() if line.startswith("| Frame B | Queues |")]
    assert heads
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def invoke(*argv: str) -> str:
    outcome = CliRunner().invoke(group, argv, catch_exceptions=False, standalone_mode=False)
    if outcome.exception:
        raise outcome.exception
    return outcome.output


def test_the_command_prints_and_writes(run: Path, tmp_path: Path) -> None:
    assert "26.1 Throughput\n-----" in invoke("report", str(run))
    assert invoke("report", str(run), "--format", "markdown").startswith("# rfc2544-full")
    file = tmp_path / "report.md"
    assert invoke("report", str(run), "--format", "markdown", "-o", str(file)) == ""
    assert "## 26.6 Reset" in file.read_text()


def test_show_has_a_table_for_each_test(run: Path) -> None:
    text = invoke("show", str(run))
    for test in ("throughput", "latency", "frame loss", "back to back", "recovery", "reset", "mrr", "soak", "learning"):
        assert f"\n{test}: ovs_dpdk, nvgen generator, flows: 1000, bidirectional" in text
    _, _, learning = text.partition("\nlearning: ")
    assert "p99" not in learning
    assert "Addresses" in learning


def test_the_plot_is_an_image(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "plot.png"
    invoke("report", str(run), "--plot", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(NvbenchError, match=r"plot\.nothing"):
        invoke("report", str(run), "--plot", str(tmp_path / "plot.nothing"))


def test_nothing_to_plot_is_said(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as writer:
        writer.append_result(row("learning"))
    with pytest.raises(NvbenchError, match="no throughput and no loss curve"):
        invoke("report", str(writer.path), "--plot", str(tmp_path / "plot.png"))


@pytest.mark.parametrize("option", ["--output", "--plot"])
def test_a_place_that_cannot_be_written_is_said(run: Path, tmp_path: Path, option: str) -> None:
    if option == "--plot":
        pytest.importorskip("matplotlib")
    target = tmp_path / "nowhere" / "report.png"
    caught = CliRunner().invoke(group, ["report", str(run), option, str(target)]).exception
    assert isinstance(caught, NvbenchError)
    assert str(caught) == f"{target}: cannot be written: No such file or directory"
