"""What is written about a campaign: the matrix, why, what is lacking, the evidence, and what programs read."""

# ruff: noqa: S314 - what is parsed is our own

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from nvbench.campaign import Grid, Observation, Verdict
from nvbench.report.campaign import brief, title, whole
from nvbench.report.campaign_files import as_json, as_junit
from nvbench.report.campaign_page import MOST_CHARACTERS, SOURCE, page
from nvbench.report.document import as_markdown, as_text
from nvbench.report.html import as_html
from nvbench.report.text import rendered
from tests.unit.campaigns import ERROR, FAIL, MADE, PASS, made
from tests.unit.test_report_html import NASTY, Page

TEXT = """\
Functional checks on lab
========================

20250131T120000Z-check-lab, 2025-01-31 12:00 UTC, took 1 min 05 s, nvbench 1.0

3 PASS, 2 FAIL, 2 BLOCKED, 1 ERROR: 3 otherwise than expected (!).

Cases by paths
--------------

Check        What is tested (case)                                          bench  linux_bridge  ovs_dpdk    sriov
──────────────────────────────────────────────────────────────────────────────────────────────────────────────────
description  what the bench is made of is known (1.1)                        PASS             -         -        -
restart      a switch comes back (4.1)                                          -             -   ! ERROR        -
mtu          packets up to the MTU pass, and none above (5.4.6.1, 5.4.6.2)      -          PASS    ! PASS   ! FAIL
qinq         two tags pass (5.4.7.2)                                            -       BLOCKED         -  BLOCKED
rate         a rate is kept (5.4.8.2)                                           -             -         -     FAIL

Why
---

Case                       Why
───────────────────────────────────────────────────────────────
5.4.6.1            ! PASS  4000 bytes pass
mtu@ovs_dpdk               expected: FAIL
5.4.6.2            ! FAIL  4001 bytes pass, where none should
mtu@sriov                  seen: 4009 bytes from 10.99.0.2
                           advice: look at the port's own MTU
4.1               ! ERROR  took more than 40 s and was given up
restart@ovs_dpdk
5.4.8.2              FAIL  225 Mbit/s pass of 20
rate@sriov

Blocked
-------

Cases                       What this bench lacks
──────────────────────────────────────────────────────
5.4.7.2, qinq@linux_bridge  the driver refuses 802.1ad
"""


def text_of(parts, width: int = 140) -> str:
    return rendered(as_text(parts, width), width)


def test_the_text_is_a_matrix_the_reasons_and_what_is_lacking(tmp_path):
    assert text_of(brief(made(tmp_path))).rstrip() == TEXT.rstrip()


def test_a_narrow_terminal_keeps_every_word(tmp_path):
    told = text_of(brief(made(tmp_path)), 80)
    assert max(map(len, told.splitlines())) <= 80
    assert set(re.findall(r"\w+", TEXT)) <= set(re.findall(r"\w+", told))


def test_the_set_up_stands_in_the_report(tmp_path):
    told = text_of(whole(made(tmp_path)))
    assert re.search(r"Set-up\n-+\n\nwhat +found\n─+\nCPU +a processor\ncores +46\n", told)


def test_advice_where_nothing_is_wrong_stands_apart(tmp_path):
    told = text_of(brief(made(tmp_path, (replace(MADE[0], advice=("reserve pages at boot", "isolate core 1")),))))
    assert "Why" not in told
    assert re.search(r"1.1 +PASS  reserve pages at boot\ndescription@bench +isolate core 1\n", told)


def test_markdown(tmp_path):
    told = as_markdown(whole(made(tmp_path)))
    assert "none above (5.4.6.1, 5.4.6.2) | - | PASS | ! PASS | ! FAIL |" in told
    assert "| 5.4.7.2, qinq@linux_bridge | the driver refuses 802.1ad |" in told


@pytest.mark.parametrize(
    ("verdicts", "more", "told"),
    [
        ((), {}, "No case was looked at."),
        ((), {"finished": False}, "Unfinished: what was looked at until then."),
        (MADE[:2], {}, "2 PASS: all as expected."),
        (MADE[4:5], {}, "1 FAIL: all as expected."),
    ],
)
def test_what_it_came_to(tmp_path, verdicts, more, told):
    assert told in text_of(brief(made(tmp_path, verdicts, **more)))


# -- the page ----------------------------------------------------------------------------------------------------------


def html_of(campaign, place: Path | None = None) -> str:
    return as_html(page(campaign, place), title(campaign), SOURCE)


def test_outcomes_lead_to_their_evidence(tmp_path):
    told = html_of(made(tmp_path))
    assert '<td class="bad"><a href="#case-5-4-6-2">! FAIL</a></td>' in told
    assert '<td class="good"><a href="#case-1-1">PASS</a></td>' in told
    assert all(f'id="{anchor}"' in told for anchor in re.findall(r'href="#(case-[^"]+)"', told))
    inside = told[told.index('<details id="case-5-4-6-2"') :]
    assert "of 5.4.6.2 in commands.txt" in inside
    assert '<td class="bad">✗</td>' in inside or '<th scope="row" class="bad">✗</th>' in inside
    assert "gone.txt is not there any more" in inside
    assert "33&nbsp;%" in inside or "33 %" in inside
    assert "Made by nvbench" in told
    assert "the campaign's folder alone" in told.replace("&#39;", "'")


