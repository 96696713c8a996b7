"""The Open vSwitch of a stand itself, for checks that are about it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nvbench.datapaths.ovs_dpdk import OvsDpdk
from nvbench.errors import NotPossibleError

if TYPE_CHECKING:
    from nvbench.datapaths.ovs_instance import OvsInstance
    from nvbench.stands.stand import Stand


def control(stand: Stand) -> OvsInstance:
    """Its database, its tools and its log.

    Raises:
        NotPossibleError: The stand's switch is another.
    """
    if not isinstance(stand.switch, OvsDpdk):
        raise NotPossibleError(f"{stand.path}: its switch is no Open vSwitch")
    return stand.switch.control
