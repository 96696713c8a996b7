"""The page in a real browser: quiet console, no network, light and dark, narrow and on paper, links that unfold."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from nvbench.reading import open_results
from nvbench.report.html import as_html
from nvbench.report.page import page, title
from tests.unit.report_runs import RATES, write_run

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)")

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--disable-features=NetworkTimeServiceQuerying", "--host-resolver-rules=MAP * ~NOTFOUND"),  # it asks for the time
)
SCHEMES = {"dark": "--blink-settings=preferredColorScheme=0", "light": "--blink-settings=preferredColorScheme=1"}
PAPER = {"dark": (17, 22, 29), "light": (255, 255, 255)}

Browse = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    """Runs the browser on a file, with a profile of its own."""

    def run(file: Path, *options: str, fragment: str = "") -> subprocess.CompletedProcess[str]:
        argv = [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", *options]
        url = f"{file.as_uri()}{fragment}"
        return subprocess.run([*argv, url], capture_output=True, text=True, timeout=120, check=True)

    return run


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two runs."""
    folder = tmp_path_factory.mktemp("report")
    results = open_results([write_run(folder, label="old"), write_run(folder, 1.1, label="new <b>&")])
    file = folder / "report.html"
    file.write_text(as_html(page(results), title(results)))
    return file


def asked_for(browse: Browse, file: Path, log: Path) -> set[str]:
    """What the page asked of the network; what the browser asks for itself has no origin."""
    browse(file, f"--log-net-log={log}", "--dump-dom")
    told = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    own = [params for params in told if params.get("initiator", "not an origin") != "not an origin"]
    return {params["url"] for params in own if not params.get("url", "file:").startswith(("file:", "data:"))}


def test_nothing_is_asked_of_the_network(report: Path, browse: Browse, tmp_path: Path) -> None:
    leak = "http://leak.invalid/dot.png"
    without = re.sub(r"<meta http-equiv=.Content-Security-Policy.*?>", "", report.read_text())
    (tmp_path / "leaky.html").write_text(without.replace("</body>", f'<img src="{leak}"></body>'))
    assert asked_for(browse, tmp_path / "leaky.html", tmp_path / "leaky.json") == {leak}
    assert asked_for(browse, report, tmp_path / "report.json") == set()


def test_the_console_is_quiet(report: Path, browse: Browse) -> None:
    assert "CONSOLE" not in browse(report, "--dump-dom").stderr


def test_numbers_in_the_browser_are_those_of_the_store(report: Path, browse: Browse) -> None:
    shown = browse(report, "--dump-dom").stdout
    cells = set(re.findall(r'<td><a href="#t\d+-\d+">([\d,.]+)</a></td>', shown))
    for scale in (1.0, 1.1):
        assert {f"{rate * scale:,.0f}" for rate in RATES.values()} <= cells
    assert "new <b>&" in html.unescape(re.sub(r"<[^>]+>", "", shown))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 420])
def test_it_is_drawn_in_the_light_and_in_the_dark(
    report: Path, browse: Browse, tmp_path: Path, width: int, scheme: str
) -> None:
    image = pytest.importorskip("PIL.Image")
    file = tmp_path / "page.png"
    browse(report, SCHEMES[scheme], f"--screenshot={file}", f"--window-size={width},3000")
    with image.open(file) as drawn:
        assert drawn.size == (width, 3000)
        assert drawn.convert("RGB").getpixel((2, 2)) == PAPER[scheme]
        assert len(drawn.convert("RGB").getcolors(1 << 20) or ()) > 50


def test_a_narrow_page_does_not_scroll_sideways(report: Path, browse: Browse, tmp_path: Path) -> None:
    measure = "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth;</script></body>"
    without = re.sub(r"<meta http-equiv=.Content-Security-Policy.*?>", "", report.read_text())
    (tmp_path / "measured.html").write_text(without.replace("</body>", measure))
    shown = browse(tmp_path / "measured.html", "--dump-dom", "--window-size=420,900").stdout
    needed, there = map(int, re.search(r"<title>(\d+) of (\d+)</title>", shown).groups())
    assert needed <= there


def test_a_link_to_trials_unfolds_them(report: Path, browse: Browse) -> None:
    folded = browse(report, "--dump-dom").stdout
    unfolded = browse(report, "--dump-dom", fragment="#t1-1").stdout
    assert folded.count('<details open=""') == 0
    assert unfolded.count('<details open=""') == 1
    inside = unfolded[unfolded.index('<details open=""') :].partition("</details>")[0]
    assert 'id="t1-1"' in inside


def test_a_script_in_a_label_would_not_run(report: Path, browse: Browse, tmp_path: Path) -> None:
    """Even if escaping failed: the page's policy knows its own script alone."""
    injected = "<script>document.title = 'ran'</script><img src=x onerror=\"document.title='ran'\"></body>"
    (tmp_path / "injected.html").write_text(report.read_text().replace("</body>", injected))
    told = browse(tmp_path / "injected.html", "--dump-dom")
    assert "<title>ran</title>" not in told.stdout
    assert "Content Security Policy" in told.stderr


def test_it_prints(report: Path, browse: Browse, tmp_path: Path) -> None:
    paper = tmp_path / "report.pdf"
    browse(report, SCHEMES["dark"], f"--print-to-pdf={paper}", "--no-pdf-header-footer")
    assert paper.read_bytes().startswith(b"%PDF-")
    if to_text := shutil.which("pdftotext"):
        text = subprocess.run([to_text, str(paper), "-"], capture_output=True, text=True, check=True).stdout
        assert "Summary" in text
        assert "2,817,045" in text
