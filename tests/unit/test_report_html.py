"""The page: every number leads to its trials, nothing leads out, and no run, however odd, keeps it from being made."""

import base64
import hashlib
import json
import re
import shlex
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from nvbench.cli import group
from nvbench.errors import NvbenchError
from nvbench.reading import open_results
from nvbench.report.again import as_yaml, command_of
from nvbench.report.chart import Chart, Dot, Series
from nvbench.report.columns import Column, Layout
from nvbench.report.distribution import merged
from nvbench.report.document import (
    Card,
    Cards,
    Code,
    Details,
    Heading,
    Listing,
    Notice,
    Paragraph,
    Picture,
    Points,
    Tone,
    as_markdown,
    as_text,
)
from nvbench.report.evidence import MOST_OF_ONE
from nvbench.report.html import as_html
from nvbench.report.page import page, title
from nvbench.report.processor import rises, spent
from nvbench.report.scales import Axis
from nvbench.report.text import rendered
from nvbench.runs import Run
from nvbench.store import RunHeader, RunWriter
from nvbench.trial import Latency
from tests.unit.report_runs import LATENCY, RATES, append, result, subject, trial, write_run

VOID = {"meta", "link", "br", "img", "input", "hr"}
NASTY = "<script>alert(1)</script>\"><img src=x onerror=alert(2)>'`{{7*7}}`&amp;\x00\x1b\ud800"