@pytest.mark.parametrize(
    ("place", "link"),
    [
        (".", "20250131T120000Z-check-lab/evidence/5.4.6.2/wire.pcap"),
        ("20250131T120000Z-check-lab", "evidence/5.4.6.2/wire.pcap"),
        ("20250131T120000Z-check-lab/evidence", "../evidence/5.4.6.2/wire.pcap"),
        ("..", ""),
        ("20250131T120000Z-other", ""),
    ],
)
def test_captures_are_linked_from_beside_the_campaign(tmp_path, place, link):
    campaign = made(tmp_path / "results")
    told = html_of(campaign, tmp_path / "results" / place)
    assert re.findall(r'href="([^"#]*pcap)"', told) == ([link] if link else [])
    assert "wire.pcap" in told


def test_long_evidence_is_shortened_and_says_so(tmp_path):
    campaign = made(tmp_path)
    (campaign.evidence(MADE[3]) / "commands.txt").write_text("first\n" + "0123456789\n" * 100_000 + "last\n")
    told = html_of(campaign)
    assert "characters are left out here" in told
    assert "first\n" in told
    assert "last\n" in told
    assert len(told) < 10 * MOST_CHARACTERS


def test_evidence_stays_within_its_folder(tmp_path):
    (tmp_path / "secret.txt").write_text("the secret")
    verdict = replace(MADE[3], files=("../../../secret.txt", "link.txt"))
    campaign = made(tmp_path, (replace(verdict, files=()),))
    campaign = replace(campaign, verdicts=(verdict,))
    campaign.evidence(verdict).mkdir(parents=True)
    (campaign.evidence(verdict) / "link.txt").symlink_to(tmp_path / "secret.txt")
    assert "the secret" not in html_of(campaign)


def hostile(tmp_path):
    verdict = Verdict(
        *("9.9", NASTY, NASTY, "sriov", FAIL, NASTY, f"\x1b[2J{NASTY}|"),
        observations=(Observation(False, NASTY, f"{NASTY}\r\n{'ff' * 200}"),),
        grids=(Grid(NASTY, (NASTY, "b", "c"), ((NASTY, "1"), ())),),
        advice=(NASTY,),
        files=("a.txt",),
    )
    clean = replace(verdict, check="x")
    campaign = made(tmp_path, (clean,))
    (campaign.evidence(clean) / "a.txt").write_bytes(NASTY.encode(errors="replace") + b"\xff\x00\x1b[31m")
    return campaign, replace(campaign, verdicts=(verdict, replace(verdict, outcome=ERROR, path="ovs_dpdk")))


def test_what_a_guest_printed_does_nothing_to_the_reader(tmp_path):
    for campaign in hostile(tmp_path):
        parsed = Page(html_of(campaign, tmp_path))
        assert not [name for name, _ in parsed.elements if name in ("img", "iframe", "object")]
        assert sum(name == "script" for name, _ in parsed.elements) == 1
        told = text_of(whole(campaign))
        assert "\x1b" not in told
        assert "<script" not in as_markdown(whole(campaign))
        assert "\x1b" not in as_markdown(whole(campaign))
        Xml.fromstring(as_junit(campaign))
        json.loads(as_json(campaign))


def test_a_frame_in_hex_does_not_widen_the_table(tmp_path):
    told = text_of(brief(made(tmp_path, (replace(MADE[3], quote="ff" * 120),))), 100)
    assert max(map(len, told.splitlines())) <= 100


# -- for programs ------------------------------------------------------------------------------------------------------


def test_junit_fails_what_is_not_expected(tmp_path):
    [suite] = Xml.fromstring(as_junit(made(tmp_path)))
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped", "time")}
    assert counts == {"tests": "8", "failures": "2", "errors": "1", "skipped": "2", "time": "65.000"}
    cases = {case.get("classname"): case for case in suite.findall("testcase")}
    failed = cases["check.sriov.mtu"]
    assert failed.get("name") == "5.4.6.2 packets up to the MTU pass, and none above"
    assert failed.get("time") == "1.250"
    assert failed.find("failure").get("message") == "4001 bytes pass, where none should"
    assert failed.findtext("system-out").splitlines()[1] == "not ok: 4001 bytes pass, where none should"
    assert cases["check.ovs_dpdk.mtu"].find("failure").get("message") == "PASS where FAIL is expected: 4000 bytes pass"
    assert cases["check.sriov.rate"].find("failure") is None
    assert cases["check.sriov.rate"].findtext("system-out") == "FAIL, as expected: 225 Mbit/s pass of 20"
    assert cases["check.sriov.qinq"].find("skipped").get("message") == "the driver refuses 802.1ad"
    assert cases["check.ovs_dpdk.restart"].find("error") is not None


@pytest.mark.parametrize(
    ("verdicts", "finished", "told"),
    [(MADE[:1], False, "the campaign is unfinished: cases may be missing"), ((), True, "no case was looked at")],
)
def test_an_unfinished_campaign_is_an_error(tmp_path, verdicts, finished, told):
    [suite] = Xml.fromstring(as_junit(made(tmp_path, verdicts, finished=finished)))
    assert suite.get("errors") == "1"
    assert suite.find("testcase/error").get("message") == told


def test_json_has_all_of_it(tmp_path):
    told = json.loads(as_json(made(tmp_path)))
    assert told["counts"] == {"PASS": 3, "FAIL": 2, "BLOCKED": 2, "ERROR": 1}
    assert told["surprises"] == ["mtu@ovs_dpdk", "mtu@sriov", "restart@ovs_dpdk"]
    found = told["verdicts"][3]
    assert (found["outcome"], found["surprising"]) == (str(FAIL), True)
    assert found["files"][1] == "evidence/5.4.6.2/wire.pcap"
    assert told["verdicts"][0]["outcome"] == str(PASS)
