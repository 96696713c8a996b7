"""Why nothing comes through, where it is known."""

from __future__ import annotations

from dataclasses import dataclass

from nvbench.offloads import ETHTOOL_NAMES, Flags
from nvbench.plan import Case


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a connection stands still.

    Attributes:
        short: In a few words.
        told: In full, with what helps.
    """

    short: str
    told: str


def why_silent(case: Case, client: Flags) -> Cause | None:
    """Why a TCP connection stands still, from what is known of the path; None where nothing is."""
    checksums = client.get(ETHTOOL_NAMES["tx_checksum"])
    if not case.parameters.carries_offloads and checksums and checksums.active:
        remedy = ", or userspace_tso on" if case.path.kind == "ovs_dpdk" else ""
        return Cause(
            "checksums are left unfilled",
            f"with tx_checksum on, the sender leaves checksums to its device, and {case.path.kind} passes them on "
            f"unfilled: the receiver drops every segment, and TCP hangs; switch tx_checksum off at both ends{remedy}",
        )
    return None
