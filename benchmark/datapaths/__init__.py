"""Paths that frames take through the system under test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nvbench.datapaths.base import Datapath, Parameters, Place
from nvbench.datapaths.direct import Direct, DirectParameters
from nvbench.datapaths.ovs_dpdk import OvsDpdk, OvsDpdkParameters
from nvbench.datapaths.simulated import SimulatedParameters

_REAL: dict[str, tuple[type[Parameters], Callable[[Place, Any], Datapath]]] = {
    "direct": (DirectParameters, Direct),
    "ovs_dpdk": (OvsDpdkParameters, OvsDpdk),
}

PARAMETERS: dict[str, type[Parameters]] = {
    **{kind: model for kind, (model, _) in _REAL.items()},
    "simulated": SimulatedParameters,
}
"""Kind of datapath -> its parameter model."""


def make_datapath(kind: str, place: Place, parameters: Parameters) -> Datapath:
    """A real datapath of a kind in its place, not yet up."""
    return _REAL[kind][1](place, parameters)


__all__ = ["PARAMETERS", "Datapath", "Parameters", "Place", "make_datapath"]
