"""The options of Open vSwitch, and how each is said to the switch."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from nvbench.datapaths.base import Parameters, Place, power_of_two

POLICER_BURST_BYTES = 65536


def _absolute(path: str) -> str:
    if path and not path.startswith("/"):
        raise ValueError(f"must be an absolute path, not {path}")
    return path and str(PurePosixPath(path))


class OvsParameters(Parameters):
    """Options of either datapath; the names are OVS's own (ovs-vswitchd.conf.db(5)) where OVS has one."""

    prefix: Annotated[str, AfterValidator(_absolute)] = Field(
        default="", description="where the Open vSwitch to measure is installed, such as /usr; empty: the testbed's"
    )
    flow_set: Literal["explicit", "normal"] = Field(
        default="explicit", description="one flow a port pair, or MAC learning by the NORMAL action"
    )
    flow_tables: int = Field(
        default=1, ge=1, le=32, description="OpenFlow tables that a frame unknown to the datapath goes through"
    )
    drop_every: Annotated[int, AfterValidator(power_of_two)] = Field(
        default=0,
        ge=0,
        le=1024,
        description="flows drop each n-th UDP source port, in both directions; 0: none. A known truth: of traffic that "
        "varies udp_src over a multiple of n flows, exactly one frame in n is lost. A power of two",
    )
    dot1q_tunnel: int = Field(
        default=0,
        ge=0,
        le=4094,
        description="vlan_mode=dot1q-tunnel: service VLAN through which every port passes its frames, tagged or not; "
        "0: none. Needs flow_set normal",
    )
    mac_table_size: int = Field(
        default=8192, ge=10, le=1_000_000, description="mac-table-size: addresses that NORMAL learns at most"
    )
    ingress_policing_kbps: int = Field(default=0, ge=0, description="ingress_policing_rate of the first port; 0: none")
    ingress_policing_burst_kb: int = Field(
        default=0, ge=0, description="ingress_policing_burst of it, in kbit; 0: OVS's default"
    )

    @model_validator(mode="after")
    def _needs_normal(self) -> Self:
        if self.dot1q_tunnel and self.flow_set != "normal":
            raise ValueError("dot1q_tunnel needs flow_set: normal, the only action that knows of a port's VLAN mode")
        return self

    def installed(self, place: Place) -> Place:
        """The place, with the build that is to be measured."""
        return replace(place, prefix=self.prefix or place.prefix)

    def named(self, version: str) -> str:
        """`OVS 3.3.0`, and where it is installed if that was asked for."""
        return f"OVS {version}" + (f" of {self.prefix}" if self.prefix else "")

    def flows(self) -> list[str]:
        """A bridge's OpenFlow flows, for `ovs-ofctl add-flows`."""
        if self.flow_set == "normal":
            flows = ["actions=NORMAL"]
        else:
            flows = ["in_port=1,actions=output:2", "in_port=2,actions=output:1"]
        if self.drop_every:
            # Flows take consecutive source ports in turn, so the low bits count them.
            flows.append(f"priority=40000,udp,udp_src=0/{self.drop_every - 1:#x},actions=drop")
        last = self.flow_tables - 1
        onwards = [f"table={table},actions=resubmit(,{table + 1})" for table in range(last)]
        return [*onwards, *(f"table={last},{flow}" for flow in flows)]

    def policing(self) -> list[str]:
        """The columns of the first port's interface that limit what comes in."""
        if not self.ingress_policing_kbps:
            return []
        columns = [f"ingress_policing_rate={self.ingress_policing_kbps}"]
        if self.ingress_policing_burst_kb:
            columns.append(f"ingress_policing_burst={self.ingress_policing_burst_kb}")
        return columns

    def tunnel(self) -> list[str]:
        """The columns of every port that make it an end of the service VLAN."""
        return ["vlan_mode=dot1q-tunnel", f"tag={self.dot1q_tunnel}"] if self.dot1q_tunnel else []


class OvsKernelParameters(OvsParameters):
    """Options of OVS over the kernel's datapath."""


class OvsDpdkParameters(OvsParameters):
    """Options of OVS-DPDK."""

    vhost_mode: Literal["client", "server"] = Field(
        default="client",
        description="who serves a vhost-user socket: with `client` the far end, with `server` the switch",
    )
    kernel_ports: Literal["auto", "system", "af_packet", "afxdp"] = Field(
        default="auto",
        description="how kernel devices become ports: polled by the main thread (system), by the PMDs over AF_PACKET "
        "(DPDK's net_af_packet) or AF_XDP; auto: af_packet for veth pairs beside ports that PMDs poll, else system",
    )
    emc: bool = Field(default=True, description="exact match cache: emc-insert-inv-prob at its default, or 0")
    smc: bool = Field(default=False, description="smc-enable: signature match cache")
    userspace_tso: bool = Field(default=False, description="userspace-tso-enable: TCP segmentation and checksums")
    rxq_affinity: str = Field(
        default="",
        pattern=r"^(\d+:\d+(,\d+:\d+)*)?$",
        description="pmd-rxq-affinity of every port: `queue:core,...`; those PMDs poll nothing else",
    )
    pmd_maxsleep_us: int = Field(
        default=0, ge=0, le=10_000, description="pmd-maxsleep: longest sleep of a PMD with little to do; 0: none"
    )
    egress_policer_bytes_per_s: int = Field(
        default=0, ge=0, description="egress-policer cir of the last port, in bytes/s; 0: none"
    )

    @property
    def carries_offloads(self) -> bool:
        """See `Parameters.carries_offloads`."""
        return self.userspace_tso

    def settings(self) -> dict[str, str]:
        """What these options are in the switch's other_config, where they are not OVS's defaults."""
        sleep = str(self.pmd_maxsleep_us)
        words = {
            "emc-insert-inv-prob": "" if self.emc else "0",
            "smc-enable": "true" if self.smc else "",
            "userspace-tso-enable": "true" if self.userspace_tso else "",
            "pmd-maxsleep": sleep if self.pmd_maxsleep_us else "",
            "pmd-sleep-max": sleep if self.pmd_maxsleep_us else "",  # its name from OVS 3.2 on
        }
        return {key: word for key, word in words.items() if word}

    def unconfirmed(self, log: str) -> list[str]:
        """Options that the switch does not say it has taken: it passes over a key that it does not know in silence."""
        words = {
            "emc": "" if self.emc else r"EMC insertion probability changed to zero",
            "smc": r"SMC cache is enabled" if self.smc else "",
            "userspace_tso": r"Userspace TCP Segmentation Offloading support enabled" if self.userspace_tso else "",
            "pmd_maxsleep_us": rf"(?i)max sleep\D*\b{self.pmd_maxsleep_us} us" if self.pmd_maxsleep_us else "",
        }
        return [option for option, word in words.items() if word and not re.search(word, log)]

    def affinity(self) -> dict[int, int]:
        """Queue -> core, of the queues that are pinned."""
        pairs = (pair.split(":") for pair in self.rxq_affinity.split(",") if pair)
        return {int(queue): int(core) for queue, core in pairs}

    def policer(self) -> dict[str, str]:
        """The last port's egress policer; empty without one."""
        if not self.egress_policer_bytes_per_s:
            return {}
        return {"cir": str(self.egress_policer_bytes_per_s), "cbs": str(POLICER_BURST_BYTES)}
