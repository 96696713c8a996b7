"""Who measured what, where, and how far from what the RFCs ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nvbench.report.columns import Row
from nvbench.report.document import Heading, Paragraph, Part, Points
from nvbench.report.identity import is_stream
from nvbench.units import duration, scaled

if TYPE_CHECKING:
    from nvbench.runs import Run

LEAST_S = {
    "throughput": (60.0, "RFC 2544 section 24"),
    "latency": (120.0, "RFC 2544 section 26.2"),
    "frame_loss": (60.0, "RFC 2544 section 24"),
    "recovery": (60.0, "RFC 2544 section 26.5"),
}
LEAST_REPEATS = {"latency": (20, "RFC 2544 section 26.2"), "back_to_back": (50, "RFC 9004 section 6.3")}
CLOSE = 0.99
"""A duration is measured, and may end a frame early."""

HOST_FACTS = ("os", "kernel", "cpu", "online_cores", "isolated_cores", "virtual_machine")


def conditions(run: Run, rows: Sequence[Row]) -> Iterator[Part]:
    """The head of a report."""
    yield Heading(f"{run.profile_name} on {run.testbed_name}", 1)
    labels = []
    if run.state != "finished":
        labels.append(f"This run is {run.state}: the report holds what was measured until then.")
    if run.quick:
        labels.append("QUICK: trials were shortened; these are not RFC 2544 durations.")
    if run.simulated:
        labels.append("SIMULATED: no device was measured.")
    if any(row["emulated"] for row in rows):
        labels.append("EMULATED: an endpoint's processor is emulated, these are not performance figures.")
    if labels:
        yield Paragraph(" ".join(labels))
    yield Heading("Conditions")
    yield Points(tuple(f"{name}: {text}" for name, text in _facts(run, rows) if text))


def _facts(run: Run, rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    record, found = run.record, run.fingerprint
    took = "" if run.duration_s is None else f", {duration(run.duration_s)}"
    yield "Run", f"{run.run_id}, {run.started_at:%Y-%m-%d %H:%M} UTC{took}, nvbench {record.get('nvbench_version', '')}"
    for name in ("profile", "testbed"):
        yield name.capitalize(), str((record.get(name) or {}).get("description", ""))
    for kind in dict.fromkeys(row["datapath"] for row in rows):
        yield "Device", ", ".join(dict.fromkeys(text for text in (kind, str(found.get(kind, ""))) if text))
    generators = ", ".join(dict.fromkeys(row["generator"] for row in rows))
    yield "Generator", str(found.get("generator", generators))
    yield "Guests", ", ".join(dict.fromkeys(row["guest"] for row in rows if row["guest"]))
    framed = not rows or any(not is_stream(row) for row in rows)
    yield "Protocol", _protocol(record.get("profile") or {}) if framed else "TCP and UDP; endpoints choose their frames"
    yield "Data stream", _stream(record.get("profile") or {})
    yield "Media", _media(run) if framed else ""
    yield "Cores", str(found.get("placement", ""))
    for host, facts in (found.get("hosts") or {}).items():
        yield f"Host {host}", _host(facts)


def _protocol(profile: Mapping[str, Any]) -> str:
    traffic = profile.get("traffic") or {}
    if traffic.get("pcap"):
        return "that of the frames of a capture file; frame sizes count the FCS"
    tags = [tag for tag in traffic.get("vlan", ()) if tag is not None]
    told = f", 802.1Q VLAN {', '.join(map(str, tags))}" if tags else ""
    return f"UDP over IPv4 over Ethernet{told} (RFC 2544 appendix C); frame sizes count the FCS"


def _stream(profile: Mapping[str, Any]) -> str:
    traffic = profile.get("traffic") or {}
    if not traffic:
        return ""
    flows = list(traffic.get("flows", ()))
    vary = ", ".join("+".join(fields) for fields in traffic.get("vary", ()))
    told = f" that differ in {vary}" if any(number > 1 for number in flows) else ""
    directions = " and ".join(map(str, traffic.get("direction", ())))
    if files := traffic.get("pcap"):
        return f"{directions}, constant load, frames of {', '.join(map(str, files))}, over and over"
    return f"{directions}, constant load, flows: {', '.join(map(str, flows))}{told}"


def _media(run: Run) -> str:
    testbed, profile = run.record.get("testbed") or {}, run.record.get("profile") or {}
    gbps = testbed.get("link_gbps") or profile.get("link_gbps")
    speed = "of unknown speed" if not gbps else f"of {scaled(float(gbps) * 1e9, 'bit/s')}"
    if run.simulated:
        return f"none, simulated; theoretical rates are those of an Ethernet link {speed}"
    if any(port.get("vhost_user") for port in (testbed.get("generator") or {}).get("ports", ())):
        return f"virtual (vhost-user); theoretical rates are those of an Ethernet link {speed}"
    return f"Ethernet {speed}"


def _host(facts: Mapping[str, Any]) -> str:
    told = [f"{name.replace('_', ' ')} {facts[name]}" for name in HOST_FACTS if facts.get(name) not in (None, False)]
    told += [f"{tool} {version}" for tool, version in (facts.get("versions") or {}).items()]
    told += ["NIC " + " ".join(str(text) for text in nic.values()) for nic in facts.get("nics") or ()]
    return "; ".join(told)


def deviations(rows: Sequence[Row]) -> Iterator[str]:
    """Where trials were shorter or fewer than the RFCs ask for, a line a test."""
    for test in dict.fromkeys(row["test"] for row in rows):
        own = [row for row in rows if row["test"] == test and row["trial_ids"]]
        name = test.replace("_", " ")
        least_s, section = LEAST_S.get(test, (0.0, ""))
        sent_s = [row["final_duration_s"] for row in own if row["final_duration_s"] is not None]
        if sent_s and min(sent_s) < CLOSE * least_s:
            yield f"{name}: trials of {min(sent_s):.4g} s, {section} asks for at least {least_s:g} s"
        least, section = LEAST_REPEATS.get(test, (0, ""))
        repeats = [row["repeats"] for row in own if row["repeats"] is not None]
        if repeats and min(repeats) < least:
            yield f"{name}: repeats {min(repeats)}, {section} asks for at least {least}"
