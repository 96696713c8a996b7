import pytest

from nvbench.errors import UsageError
from nvbench.metrics import METRICS, metric, number
from nvbench.schema import schema
from nvbench.tables import TABLES, ResultRow, Subject

SUBJECT = Subject("c", "throughput", "direct", "nvgen", 64)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (14.880952, "14.88"),
        (9.99996, "10.00"),
        (123456.7, "123457"),
        (0.00001234, "0.00001234"),
        (-2.5, "-2.500"),
        (float("nan"), "-"),
    ],
)
def test_numbers_keep_their_digits_and_use_no_exponent(value: float, text: str) -> None:
    assert number(value) == text


def test_a_metric_prints_its_column_in_its_own_unit() -> None:
    assert metric("throughput").text(14_880_952) == "14.88"
    assert metric("latency_p99_9").text(None) == "-"


def test_every_metric_is_a_column_of_results() -> None:
    assert {shown.column for shown in METRICS} <= set(schema("results").names)
    assert len({shown.name for shown in METRICS}) == len(METRICS)


def test_an_unknown_metric_names_its_neighbours() -> None:
    with pytest.raises(UsageError, match="latency_p99"):
        metric("latency_p98")


def test_every_table_tells_its_run_and_carries_the_schema_version() -> None:
    for table in TABLES:
        assert schema(table).names[0] == "run_id"
        assert schema(table).metadata[b"nvbench.schema_version"] == b"1"


def test_bit_rates_follow_the_frame_rate() -> None:
    row = ResultRow(subject=SUBJECT, rate_pps=14_880_952.38)
    assert row.rate_bps_l1 == pytest.approx(10e9)
    assert row.rate_bps_l2 == pytest.approx(7.619e9, rel=1e-3)
    assert ResultRow(subject=SUBJECT, rate_pps=None).rate_bps_l1 is None
