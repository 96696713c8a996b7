"""The options of OVS-DPDK, and how each is said to the switch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from nvbench.datapaths.base import Parameters, power_of_two

POLICER_BURST_BYTES = 65536


class OvsDpdkParameters(Parameters):
    """Options of the switch; the names are OVS's own (ovs-vswitchd.conf.db(5)) where OVS has one."""

    flow_set: Literal["explicit", "normal"] = Field(
        default="explicit", description="one flow a port pair, or MAC learning by the NORMAL action"
    )
    drop_every: Annotated[int, AfterValidator(power_of_two)] = Field(
        default=0,
        ge=0,
        le=1024,
        description="flows drop each n-th UDP source port, in both directions; 0: none. A known truth: of traffic that "
        "varies udp_src over a multiple of n flows, exactly one frame in n is lost. A power of two",
    )
    mac_table_size: int = Field(
        default=8192, ge=10, le=1_000_000, description="mac-table-size: addresses that NORMAL learns at most"
    )
    emc: bool = Field(default=True, description="exact match cache: emc-insert-inv-prob at its default, or 0")
    ingress_policing_kbps: int = Field(default=0, ge=0, description="ingress_policing_rate of the first port; 0: none")
    ingress_policing_burst_kb: int = Field(
        default=0, ge=0, description="ingress_policing_burst of it, in kbit; 0: OVS's default"
    )
    egress_policer_bytes_per_s: int = Field(
        default=0, ge=0, description="egress-policer cir of the second port, in bytes/s; 0: none"
    )

    def flows(self) -> list[str]:
        """The OpenFlow flows, for `ovs-ofctl add-flow`."""
        if self.flow_set == "normal":
            flows = ["actions=NORMAL"]
        else:
            flows = ["in_port=1,actions=output:2", "in_port=2,actions=output:1"]
        if self.drop_every:
            # Flows take consecutive source ports in turn, so the low bits count them.
            flows.append(f"priority=40000,udp,udp_src=0/{self.drop_every - 1:#x},actions=drop")
        return flows

    def policing(self) -> list[str]:
        """The columns of the first port's interface that limit what comes in."""
        if not self.ingress_policing_kbps:
            return []
        columns = [f"ingress_policing_rate={self.ingress_policing_kbps}"]
        if self.ingress_policing_burst_kb:
            columns.append(f"ingress_policing_burst={self.ingress_policing_burst_kb}")
        return columns

    def policer(self) -> dict[str, str]:
        """The second port's egress policer; empty without one."""
        if not self.egress_policer_bytes_per_s:
            return {}
        return {"cir": str(self.egress_policer_bytes_per_s), "cbs": str(POLICER_BURST_BYTES)}
