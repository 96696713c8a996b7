"""Paths that frames take through the system under test."""

from __future__ import annotations

from typing import Any

from nvbench.datapaths.base import Datapath, Parameters, Place
from nvbench.datapaths.direct import Direct, DirectParameters
from nvbench.datapaths.linux_bridge import LinuxBridge, LinuxBridgeParameters
from nvbench.datapaths.ovs_dpdk import OvsDpdk, OvsDpdkParameters
from nvbench.datapaths.ovs_kernel import OvsKernel, OvsKernelParameters
from nvbench.datapaths.simulated import SimulatedParameters
from nvbench.datapaths.sriov import Sriov, SriovParameters
from nvbench.datapaths.testpmd import Testpmd, TestpmdParameters

_REAL: dict[str, tuple[type[Parameters], Any]] = {
    "direct": (DirectParameters, Direct),
    "linux_bridge": (LinuxBridgeParameters, LinuxBridge),
    "ovs_dpdk": (OvsDpdkParameters, OvsDpdk),
    "ovs_kernel": (OvsKernelParameters, OvsKernel),
    "sriov": (SriovParameters, Sriov),
    "testpmd": (TestpmdParameters, Testpmd),
}

PARAMETERS: dict[str, type[Parameters]] = {
    **{kind: model for kind, (model, _) in _REAL.items()},
    "simulated": SimulatedParameters,
}
"""Kind of datapath -> its parameter model."""

TAKES = {kind: made.takes for kind, (_, made) in _REAL.items()}
"""Kind of datapath -> the kinds of links that it can join."""


def make_datapath(kind: str, place: Place, parameters: Parameters, *, pf: str = "") -> Datapath:
    """A real datapath of a kind in its place, not yet up; `pf` is the physical function of SR-IOV."""
    made = _REAL[kind][1]
    datapath: Datapath = made(place, parameters, pf) if kind == "sriov" else made(place, parameters)
    return datapath


__all__ = ["PARAMETERS", "TAKES", "Datapath", "Parameters", "Place", "make_datapath"]
