"""A physical function that somebody uses is not put on a bridge."""

import json
from types import SimpleNamespace

import pytest

from nvbench.checks.interwork import behind
from nvbench.errors import NotPossibleError


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"master": "br0"}, r"pf0 is in use \(br0\)"),
        ({"addr_info": [{"family": "inet", "local": "192.0.2.2"}]}, r"pf0 is in use \(192\.0\.2\.2\)"),
    ],
)
def test_a_port_in_use(more, told):
    rows = json.dumps([{}, {"ifname": "pf0", "addr_info": []} | more])  # `ip` leaves rows of others empty
    host = SimpleNamespace(run=lambda argv: SimpleNamespace(stdout=rows))
    with pytest.raises(NotPossibleError, match=told):
        behind(SimpleNamespace(host=host, pf="pf0"), None).__enter__()