class Page(HTMLParser):
    """A page taken apart: its elements, the words of each, and whether every one is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.links: list[tuple[str, str]] = []
        self._open: list[str] = []
        self._href = ""
        self.feed(text)
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self.elements.append((tag, told))
        self._href = told.get("href", "") if tag == "a" else self._href
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self._href = "" if tag == "a" else self._href

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.words.append(data)
            if self._href and data.strip():
                self.links.append((data.strip(), self._href))

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def ids(self) -> list[str]:
        return [told["id"] for _, told in self.elements if "id" in told]

    def all(self, tag: str) -> list[dict[str, str]]:
        return [told for name, told in self.elements if name == tag]


def html_of(*paths: Path) -> str:
    results = open_results(paths)
    return as_html(page(results), title(results))


def page_of(*paths: Path) -> Page:
    return Page(html_of(*paths))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("whole"), overrides={"traffic.frame_bytes": "[64, 512]"})


@pytest.fixture(scope="module")
def made(whole: Path) -> Page:
    return page_of(whole)


# -- what it says --------------------------------------------------------------------------------------------------


def test_its_chapters_are_in_order(made: Page) -> None:
    chapters = [told["id"] for told in made.all("section")]
    wanted = ["summary", "26-1-throughput", "26-2-latency", "26-3-frame-loss-rate", "26-6-reset", "cpu-and-cycles"]
    wanted += ["diagnosis", "conditions", "deviations-and-warnings", "run-this-again", "trials"]
    assert chapters == wanted


def test_the_summary_is_made_of_the_results(made: Page) -> None:
    for sentence in (
        "ovs_dpdk forwards 2,817,045 frames/s of 64 bytes without loss, 18.9 % of the line rate; the device is the",
        "ovs_dpdk fills the link with 1518-byte frames.",
        "half of the frames take at most 2.000 us, 99 % within 40.03 us",
        "70.0 % of 64-byte frames (100 % of the line rate offered)",
        "Killed and started again, ovs_dpdk forwards nothing for up to 0.750 s.",
        "Measured: 36 trials of 3 cases",
        "3 were set aside as disturbed",
    ):
        assert sentence in made.text.replace("\N{NO-BREAK SPACE}", " ")


def test_numbers_are_those_of_the_store(whole: Path, made: Page) -> None:
    rows = open_results(whole).results().to_pylist()
    told = Counter(text for text, href in made.links if href.startswith("#t1-"))
    for row in rows:
        if row["test"] == "throughput":
            assert told[f"{row['rate_pps']:,.0f}"]
            assert told[f"{row['line_rate_pps']:,.0f}"]
        elif row["test"] == "latency":
            assert told[f"{row['latency_p99_us']:.2f}"]


def test_charts_say_the_same_numbers(made: Page) -> None:
    assert "ovs_dpdk, NDR, 64 B: 2,817,045 frames/s, 18.9 % of the line rate, device limited" in made.text
    assert "theoretical, 10 Gbit/s link" in made.text
    assert "generator with no switch in the way" in made.text
    assert "at 50 %: 99 % of 200,000 frames within 40.03 us" in made.text
    assert "64 B: 70.0 % lost at 100 % of the line rate" in made.text


def test_cpu_and_cycles_come_from_the_samples(made: Page) -> None:
    assert "240 cycles per packet, busy 50.0 % of the time" in made.text
    assert "user 1.15, system 0, irq 0, softirq 0.100, stolen 0 cores" in made.text


# -- where it leads ------------------------------------------------------------------------------------------------


def test_every_link_leads_somewhere(made: Page) -> None:
    ids = made.ids()
    assert len(ids) == len(set(ids))
    inner = [told["href"] for told in made.all("a") if told.get("href", "").startswith("#")]
    assert {href[1:] for href in inner} <= set(ids)


def test_a_number_leads_to_the_trials_that_carry_it(whole: Path, made: Page) -> None:
    [href] = {href for text, href in made.links if text == "2,817,045"}
    html = html_of(whole)
    told = html[html.index(f'id="{href[1:]}"') :].partition("</details>")[0]
    table = told.partition("</table>")[0]
    [row] = [row for row in open_results(whole).results().to_pylist() if row["rate_pps"] == RATES[64]][:1]
    assert re.findall(r"t\d{5}", table) == list(row["trial_ids"])
    assert "2.817" in table
    assert "2,817,045" in told


def test_nothing_is_loaded_and_only_rfcs_are_linked(whole: Path, made: Page) -> None:
    for tag, told in made.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            if name in told:
                allowed = ("#", "https://www.rfc-editor.org/rfc/rfc") if tag == "a" else ("data:,",)
                assert told[name].startswith(allowed), (tag, told)
        assert not any(name.startswith("on") or name == "style" for name in told)
    assert "@import" not in html_of(whole)
    assert "url(" not in html_of(whole)


def test_its_policy_lets_its_own_script_run_and_no_other(whole: Path) -> None:
    html = html_of(whole)
    policy = Page(html).all("meta")[3]["content"]
    assert "default-src 'none'" in policy
    for tag in ("script", "style"):
        [own] = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_it_can_be_read_without_seeing_it(made: Page) -> None:
    levels = [int(tag[1]) for tag, _ in made.elements if re.fullmatch(r"h\d", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(told.get("scope") in ("row", "col") for told in made.all("th"))
    charts = [told for told in made.all("svg") if told.get("class") == "chart"]
    assert charts
    assert all(told["aria-label"] and told["role"] in ("img", "group") for told in charts)
    assert made.all("html")[0]["lang"] == "en"
    assert {"main", "nav", "header", "footer"} <= {tag for tag, _ in made.elements}


# -- again ---------------------------------------------------------------------------------------------------------


def test_the_command_is_the_one_that_was_typed(tmp_path: Path) -> None:
    overrides = {"traffic.frame_bytes": "[64, 1518]", "datapath.kind": "it's"}
    path = write_run(tmp_path, overrides=overrides, seed=42)
    argv = shlex.split(command_of(Run.open(path)))
    assert argv[:6] == ["nvbench", "run", "mine", "--testbed", "bench", "--quick"]
    options = dict(text.split("=", 1) for text in argv[7::2])
    assert options == {**overrides, "seed": "42"}


def test_the_resolved_profile_is_a_profile(tmp_path: Path) -> None:
    from nvbench.profile import load_profile  # noqa: PLC0415

    resolved = load_profile("10ge-forwarding", ("traffic.frame_bytes=[64,1518]",), True).resolved()
    file = tmp_path / "again.yaml"
    file.write_text(as_yaml({name: value for name, value in resolved.items() if name != "quick"}))
    again = load_profile(str(file), (), False).resolved()
    assert {**again, "quick": True, "name": resolved["name"]} == resolved


# -- odd runs ------------------------------------------------------------------------------------------------------


def test_labels_are_words_whatever_they_hold(tmp_path: Path) -> None:
    header = {"label": NASTY, "warnings": [NASTY], "overrides": {NASTY: NASTY}, "profile": {"description": NASTY}}
    storable = NASTY.removesuffix("\ud800")
    with RunWriter.create(tmp_path, RunHeader(NASTY, NASTY, **header)) as run:
        run.note_fingerprint({NASTY: [NASTY], "hosts": {NASTY: {"kernel": NASTY}}})
        of = subject(datapath=storable)
        name = run.append_trial(trial(of, reason=storable, purpose=storable))
        run.append_result(result(of, rate_pps=1e6, verdict=storable, warnings=(storable,), trial_ids=(name,)))
    other = write_run(tmp_path / "other", label=f"{NASTY}2")
    for paths in ((run.path,), (run.path, other)):
        found = page_of(*paths)
        assert len(found.all("script")) == 1
        assert not found.all("img")
        assert "<script>alert(1)</script>" in found.text
        assert not set("\x00\x1b\ud800") & set(found.text)


def test_a_run_without_anything(tmp_path: Path) -> None:
    run = RunWriter.create(tmp_path, RunHeader("p", "t"))
    text = page_of(run.path).text
    assert "This run is still going on" in text
    assert "No results: nothing can be said." in text
    assert "No trials are stored." in text
    assert "no samples of processors were stored" in text


def test_a_killed_run_says_so(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    record = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(record | {"state": "running", "finished_at": None}))
    assert "This run is interrupted: the report holds what was measured until then." in page_of(path).text


@pytest.mark.parametrize("value", [None, 0.0, float("nan"), float("inf")])
def test_no_number_keeps_it_from_being_made(tmp_path: Path, value: float | None) -> None:
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as run:
        for test in ("throughput", "latency", "frame_loss", "back_to_back", "reset", "mrr", "tcp_stream"):
            columns = dict.fromkeys(("value_min", "value_mean", "value_median", "value_max", "value_stdev"), value)
            columns |= {"rate_pps": value, "loss_ratio": value, "outage_s": value, "load_share": value}
            run.append_result(result(subject(test), **columns, line_rate_pps=value, ceiling_pps=value))
    text = page_of(run.path).text
    assert "26.1 Throughput" in text
    assert "No rate was found in one case." in text
    assert not re.search(r"\b(nan|inf|NaN)\b", text)


def test_all_zero_rates_are_told(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as run:
        for size in (64, 1518):
            run.append_result(result(subject(frame_bytes=size), rate_pps=0.0))
    text = page_of(run.path).text
    assert "Every rate is zero: not one load passed." in text
    assert "No rate was found in 2 cases." in text


def test_a_histogram_that_cannot_be_read_is_missing_and_told(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    trials = open_results(path).trials()
    place = trials.column_names.index("latency_histogram")
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    broken = pa.array([b"HISTF nonsense"] * trials.num_rows, pa.binary())
    [part] = (path / "trials").glob("*.parquet")
    parquet.write_table(trials.set_column(place, trials.schema.field(place), broken), part)
    assert "6 stored histograms cannot be read" in page_of(path).text


def test_of_many_trials_some_are_shown_and_the_rest_is_told_of(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as run:
        pass
    for table in ("trials", "results"):
        assert not list((run.path / table).iterdir())
    one = trial(subject("soak"))
    append(run.path, "trials", (replace(one, trial_id=f"t{number:05d}") for number in range(6000)))
    names = tuple(f"t{number:05d}" for number in range(3000))
    append(
        run.path, "results", [result(subject("soak"), rate_pps=1e6, load_share=0.9, loss_ratio=0.0, trial_ids=names)]
    )
    html = html_of(run.path)
    assert len(html) < 500_000
    shown = html[html.index('<section id="trials"') :]
    assert len(set(re.findall(r"t\d{5}", shown))) == 2 * MOST_OF_ONE
    assert "5,800 of 6,000 trials are not shown here" in Page(html).text


def test_of_many_cases_the_first_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nvbench.report.page.MOST_ROWS", 100)
    monkeypatch.setattr("nvbench.report.evidence.MOST_TRIALS", 50)
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as run:
        pass
    subjects = [replace(subject(), case_id=f"c{number}", flows=number) for number in range(300)]
    append(run.path, "trials", (replace(trial(of), trial_id=f"t{place:05d}") for place, of in enumerate(subjects)))
    rows = [result(of, rate_pps=1e6, trial_ids=(f"t{place:05d}",)) for place, of in enumerate(subjects)]
    append(run.path, "results", rows)
    found = page_of(run.path)
    assert "The first 100 of 300 rows" in found.text
    assert "250 of 300 trials are not shown here" in found.text
    assert {"#t1-50", "#trials"} <= {href for text, href in found.links if text == "1,000,000"}
    assert {href[1:] for _, href in found.links if href.startswith("#")} <= set(found.ids())


# -- several runs --------------------------------------------------------------------------------------------------


def test_several_runs_are_compared_and_drawn_together(tmp_path: Path) -> None:
    paths = [write_run(tmp_path, label="old"), write_run(tmp_path, 1.1, label="new"), write_run(tmp_path, 1.1)]
    found = page_of(*paths)
    assert [told["id"] for told in found.all("section")][:2] == ["summary", "comparison"]
    for text in ("old by itself", "new by itself", "+10.0 %", "old, ovs_dpdk, NDR, 64 B: 2,817,045 frames/s"):
        assert text in found.text
    assert {href[1:] for _, href in found.links if href.startswith("#")} <= set(found.ids())
    assert {href[:4] for text, href in found.links if text == "3.099"} <= {"#t2-", "#t3-"}


def test_runs_that_cannot_be_compared_are_shown_all_the_same(tmp_path: Path) -> None:
    found = page_of(write_run(tmp_path), write_run(tmp_path, simulated=True))
    assert "The runs are not compared" in found.text
    assert "Simulated: no device was measured." in found.text
    assert found.text.count("2,817,045") >= 2


# -- parts ---------------------------------------------------------------------------------------------------------

CHART = Chart("Rates", Axis("x"), Axis("y"), (Series("s", (Dot(1, 2, "a point"),)),))
TABLE = Listing(Layout([Column("Name", lambda row: row["name"], words=True)], [], []), [{"name": "<b>"}])
PARTS = [
    Heading("A report", 1),
    Notice("Mind this.", Tone.WARN),
    Heading("One"),
    Cards((Card("2.8 Mpps", "rate", "of 64 B", "here"),)),
    Picture(CHART, "What is drawn."),
    Points(("see RFC 2544 section 26.1 and `code`",)),
    Heading("One"),
    Details("More", (Paragraph("Within <it>."), TABLE), anchor="here"),
    Code("a ``` fence"),
]


def test_the_page_has_each_kind_of_part() -> None:
    found = Page(as_html(PARTS, "A <title>"))
    assert [told["id"] for told in found.all("section")] == ["one", "one-2"]
    assert "A <title>" in found.text
    assert ("RFC 2544 section 26.1", "https://www.rfc-editor.org/rfc/rfc2544#section-26.1") in found.links
    assert ("2.8 Mpps", "#here") in found.links
    assert found.all("details") == [{"id": "here"}]


def test_text_and_markdown_leave_pictures_out() -> None:
    text = rendered(as_text(PARTS))
    assert "- rate: 2.8 Mpps (of 64 B)\n\n- see RFC 2544 section 26.1" in text
    assert "Mind this." in text
    assert "More\n\nWithin <it>." in text
    markdown = as_markdown(PARTS)
    assert "> Mind this.\n" in markdown
    assert (
        "<details>\n<summary>More</summary>\n\nWithin &lt;it>.\n\n| Name |\n| --- |\n| &lt;b> |\n\n</details>"
        in markdown
    )
    assert "````\na ``` fence\n````" in markdown
    assert "What is drawn" not in text + markdown


# -- what it is made of --------------------------------------------------------------------------------------------


def test_distributions_of_several_trials_are_one() -> None:
    text = LATENCY.histogram.encode()
    found = merged([text, text])
    assert found.frames == 2 * LATENCY.count
    points = dict(found.points)
    assert points[50.0] == pytest.approx(2.0, rel=1e-3)
    assert points[99.0] == LATENCY.percentile_us(99)
    assert max(points) == pytest.approx(99.995, abs=1e-3)  # ten of 200 000 frames lie beyond
    assert [value for _, value in found.points] == sorted(value for _, value in found.points)


@pytest.mark.parametrize("text", [b"", b"HISTF", b"nonsense", b"HISTFAAAA", b"\xff\xfe"])
def test_what_is_no_histogram_is_counted(text: bytes) -> None:
    good = Latency(((1000, 50),)).histogram.encode()
    assert (merged([good, text]).frames, merged([good, text]).unreadable) == (50, 1)
    assert merged([text]).points == ()


def test_counters_that_began_anew_tell_nothing(whole: Path) -> None:
    results = open_results(whole)
    [name] = [row["trial_ids"][0] for row in results.results().to_pylist() if row["rate_pps"] == RATES[64]][:1]
    told = spent(rises(results, [name])[name])
    assert told["cycles"] == pytest.approx(240)
    assert told["host_cores"] == pytest.approx(1.25)
    assert told["collector"] == pytest.approx(0.002)
    assert spent({})["busy"] is None


# -- the command ---------------------------------------------------------------------------------------------------


def invoke(*argv: object) -> str:
    outcome = CliRunner().invoke(group, ["report", *map(str, argv)], catch_exceptions=False, standalone_mode=False)
    return outcome.output


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("report.html", "<!DOCTYPE html>"),
        ("report.HTM", "<!DOCTYPE html>"),
        ("report.md", "# mine on bench"),
        ("report.txt", "mine on bench\n====="),
        ("report", "mine on bench\n====="),
        ("report.xml", "<?xml"),
        ("report.json", '{\n "runs"'),
        ("report.svg", "<?xml"),
    ],
)
def test_the_suffix_says_the_form(whole: Path, tmp_path: Path, name: str, start: str) -> None:
    if name.endswith(".svg"):
        pytest.importorskip("matplotlib")
    assert invoke(whole, "-o", tmp_path / name) == ""
    assert (tmp_path / name).read_text().startswith(start)


def test_the_format_overrides_the_suffix(whole: Path, tmp_path: Path) -> None:
    invoke(whole, "-o", tmp_path / "report.log", "--format", "junit")
    assert (tmp_path / "report.log").read_text().startswith("<?xml")
    assert invoke(whole, "--format", "html").startswith("<!DOCTYPE html>")


def test_json_has_results_and_comparison(whole: Path, tmp_path: Path) -> None:
    told = json.loads(invoke(whole, write_run(tmp_path, 1.1), "--format", "json"))
    assert len(told["runs"]) == 2
    assert len(told["runs"][0]["results"]) == 24
    assert told["runs"][0]["run_again"].startswith("nvbench run mine")
    assert told["comparison"]["verdicts"]["not enough samples"]


def test_a_suffix_that_says_nothing_is_told(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(NvbenchError, match=r"no form goes with '.docx'.*\.html"):
        invoke(whole, "-o", tmp_path / "report.docx")
