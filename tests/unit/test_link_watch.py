"""What the kernel tells of links, read; and when each of them turned."""

from types import SimpleNamespace

import pytest

from nvbench.stands.watch import Watch, link_is_up

UP = "[2026-11-23T09:22:34.918825] 6: nvv1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc fq_codel state UP"
DOWN = "[2026-11-23T09:22:29.789334] 6: nvv1: <NO-CARRIER,BROADCAST,MULTICAST,UP> mtu 1500 qdisc fq_codel state DOWN"


@pytest.mark.parametrize(
    ("line", "device", "up"),
    [
        (UP, "nvv1", True),
        (DOWN, "nvv1", False),
        ("[2026-11-23T09:18:22.515054] 2: eth0@if5: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500", "eth0", True),
        (UP, "nvv0", None),
        ("[2026-11-23T09:22:34.918825] Deleted 6: nvv1: <BROADCAST,MULTICAST> mtu 1500", "nvv1", None),
        ("RTNETLINK answers: Operation not permitted", "nvv1", None),
    ],
)
def test_a_line_of_ip_monitor(line, device, up) -> None:
    assert link_is_up(line, device) is up


def test_a_link_turns_where_it_was_otherwise_before() -> None:
    member = SimpleNamespace(name="vm1")
    watch = Watch([member])
    for up, line in ((True, "carrier 1"), (True, UP), (False, DOWN), (True, UP)):
        watch._note(member, up, line)
    changes = watch._seen["vm1"]
    assert watch.turned("vm1", False, changes[0].at) is changes[2]
    assert watch.turned("vm1", True, changes[0].at) is changes[3]  # the second only says again what was so
    assert watch.turned("vm1", False, changes[3].at) is None
    assert watch.last("vm1") is changes[3]
    assert [row.split(" s  ")[1].split()[0] for row in watch.timeline().splitlines()] == ["vm1"] * 4
