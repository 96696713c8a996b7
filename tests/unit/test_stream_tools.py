"""What the stream tools are told and what they say: recordings of real runs between two network namespaces.

iperf3's are without their intervals and streams, netperf's of bulk without latency. Standard error, where there was
any, is in a file `.err` beside.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvbench.errors import GeneratorError, UsageError
from nvbench.generators.stream_failures import remedy
from nvbench.generators.stream_tools import STREAM_TOOLS, stream_tool
from nvbench.generators.streams import Ask, Flowed, StreamTest, StreamTool
from nvbench.hosts import Completed

RECORDED = Path(__file__).parents[1] / "recorded"
FOLDERS = {
    "iperf3": "iperf3-3.12",
    "iperf2": "iperf2-2.1.8",
    "netperf": "netperf-2.7.0",
    "sockperf": "sockperf-3.7",
}


def ask(test: StreamTest = StreamTest.TCP_STREAM, **more: Any) -> Ask:
    return Ask(test, "10.98.0.2", **{"port": 6001, "duration_s": 2.0, **more})


def completed(stdout: str, stderr: str = "", returncode: int = 0) -> Completed:
    return Completed(("tool",), returncode, stdout, stderr, 2.0)


def recording(tool: str, name: str, returncode: int = 0) -> Completed:
    folder = RECORDED / FOLDERS[tool]
    out = next(
        (folder / f"{name}{ending}" for ending in (".json", ".txt") if (folder / f"{name}{ending}").exists()), None
    )
    err = folder / f"{name}.err"
    return completed(out.read_text() if out else "", err.read_text() if err.exists() else "", returncode)


def read(tool: str, name: str, test: StreamTest, **more: Any) -> Flowed:
    return stream_tool(tool).parse(ask(test, **more), recording(tool, name))


# --- what they are told


def test_each_tool_is_found_by_its_name_and_iperf3_comes_first() -> None:
    assert [tool.name for tool in STREAM_TOOLS] == ["iperf3", "iperf2", "netperf", "sockperf"]
    assert stream_tool("netperf").server == "netserver"
    with pytest.raises(UsageError, match=r"no stream tool `nuttcp` \(one of iperf3, iperf2, netperf, sockperf\)"):
        stream_tool("nuttcp")


def test_every_test_can_be_done_by_some_tool() -> None:
    assert frozenset().union(*(tool.tests for tool in STREAM_TOOLS)) == frozenset(StreamTest)


def test_netperf_is_said_to_be_in_no_ordinary_source() -> None:
    netperf = stream_tool("netperf")
    assert "non-free" in netperf.remedy
    assert netperf.packages == ()


@pytest.mark.parametrize(
    ("tool", "asked", "argv"),
    [
        (
            "iperf3",
            ask(StreamTest.TCP_MAERTS, duration_s=2.5, warmup_s=1, parallel=4, message_bytes=1400),
            "iperf3 -c 10.98.0.2 -p 6001 -J -i 1 --connect-timeout 3000 -t 3 -P 4 -R -O 1 -l 1400",
        ),
        (
            "iperf3",  # its rate is for each stream
            ask(StreamTest.UDP_STREAM, parallel=2, rate_bps=50e6),
            "iperf3 -c 10.98.0.2 -p 6001 -J -i 1 --connect-timeout 3000 -t 2 -P 2 -u -b 25000000",
        ),
        (
            "iperf3",  # 0 is no limit; without it, it would send 1 Mbit/s
            ask(StreamTest.UDP_STREAM),
            "iperf3 -c 10.98.0.2 -p 6001 -J -i 1 --connect-timeout 3000 -t 2 -P 1 -u -b 0",
        ),
        (
            "iperf2",
            ask(StreamTest.TCP_STREAM, warmup_s=0.5, parallel=2),
            "iperf -c 10.98.0.2 -p 6001 -P 2 -f b -t 3 -i 1",
        ),
        (
            "iperf2",
            ask(StreamTest.UDP_STREAM, duration_s=2.5, parallel=2, rate_bps=50e6, message_bytes=1400),
            "iperf -c 10.98.0.2 -p 6001 -P 2 -f b -l 1400 -t 2.5 -u -b 25000000",
        ),
        (
            "sockperf",  # 0.45 s of its time do not count
            ask(StreamTest.TCP_RR, message_bytes=100),
            "sockperf ping-pong -i 10.98.0.2 -p 6001 --tcp --full-rtt -m 100 -t 3",
        ),
    ],
)
def test_a_client_s_command_line(tool: str, asked: Ask, argv: str) -> None:
    assert " ".join(stream_tool(tool).send(asked)) == argv


def test_netperf_s_command_line() -> None:
    argv = stream_tool("netperf").send(ask(StreamTest.TCP_CRR, warmup_s=1.0, message_bytes=64))
    whole, own = " ".join(argv).split(" -- ")
    assert whole == "netperf -H 10.98.0.2 -p 6001 -t omni -c -C -j -l 3 -D -1"
    assert own.startswith("-d rr -c -T tcp -r 64,64 -k THROUGHPUT,THROUGHPUT_UNITS,ELAPSED_TIME,")
    assert own.endswith("P90_LATENCY,P99_LATENCY,MAX_LATENCY")


def test_netperf_takes_no_time_of_each_send_in_bulk() -> None:
    argv = stream_tool("netperf").send(ask(StreamTest.UDP_STREAM, warmup_s=1.0, message_bytes=1400))
    whole, own = " ".join(argv).split(" -- ")
    assert whole == "netperf -H 10.98.0.2 -p 6001 -t omni -c -C -l 2"
    assert own.startswith("-d send -T udp -R 1 -m 1400 -k ")
    assert "LATENCY" not in own


@pytest.mark.parametrize(
    ("tool", "test", "argv"),
    [
        ("iperf3", StreamTest.UDP_STREAM, "timeout 31 iperf3 -s -p 6001"),
        ("iperf2", StreamTest.TCP_STREAM, "timeout 31 iperf -s -p 6001"),
        ("iperf2", StreamTest.UDP_STREAM, "timeout 31 iperf -s -p 6001 -u"),
        ("netperf", StreamTest.TCP_RR, "timeout 31 netserver -D -N -p 6001"),
        ("sockperf", StreamTest.TCP_RR, "timeout 31 sockperf sr -p 6001 --tcp"),
        ("sockperf", StreamTest.UDP_RR, "timeout 31 sockperf sr -p 6001"),
    ],
)
def test_a_server_s_command_line(tool: str, test: StreamTest, argv: str) -> None:
    assert " ".join(stream_tool(tool).serve(ask(test), 30.5)) == argv


@pytest.mark.parametrize(
    ("tool", "asked", "match"),
    [
        ("netperf", ask(parallel=2), r"netperf makes one stream, not 2 \(use iperf3"),
        ("netperf", ask(StreamTest.UDP_STREAM, rate_bps=1e6), r"as fast as it can \(use iperf3"),
        ("sockperf", ask(StreamTest.UDP_RR, parallel=3), "sockperf makes one stream, not 3"),
    ],
)
def test_what_a_tool_cannot_do_is_refused(tool: str, asked: Ask, match: str) -> None:
    with pytest.raises(GeneratorError, match=match):
        stream_tool(tool).send(asked)


# --- what they measured


def about(value: float) -> Any:
    return pytest.approx(value, rel=1e-3)


def test_iperf3_tells_what_the_receiver_got() -> None:
    flowed = read("iperf3", "tcp", StreamTest.TCP_STREAM)
    assert flowed.elapsed_s == about(3.001)
    assert flowed.goodput_bps == about(8.8165e9)  # the sender says 8.8296
    assert flowed.retransmits == 1179
    assert (flowed.client_cores, flowed.server_cores) == (about(0.4656), about(0.4382))
    assert (flowed.reverse_bps, flowed.lost_ratio, flowed.jitter_us, flowed.latency_us) == (None, None, None, {})


@pytest.mark.parametrize(
    ("name", "test", "seconds", "bps"),
    [
        ("tcp-parallel", StreamTest.TCP_STREAM, 2.006, 8.5999e9),
        ("tcp-reverse", StreamTest.TCP_MAERTS, 2.001, 7.8831e9),
        ("tcp-warmup", StreamTest.TCP_STREAM, 2.006, 14.6488e9),  # of the 3 s that it took
    ],
)
def test_iperf3_s_other_streams(name: str, test: StreamTest, seconds: float, bps: float) -> None:
    flowed = read("iperf3", name, test)
    assert (flowed.elapsed_s, flowed.goodput_bps) == (about(seconds), about(bps))


def test_both_directions_and_the_retransmits_of_both() -> None:
    flowed = read("iperf3", "tcp-bidir", StreamTest.TCP_BIDIR)
    assert (flowed.goodput_bps, flowed.reverse_bps) == (about(4.4884e9), about(4.3966e9))
    assert flowed.retransmits == 747 + 870


def test_iperf3_s_datagrams() -> None:
    flowed = read("iperf3", "udp", StreamTest.UDP_STREAM)
    assert flowed.goodput_bps == about(199.666e6)  # 199.946 were sent
    assert flowed.lost_ratio == about(45 / 34523)
    assert flowed.jitter_us == about(6.694)
    assert flowed.retransmits is None


def test_an_older_iperf3_has_no_sum_of_received_datagrams() -> None:
    report = json.loads(recording("iperf3", "udp").stdout)
    del report["end"]["sum_received"]
    flowed = stream_tool("iperf3").parse(ask(StreamTest.UDP_STREAM), completed(json.dumps(report)))
    assert flowed.goodput_bps == about(199.666e6)


def test_iperf2_s_streams_are_added_up_over_the_longest() -> None:
    flowed = read("iperf2", "tcp-parallel", StreamTest.TCP_STREAM, parallel=2)
    assert flowed.elapsed_s == 2.0013
    assert flowed.goodput_bps == about((1_186_725_948 + 1_652_424_764) * 8 / 2.0013)


def test_iperf2_s_warm_up_and_the_emptying_of_buffers_do_not_count() -> None:
    """On a link of 20 Mbit/s: the first second alone would be 40, the last 1.3 s 1.5 Mbit/s."""
    flowed = read("iperf2", "tcp-warmup", StreamTest.TCP_STREAM, warmup_s=2.0, duration_s=3.0, parallel=2)
    assert flowed.elapsed_s == 3.0
    assert flowed.goodput_bps == about((2_355_560 + 2_553_272 + 2_752_512) * 8 / 3)


def test_iperf2_s_datagrams_are_those_that_the_server_saw() -> None:
    flowed = read("iperf2", "udp", StreamTest.UDP_STREAM, warmup_s=1.0)
    assert flowed.goodput_bps == about(46.288e6)  # 50.0 were sent
    assert flowed.lost_ratio == about(640 / 8507)
    assert flowed.jitter_us == about(1.0)
    assert flowed.warnings == ("iperf 2 counts the first moments of UDP streams too",)


def test_iperf2_s_parallel_datagrams_need_every_server_s_report() -> None:
    whole = recording("iperf2", "udp-parallel")
    asked = ask(StreamTest.UDP_STREAM, parallel=2)
    assert stream_tool("iperf2").parse(asked, whole).goodput_bps == about(49.93e6)
    cut = completed(whole.stdout[: whole.stdout.rindex("[  2] Server Report")])
    with pytest.raises(GeneratorError, match="the server did not report on every stream; it may have crashed"):
        stream_tool("iperf2").parse(asked, cut)


@pytest.mark.parametrize(
    ("name", "bps"),
    [
        ("tcp-stream", 7387.69e6),
        ("gigabytes", 1.86 * 8 * 2**30),  # -fG
    ],
)
def test_netperf_s_units_are_those_that_it_declares(name: str, bps: float) -> None:
    assert read("netperf", name, StreamTest.TCP_STREAM).goodput_bps == about(bps)


def test_netperf_with_a_unit_that_is_not_known() -> None:
    done = recording("netperf", "tcp-stream")
    strange = completed(done.stdout.replace("10^6bits/s", "furlongs/s"))
    with pytest.raises(GeneratorError, match="furlongs/s"):
        stream_tool("netperf").parse(ask(), strange)


def test_netperf_s_processor_time_is_that_of_all_cores() -> None:
    flowed = read("netperf", "tcp-maerts", StreamTest.TCP_MAERTS)
    assert flowed.goodput_bps == about(10.0312e9)
    assert (flowed.client_cores, flowed.server_cores) == (about(1.7434), about(1.7434))
    assert flowed.retransmits == 2
    assert flowed.latency_us == {}


def test_netperf_s_transactions() -> None:
    flowed = read("netperf", "tcp-rr", StreamTest.TCP_RR)
    assert flowed.transactions_per_s == about(42801.32)
    assert flowed.goodput_bps is None
    assert flowed.latency_us == {"min": 8, "mean": 23.29, "p50": 13, "p90": 23, "p99": 122, "max": 7700}


def test_netperf_counts_a_server_s_time_wrong_where_each_transaction_has_a_connection() -> None:
    flowed = read("netperf", "tcp-crr", StreamTest.TCP_CRR)
    assert flowed.transactions_per_s == about(11813.79)
    assert flowed.client_cores == about(2.0)
    assert flowed.server_cores is None  # it says 202.79 % of two cores
    assert flowed.retransmits is None


def test_netperf_s_datagrams() -> None:
    flowed = read("netperf", "udp-stream", StreamTest.UDP_STREAM)
    assert flowed.goodput_bps == about(1673.34e6)
    assert flowed.lost_ratio == about(1 - 298828 / 400965)
    assert flowed.retransmits is None


def test_netperf_s_warm_up_and_the_emptying_of_buffers_do_not_count() -> None:
    flowed = read("netperf", "tcp-warmup", StreamTest.TCP_STREAM, warmup_s=2.0, duration_s=3.0)
    assert flowed.elapsed_s == about(2.179 + 0.8)
    assert flowed.goodput_bps == about((19.19 * 2.179 + 21.96 * 0.8) / 2.979 * 1e6)
    assert flowed.warnings == ("netperf's latency, retransmits and processor time count the warm-up too",)


def test_sockperf_s_round_trips() -> None:
    flowed = read("sockperf", "tcp-rr", StreamTest.TCP_RR)
    assert flowed.elapsed_s == 2.55
    assert flowed.transactions_per_s == about(111925 / 2.55)
    expected = {"mean": 22.694, "min": 8.7, "p50": 14.194, "p90": 22.559, "p99": 110.64, "p99_9": 2488.289}
    assert flowed.latency_us == {**expected, "max": 8396.171}
    assert (flowed.lost_ratio, flowed.warnings) == (None, ())


def test_sockperf_s_latency_is_half_of_a_round_trip() -> None:
    flowed = read("sockperf", "half-trips", StreamTest.TCP_RR)
    assert (flowed.latency_us["mean"], flowed.latency_us["p50"]) == (about(2 * 8.621), about(2 * 6.913))


def test_sockperf_s_datagrams_and_a_warm_up_longer_than_its_own() -> None:
    flowed = read("sockperf", "udp-rr", StreamTest.UDP_RR, warmup_s=1.0)
    assert flowed.lost_ratio == 0
    assert flowed.warnings == ("sockperf leaves out its first 0.4 s only",)


# --- what goes wrong

ABSENT = "was it started, and did it stay up"
SILENT = "did it stay up, and do the endpoints reach each other"
APART = "the endpoints do not reach each other"
ENDED = "the server ended during the test"
TCP, MAERTS, UDP = StreamTest.TCP_STREAM, StreamTest.TCP_MAERTS, StreamTest.UDP_STREAM


@pytest.mark.parametrize(
    ("tool", "name", "status", "test", "said", "helps"),
    [
        ("iperf3", "refused", 0, TCP, "unable to connect to server: Connection refused", ABSENT),
        ("iperf3", "no-route", 0, TCP, "unable to connect to server: Connection timed out", APART),
        ("iperf3", "busy", 0, TCP, "the server is busy running a test", "use another port"),
        ("iperf3", "server-died", 0, TCP, "unable to write to stream socket: Connection reset by peer", ENDED),
        ("iperf3", "udp-server-died", 0, UDP, "control socket has closed unexpectedly", ENDED),
        ("iperf3", "message-too-long", 1, UDP, "parameter error - block size invalid", "within these bounds"),
        ("iperf2", "refused", 0, TCP, "tcp connect failed: Connection refused", ABSENT),
        ("iperf2", "no-route", 0, TCP, "tcp connect failed: No route to host", APART),
        ("iperf2", "server-died", 0, TCP, "tcp write failed: Connection reset by peer", ENDED),
        ("iperf2", "udp-refused", 0, UDP, "read failed: Connection refused", ABSENT),
        ("iperf2", "udp-server-died", 0, UDP, "read failed: Connection refused", ABSENT),
        ("netperf", "refused", 255, TCP, "are you sure there is a netserver listening", SILENT),
        ("netperf", "no-route", 255, TCP, "are you sure there is a netserver listening", SILENT),
        ("netperf", "tcp-server-died", 1, TCP, "data send error: Connection reset by peer", ENDED),
        ("netperf", "maerts-server-died", 1, MAERTS, "partial response received: 0 bytes", ENDED),
        ("netperf", "tcp-rr-server-died", 1, StreamTest.TCP_RR, "partial response received: 0 bytes", ENDED),
        ("netperf", "udp-stream-server-died", 1, UDP, "data send error: Connection refused", ABSENT),
        ("netperf", "message-too-long", 1, UDP, "data send error: Message too long", "at most 65507 bytes"),
        ("sockperf", "tcp-refused", 0, StreamTest.TCP_RR, "Can`t connect socket .*Connection refused", ABSENT),
        ("sockperf", "tcp-no-route", 0, StreamTest.TCP_RR, "Can`t connect socket .*No route to host", APART),
        ("sockperf", "tcp-server-died", 7, StreamTest.TCP_RR, "A connection was forcibly closed by a peer", ENDED),
        ("sockperf", "udp-refused", 0, StreamTest.UDP_RR, "No messages were received from the server", SILENT),
        ("sockperf", "udp-no-route", 0, StreamTest.UDP_RR, "No messages were received from the server", SILENT),
        ("sockperf", "udp-server-died", 0, StreamTest.UDP_RR, "answers came for 1.464 s of 2", ""),
        ("sockperf", "message-too-small", 0, StreamTest.UDP_RR, r"Invalid message size: 5 \(min: 14\)", "within these"),
    ],
)
def test_a_failure_says_what_and_what_helps(
    tool: str, name: str, status: int, test: StreamTest, said: str, helps: str
) -> None:
    with pytest.raises(GeneratorError, match=rf"^{tool} to 10\.98\.0\.2 port 6001: .*{said}") as caught:
        stream_tool(tool).parse(ask(test), recording(tool, name, status))
    assert helps in caught.value.remedy
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("tool", STREAM_TOOLS, ids=lambda tool: tool.name)
def test_a_tool_that_was_killed_has_said_nothing(tool: StreamTool) -> None:
    for test in tool.tests:
        with pytest.raises(GeneratorError, match="printed nothing, status -9"):
            tool.parse(ask(test), completed("", returncode=-9))


def test_json_of_another_shape_is_named() -> None:
    with pytest.raises(GeneratorError, match=r"its JSON is not as expected: sum_sent: Field required"):
        stream_tool("iperf3").parse(ask(), completed('{"end": {}}'))


@pytest.mark.parametrize(
    "said",
    [
        "iperf3: error - unable to start listener for connections: Address already in use",
        "listener bind failed: Address already in use",
        "Unable to start netserver with  'IN(6)ADDR_ANY' port '13111' and family AF_UNSPEC",
        " (errno=98 Address already in use)",
    ],
)
def test_a_server_whose_port_is_taken(said: str) -> None:
    assert remedy(said) == "another program has this port: use another"


# --- whatever they print, it is numbers or a GeneratorError


def understood(tool: StreamTool, asked: Ask, done: Completed) -> None:
    try:
        flowed = tool.parse(asked, done)
    except GeneratorError as error:
        assert str(error)
    else:
        assert isinstance(flowed, Flowed)


ASKED = st.builds(ask, st.sampled_from(StreamTest), warmup_s=st.sampled_from([0.0, 1.0]), parallel=st.integers(1, 2))
TOOLS = st.sampled_from(STREAM_TOOLS)
STATUS = st.sampled_from([0, 1, -9])


@given(TOOLS, ASKED, st.text(), st.text(), STATUS)
def test_any_text(tool: StreamTool, asked: Ask, stdout: str, stderr: str, status: int) -> None:
    understood(tool, asked, completed(stdout, stderr, status))


WORDS = st.sampled_from(["error", "end", "sum", "sum_sent", "sum_received", "seconds", "cpu_utilization_percent"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(WORDS | st.text(), inner), max_leaves=20)


@given(ASKED, JSON)
def test_any_json(asked: Ask, value: object) -> None:
    understood(stream_tool("iperf3"), asked, completed(json.dumps(value)))


@given(TOOLS, ASKED, st.data())
def test_recordings_with_a_piece_replaced(tool: StreamTool, asked: Ask, data: st.DataObject) -> None:
    files = sorted((RECORDED / FOLDERS[tool.name]).iterdir())
    text = data.draw(st.sampled_from(files)).read_text()
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, min(len(text), begin + 40)))
    piece = data.draw(st.sampled_from(["", "0", "-1", "nan", "1e999", "9" * 30, "\n", "="]) | st.text(max_size=5))
    understood(tool, asked, completed(text[:begin] + piece + text[end:]))
