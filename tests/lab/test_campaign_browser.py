"""A campaign's page in a real browser: quiet, nothing of what a guest printed runs, outcomes unfold their evidence."""

from pathlib import Path

import pytest

from nvbench.report.campaign import title
from nvbench.report.campaign_page import SOURCE, page
from nvbench.report.html import as_html
from tests.lab.test_report_browser import CHROMIUM, SCHEMES, Browse, browse
from tests.unit.campaigns import made
from tests.unit.test_report_campaign import hostile

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)")
__all__ = ["browse"]


@pytest.fixture
def report(tmp_path: Path) -> Path:
    campaign = made(tmp_path / "results")
    file = campaign.path.parent / "report.html"
    file.write_text(as_html(page(campaign, file.parent), title(campaign), SOURCE))
    return file


def test_an_outcome_unfolds_its_evidence(report: Path, browse: Browse) -> None:
    folded, unfolded = browse(report, "--dump-dom"), browse(report, "--dump-dom", fragment="#case-5-4-6-2")
    assert "CONSOLE" not in folded.stderr + unfolded.stderr
    assert folded.stdout.count('<details open=""') == 0
    assert 'id="case-5-4-6-2" open=""' in unfolded.stdout or '<details open="" id="case-5-4-6-2"' in unfolded.stdout


def test_what_a_guest_printed_does_not_run(tmp_path: Path, browse: Browse) -> None:
    file = tmp_path / "hostile.html"
    for campaign in hostile(tmp_path / "results"):
        file.write_text(as_html(page(campaign, tmp_path), title(campaign), SOURCE), errors="replace")
        told = browse(file, "--dump-dom")
        assert "CONSOLE" not in told.stderr
        assert "<img" not in told.stdout


@pytest.mark.parametrize("scheme", SCHEMES)
def test_outcomes_have_colours(report: Path, browse: Browse, tmp_path: Path, scheme: str) -> None:
    image = pytest.importorskip("PIL.Image")
    file = tmp_path / "page.png"
    browse(report, SCHEMES[scheme], f"--screenshot={file}", "--window-size=1280,800")
    with image.open(file) as drawn:
        colours = {colour for _, colour in drawn.convert("RGB").getcolors(1 << 20)}
    assert any(red > green + 60 and red > blue + 60 for red, green, blue in colours)
    assert any(green > red + 40 for red, green, _ in colours)
