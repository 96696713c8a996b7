"""Charts: where values lie, what is written at the axes, and that any words make an image."""

# ruff: noqa: S314 - what is parsed is our own

from itertools import pairwise
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvbench.report import bars, chart
from nvbench.report.bars import Bar, Bars
from nvbench.report.chart import Chart, Dot, Series
from nvbench.report.scales import Axis, scale

SVG = "{http://www.w3.org/2000/svg}"
VALUES = st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=20)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"))


def labels(axis: Axis, *values: float) -> list[str]:
    return [label for _, label in scale(axis, values).ticks]


@pytest.mark.parametrize(
    ("axis", "values", "ticks"),
    [
        (Axis("", low=0.0), (14.88,), ["0", "5", "10", "15"]),
        (Axis("", low=0.0, high=100.0), (), ["0", "20", "40", "60", "80", "100"]),
        (Axis(""), (0.0, 0.0), ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (Axis(""), (-3.0, 5.0), ["-4", "-2", "0", "2", "4", "6"]),
        (Axis("", "log"), (3.0, 4000.0), ["1", "10", "100", "1000", "10k"]),
        (Axis("", "log"), (4.0, 4.0), ["1", "2", "5", "10"]),
        (Axis("", "nines"), (50.0, 99.95), ["0", "50", "90", "99", "99.9"]),
        (Axis("", "nines"), (), ["0", "50", "90"]),
        (Axis("", low=0.0), (2.5e6,), ["0", "500k", "1M", "1.5M", "2M", "2.5M"]),
    ],
)
def test_round_values_are_written(axis: Axis, values: tuple[float, ...], ticks: list[str]) -> None:
    assert labels(axis, *values) == ticks


@given(VALUES, st.sampled_from(["linear", "log"]))
def test_every_value_lies_within_its_axis_in_order(values: list[float], kind: str) -> None:
    made = scale(Axis("", kind), values)
    places = [made.place(value) for value in sorted(values)]
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)
    assert places == sorted(places)
    assert made.ticks
    assert all(-1e-9 <= made.place(value) <= 1 + 1e-6 for value, _ in made.ticks)


def test_nines_lie_equally_far_apart() -> None:
    made = scale(Axis("", "nines"), [99.999])
    places = [made.place(percent) for percent in (0, 90, 99, 99.9, 99.99, 99.999)]
    assert [later - place for place, later in pairwise(places)] == pytest.approx([0.2] * 5)


@settings(max_examples=60)
@given(st.lists(st.floats(), max_size=8), st.sampled_from(["linear", "log", "nines"]))
def test_what_has_no_place_is_left_out(values: list[float], kind: str) -> None:
    dots = tuple(Dot(value, value, "a point") for value in values)
    axis = Axis("", kind)
    drawn = Xml.fromstring(chart.svg(Chart("t", axis, axis, (Series("s", dots),))))
    assert "nan" not in Xml.tostring(drawn, encoding="unicode")
    kept = {
        "linear": lambda value: abs(value) < 1e100,
        "log": lambda value: 1e-100 < value < 1e100,
        "nines": lambda value: 0 <= value < 100,
    }[kind]
    assert len(drawn.findall(f".//{SVG}circle[@class='halo']")) == sum(map(kept, values))


@settings(max_examples=40)
@given(WORDS)
def test_any_words_make_an_image(words: str) -> None:
    drawn = Chart(words, Axis(words), Axis(words), (Series(words, (Dot(1, 2, words or "x", "t1"), Dot(2, 3))),))
    image = Xml.fromstring(chart.svg(drawn))
    assert image.find(f"{SVG}title").text in (words, words or None)
    lying = Bars(words, Axis(words), (Bar(words, (1.0,), words, words or "x", link="t1"),), (words,))
    assert Xml.fromstring(bars.svg(lying)).find(f".//{SVG}a").get("href") == "#t1"


def drawn(*series: Series) -> Xml.Element:
    return Xml.fromstring(chart.svg(Chart("Rates", Axis("frame size"), Axis("Mpps"), series)))


def test_theory_is_a_line_of_its_own_and_a_lower_bound_is_hollow() -> None:
    theory = Series("line rate", (Dot(64, 15), Dot(1518, 1)), "theory")
    image = drawn(theory, Series("ovs", (Dot(64, 3, "three", "t1-1", hollow=True), Dot(1518, 1, "one"))))
    groups = {group.get("class"): group for group in image.findall(f"{SVG}g")}
    assert set(groups) == {"theory", "s0"}
    assert not groups["theory"].findall(f".//{SVG}title")
    hollow, full = groups["s0"].findall(f".//{SVG}g")
    assert (hollow.get("class"), full.get("class")) == ("dot hollow", "dot")
    assert hollow.find(f"{SVG}title").text == "three"
    assert groups["s0"].find(f"{SVG}a").get("href") == "#t1-1"


def test_those_who_do_not_see_it_are_told() -> None:
    image = drawn(Series("ovs", (Dot(1, 2),)))
    assert image.get("role") == "img"
    assert image.find(f"{SVG}title").text == "Rates"
    assert image.find(f"{SVG}desc").text == "Mpps over frame size: ovs."


def test_a_step_goes_along_before_it_rises() -> None:
    path = drawn(Series("s", (Dot(0, 0), Dot(1, 1)), "step")).find(f".//{SVG}path[@class='line']").get("d")
    assert path[0] == "M"
    assert path.index("H") < path.index("V")
    assert "L" not in path


def test_bars_begin_at_zero_and_whiskers_span_their_ends() -> None:
    lying = Bars("t", Axis("Gbit/s"), (Bar("a", (5.0,), "5", "a: 5", 4.0, 8.0), Bar("b", (-5.0,), "-5", "b: -5")))
    image = Xml.fromstring(bars.svg(lying))
    up, down = image.findall(f".//{SVG}rect")
    x, width = (float(up.get(name)) for name in ("x", "width"))
    assert float(down.get("x")) + float(down.get("width")) == pytest.approx(x, abs=0.2)
    assert float(down.get("width")) == pytest.approx(width, abs=0.2)
    whisker = image.find(f".//{SVG}path[@class='whisker']").get("d")
    low, high = (float(text) for text in (whisker[1:].split(" ")[0], whisker.split("H")[1].split("M")[0]))
    assert (low - x, high - x) == pytest.approx((width * 0.8, width * 1.6), abs=0.3)


def test_parts_of_a_bar_follow_each_other() -> None:
    image = Xml.fromstring(bars.svg(Bars("t", Axis("cores"), (Bar("a", (1.0, 2.0), "3", "a"),), ("user", "system"))))
    first, second = image.findall(f".//{SVG}rect")
    assert float(second.get("x")) == pytest.approx(float(first.get("x")) + float(first.get("width")), abs=0.2)
