"""Paths that frames take through the system under test."""

from nvbench.datapaths.base import Parameters
from nvbench.datapaths.direct import DirectParameters
from nvbench.datapaths.ovs_dpdk import OvsDpdkParameters
from nvbench.datapaths.simulated import SimulatedParameters

PARAMETERS: dict[str, type[Parameters]] = {
    "direct": DirectParameters,
    "ovs_dpdk": OvsDpdkParameters,
    "simulated": SimulatedParameters,
}
"""Kind of datapath -> its parameter model."""

__all__ = ["PARAMETERS", "Parameters"]
