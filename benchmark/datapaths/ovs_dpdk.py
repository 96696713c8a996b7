"""OVS with the DPDK datapath, as a private instance beside whatever the host runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nvbench.datapaths.base import Parameters


class OvsDpdkParameters(Parameters):
    """Options of the switch; the names are OVS's own (ovs-vswitchd.conf.db(5))."""

    flow_set: Literal["explicit", "normal"] = Field(
        default="explicit", description="one flow a port pair, or MAC learning by the NORMAL action"
    )
    emc: bool = Field(default=True, description="exact match cache (emc-insert-inv-prob 100, or 0 for none)")
    ingress_policing_kbps: int = Field(default=0, ge=0, description="ingress_policing_rate of the first port; 0: none")
    ingress_policing_burst_kb: int = Field(default=0, ge=0, description="ingress_policing_burst of it; 0: OVS's default")
    egress_policer_bytes_per_s: int = Field(
        default=0, ge=0, description="egress-policer cir of the second port, in bytes/s; 0: none"
    )
