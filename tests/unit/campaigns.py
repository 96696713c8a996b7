"""Campaigns made by hand, for tests of what is written about them."""

from datetime import UTC, datetime
from pathlib import Path

from nvbench.campaign import Campaign, Grid, Observation, Outcome, Verdict

PASS, FAIL, BLOCKED, ERROR = Outcome

MTU = "packets up to the MTU pass, and none above"
MADE = (
    Verdict("1.1", "description", "what the bench is made of is known", "bench", PASS, "known", seconds=0.2),
    Verdict(
        *("mtu@linux_bridge", "mtu", MTU, "linux_bridge", PASS, "4000 bytes pass"),
        observations=(Observation(True, "4000 bytes pass", "4008 bytes from 10.99.0.2", "commands.txt"),),
        files=("commands.txt",),
    ),
    Verdict("5.4.6.1", "mtu", MTU, "ovs_dpdk", PASS, "4000 bytes pass", expected=FAIL),
    Verdict(
        *("5.4.6.2", "mtu", MTU, "sriov", FAIL, "4001 bytes pass, where none should", "4009 bytes from 10.99.0.2"),
        seconds=1.25,
        observations=(Observation(True, "4000 bytes pass"), Observation(False, "4001 bytes pass, where none should")),
        grids=(Grid("What came", ("Size", "passed", "share"), (("4000", "3", "100 %"), ("4001", "1", "33 %"))),),
        advice=("look at the port's own MTU",),
        files=("commands.txt", "wire.pcap", "gone.txt"),
    ),
    Verdict("5.4.8.2", "rate", "a rate is kept", "sriov", FAIL, "225 Mbit/s pass of 20", expected=FAIL),
    Verdict("4.1", "restart", "a switch comes back", "ovs_dpdk", ERROR, "took more than 40 s and was given up"),
    Verdict("5.4.7.2", "qinq", "two tags pass", "sriov", BLOCKED, "the driver refuses 802.1ad"),
    Verdict("qinq@linux_bridge", "qinq", "two tags pass", "linux_bridge", BLOCKED, "the driver refuses 802.1ad"),
)


NAME = "20250131T120000Z-check-lab"


def made(root: Path, verdicts: tuple[Verdict, ...] = MADE, name: str = NAME, **more) -> Campaign:
    """A campaign in a folder, with evidence of two cases."""
    fields = {"finished": True, "nvbench": "1.0", "duration_s": 65.0}
    fields |= {"fingerprint": {"hosts": {"b": {"kernel": "6.1"}}}}
    fields |= {"paths": ("bench", "linux_bridge", "ovs_dpdk", "sriov")}
    fields |= {"bench": (Grid("Set-up of host b", ("what", "found"), (("CPU", "a processor"), ("cores", "46"))),)}
    campaign = Campaign(root / name, "lab", datetime(2025, 1, 31, 12, tzinfo=UTC), verdicts=verdicts, **(fields | more))
    campaign.path.mkdir(parents=True)
    campaign.save()
    for verdict in verdicts:
        for file in verdict.files:
            if "gone" not in file:
                campaign.evidence(verdict).mkdir(parents=True, exist_ok=True)
                (campaign.evidence(verdict) / file).write_text(f"[vm1] $ ping\nof {verdict.case} in {file}\n")
    return campaign
