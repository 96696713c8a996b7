"""Functional checks, a file each, in the order of the test plan."""

from nvbench.checks.address_reuse import ADDRESS_REUSE
from nvbench.checks.connectivity import CONNECTIVITY
from nvbench.checks.description import DESCRIPTION
from nvbench.checks.flooding import FLOODING
from nvbench.checks.hugepages import HUGEPAGES
from nvbench.checks.interrupts import INTERRUPTS
from nvbench.checks.interwork import INTERWORK
from nvbench.checks.isolation import ISOLATION
from nvbench.checks.link_state import LINK_STATE
from nvbench.checks.mtu import MTU
from nvbench.checks.mtu_path import MTU_PATH
from nvbench.checks.multi_queue import MULTI_QUEUE
from nvbench.checks.multicast import MULTICAST
from nvbench.checks.netperf import NETPERF
from nvbench.checks.noise import NOISE
from nvbench.checks.numa import NUMA
from nvbench.checks.offload_mismatch import OFFLOAD_MISMATCH
from nvbench.checks.ovs_crash import OVS_CRASH
from nvbench.checks.ovs_restart import OVS_RESTART, OVS_RESTART_SERVER
from nvbench.checks.ovs_setup import OVS_SETUP
from nvbench.checks.performance import FORWARDING, QUALITY
from nvbench.checks.rate_limit import RATE_LIMIT
from nvbench.checks.shared_port import SHARED_PORT
from nvbench.checks.versions import VERSIONS
from nvbench.checks.vlan_tags import VLAN_TAGS
from nvbench.checks.vlan_translation import VLAN_TRANSLATION
from nvbench.checks.vlan_transparency import VLAN_TRANSPARENCY
from nvbench.checks.vm_setup import VM_SETUP
from nvbench.stands import Check

CHECKS: tuple[Check, ...] = (
    DESCRIPTION,
    VERSIONS,
    HUGEPAGES,
    INTERRUPTS,
    NOISE,
    OVS_SETUP,
    VM_SETUP,
    CONNECTIVITY,
    LINK_STATE,
    SHARED_PORT,
    INTERWORK,
    MULTI_QUEUE,
    FLOODING,
    MULTICAST,
    ISOLATION,
    ADDRESS_REUSE,
    MTU,
    VLAN_TAGS,
    VLAN_TRANSPARENCY,
    VLAN_TRANSLATION,
    RATE_LIMIT,
    NUMA,
    MTU_PATH,
    OFFLOAD_MISMATCH,
    OVS_RESTART,
    OVS_RESTART_SERVER,
    OVS_CRASH,
    NETPERF,
    FORWARDING,
    QUALITY,
)
