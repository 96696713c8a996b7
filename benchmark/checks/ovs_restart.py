"""What does a restart of OVS cost its guests? Little where it is the client of their sockets, all where it serves them.

A switch that was killed leaves the sockets that it served, and its successor cannot bind to them any more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from nvbench.checks.fast_ping import FastPing, longest_gap, pinging
from nvbench.endpoint import LinkKind
from nvbench.stands import GUESTS, OVS, Check, Ground, Record, Stand, Wish, stand
from nvbench.stands.ovs_control import control

RECOVERY_S = 10.0
"""What it may take from the switch's start until frames pass again."""

STEADY = 15
"""Answers in a row that make it a connection."""

CONTROL_S = 20.0
"""What the first answers may take: guests have to learn addresses."""

RECONNECT_S = 2.5
"""A far end that is a client tries once a second."""

IN_THE_WAY = "Address already in use"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def act(made: Stand, record: Record) -> None:
    """A guest pings all others while the switch is killed and started again."""
    boots = boot_ids(made)
    with pings(made, record) as running:
        killed = time.time()
        made.switch.restart(0.0)
        started = time.time()
        judge_guests(made, record, boots)
        judge_recovery(record, running, killed, started)
    _refresh(made)


def _refresh(made: Stand) -> None:
    """Have the switch look at its ports once more: of one whose guest was there first its database tells no MTU."""
    for member in made.members:
        if member.link.kind is LinkKind.VHOST_USER:
            with made.levers.port_down(member.name):
                pass


@contextmanager
def pings(made: Stand, record: Record) -> Iterator[list[FastPing]]:
    """The first guest pings all others, who answer; how that went on is kept as evidence."""
    sender, *others = made.members
    began = time.time()
    with ExitStack() as stack:
        running = [stack.enter_context(pinging(sender, other)) for other in others]
        for ping in running:
            heard = ping.until(began, STEADY, CONTROL_S)
            told = f"{ping.name}: {'answered' if heard else 'no answer'} before anything is done"
            record.observe(heard, told, ping.answers[-1].line if ping.answers else "no answer at all")
        yield running
        for ping in running:
            record.keep(f"{ping.name}.txt", ping.timeline(began))


def judge_recovery(record: Record, running: Sequence[FastPing], killed: float, started: float) -> None:
    """Observe whether frames pass again soon enough after a start of the switch.

    Args:
        record: Where it is noted.
        running: The pings.
        killed: When the switch ended: Unix time.
        started: When it was up again.
    """
    rows = [["switch ends", "+0.00 s", "-"], ["switch is up again", f"+{started - killed:.2f} s", "-"]]
    for ping in running:
        back = ping.until(started, STEADY, RECOVERY_S)
        line = ping.answers[-1].line if ping.answers else "no answer at all"
        if not back:
            told = f"{ping.name}: no connection within {RECOVERY_S:g} s of the switch's start"
            record.observe(False, told, f"the last answer: {line}")
            rows.append([f"{ping.name} answered", "never", "-"])
            continue
        gap = longest_gap(ping.answers, killed)
        if gap is None:
            told = f"{ping.name}: no gap, from the switch's end on none of its pings was lost or late"
            record.observe(True, told, f"the last answer: {line}")
            rows.append([f"{ping.name} answered", "all the time", "0"])
            continue
        late_s = gap.first.at - started
        told = f"{ping.name}: answered again {gap.first.at - killed:.2f} s after the switch ended"
        told += f", {max(0.0, late_s):.2f} s after it was up again (at most {RECOVERY_S:g} s)"
        told += f"; {gap.lost} pings lost in {gap.seconds:.2f} s"
        record.observe(late_s <= RECOVERY_S, told, gap.first.line)
        rows.append([f"{ping.name} answered", f"+{gap.first.at - killed:.2f} s", f"{gap.lost}"])
    record.draw("The restart", ["what", "when", "pings lost"], rows)


def boot_ids(made: Stand) -> dict[str, str]:
    """What the kernel of each guest calls its boot."""
    return {name: (made.member(name).host.read(_BOOT_ID) or "").strip() for name in GUESTS}


def judge_guests(made: Stand, record: Record, before: dict[str, str]) -> None:
    """Observe whether the guests have gone on all the time."""
    after = boot_ids(made)
    same = [name for name in GUESTS if after[name] == before[name]]
    told = f"{' and '.join(same) or 'no guest'} went on through it, nobody touched them"
    quote = "; ".join(f"{name}: boot {before[name]}, now {after[name]}" for name in GUESTS)
    record.observe(len(same) == len(GUESTS), told, quote)


# -- server mode -----------------------------------------------------------------------------------------------


def act_as_server(ground: Ground, record: Record) -> None:
    """The same where the switch serves the sockets: what breaks, and what helps."""
    with stand(ground.bench, OVS, Wish(options={"vhost_mode": "server"})) as made:
        made.witnessed(record)
        try:
            break_and_mend(made, record)
        finally:
            made.witnessed(None)


def break_and_mend(made: Stand, record: Record) -> None:
    """Kill the switch and start it; then take away the sockets that are in its way, and start it once more."""
    first, second, *_ = made.members
    boots = boot_ids(made)
    with pings(made, record) as running:
        between = [ping for ping in running if ping.name == f"{first.name} to {second.name}"]
        already = len(control(made).log())
        started = _restart(made)
        heard = between[0].until(started, 1, RECONNECT_S)
        log = control(made).log()[already:]
        refused = next((line for line in log.splitlines() if IN_THE_WAY in line), "")
        _tell_what_broke(record, heard, refused)
        remove_sockets(made)
        killed = time.time()
        started = _restart(made)
        judge_guests(made, record, boots)
        judge_recovery(record, between, killed, started)
        record.keep("ovs-vswitchd.log", control(made).log())


def _restart(made: Stand) -> float:
    """Kill the switch and start it with its flows; when it was up again. Ports are not waited for: some never come."""
    control(made).restart(0.0)
    control(made).ofctl("add-flow", "nvbr0", "actions=NORMAL")
    return time.time()


def _tell_what_broke(record: Record, heard: bool, refused: str) -> None:
    """Note the state between the two restarts; either is how a build of OVS is, and no fault of the bench."""
    if heard:
        record.observe(True, "server mode: the guests are connected again after a restart, without any help", refused)
        return
    told = f"server mode, as it has to be expected: no ping is answered in {RECONNECT_S:g} s after the restart"
    record.observe(True, f"{told}; the switch cannot bind to the sockets that it left" if refused else told, refused)
    record.advise(
        "set vhost_mode: client (dpdkvhostuserclient): guests come back by themselves. Where the switch has to serve, "
        "remove its sockets before it starts; a QEMU whose chardev has no `reconnect` has to be stopped and started"
    )


def remove_sockets(made: Stand) -> None:
    """Take away what the switch has left, as somebody who comes to help does."""
    for member in made.members:
        if member.link.kind is LinkKind.VHOST_USER:
            made.place.host.remove(member.link.name)


OVS_RESTART = Check(
    name="ovs_restart",
    title="guests are connected again after OVS was restarted, as client of their sockets",
    cases={OVS: "4.1"},
    act=act,
    tags=("restart",),
)
OVS_RESTART_SERVER = Check(
    name="ovs_restart_server",
    title="what a restart of OVS breaks where it serves the sockets, and what helps",
    cases={OVS: ""},
    act=act_as_server,
    tags=("restart",),
    wish=Wish(alone=True),
    limit_s=90.0,
)
