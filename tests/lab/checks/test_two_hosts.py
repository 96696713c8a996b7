"""Checks over two hosts: the switch's guests on one, the peer at the generator's device on the other."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nvbench.campaign import Campaign, Outcome, resolve_campaign
from tests.lab.conftest import leaves_no_trace
from tests.lab.two_hosts import two_hosts


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    with leaves_no_trace(), two_hosts(tmp_path_factory.mktemp("hosts")) as both:
        yield both


@pytest.mark.parametrize("path", ["linux_bridge", "ovs_dpdk"])
def test_the_peer_is_on_the_generators_host(hosts, tmp_path, path):
    words = ["connectivity", "flooding", path, "--testbed", str(hosts.testbed), "--results", str(tmp_path)]
    with leaves_no_trace():
        done = subprocess.run(
            [sys.executable, "-m", "nvbench", "check", *words], capture_output=True, text=True, check=False, timeout=400
        )
    assert done.returncode == 0, done.stdout + done.stderr
    campaign = Campaign.read(resolve_campaign(tmp_path, "latest-check"))
    assert {(verdict.check, verdict.outcome) for verdict in campaign.verdicts} == {
        ("connectivity", Outcome.PASS),
        ("flooding", Outcome.PASS),
    }
    connectivity = campaign.verdicts[0]
    assert connectivity.grids[0].columns == ("", "vm1", "vm2", "peer")
