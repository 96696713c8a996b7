"""Which cores poll, and which do everything else: a pure function of a testbed and the cores online."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from nvbench.errors import NotReadyError
from nvbench.testbed import Testbed

GENERATOR_CORES = 2
"""As many as the generator takes by itself where there are enough: one sends, one receives."""

Online = Mapping[int, int]
"""Core -> NUMA node."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Who runs where.

    Attributes:
        generator_cores: Cores on which the generator polls, on the generator's host.
        housekeeping_core: Everything else of the generator, on the same host.
        pmd_cores: Cores on which the switch polls, on the switch's host.
        switch_housekeeping_core: Everything else of the switch, on the same host.
        warnings: What makes the numbers weaker than they look.
    """

    generator_cores: tuple[int, ...]
    housekeeping_core: int
    pmd_cores: tuple[int, ...]
    switch_housekeeping_core: int
    warnings: tuple[str, ...] = ()

    def describe(self) -> str:
        """One sentence."""
        rest = f"everything else on core {self.housekeeping_core}"
        if self.switch_housekeeping_core != self.housekeeping_core:
            rest = (
                f"the rest of the generator on core {self.housekeeping_core}, "
                f"the rest of the switch on core {self.switch_housekeeping_core}"
            )
        pmds, senders = _cores(self.pmd_cores), _cores(self.generator_cores)
        return f"The switch polls on {pmds}, the generator on {senders}, {rest}"


def place_cores(testbed: Testbed, online: Online, switch_online: Online | None = None) -> Placement:
    """Place generator, switch and housekeeping; what the testbed names stays, `auto` takes what is left.

    On one machine: housekeeping on the first core, the switch on the last, the generator beside it, all on one
    NUMA node. With two cores the generator shares the first with housekeeping; with one, all share it.

    Args:
        testbed: Names cores, or leaves them to this function.
        online: Core -> NUMA node, on the generator's host.
        switch_online: The same on the switch's host, if that is another machine.

    Raises:
        NotReadyError: A named core or node is not there, or none is.
    """
    generator, switch, together = testbed.generator, testbed.switch, switch_online is None
    far_online = online if switch_online is None else switch_online
    near_named = {*(generator.cores or ()), *_given(generator.housekeeping_core)}
    far_named = {*(switch.pmd_cores or ()), *_given(switch.housekeeping_core)}
    if not online or not far_online:
        raise NotReadyError("no core is online", place=testbed.name)
    _check_online(testbed, "generator", "cores", online)
    _check_online(testbed, "switch", "pmd_cores", far_online)

    far_node = _node(far_online, switch.numa, far_named, *((generator.numa, near_named) if together else ()))
    near_node = _node(online, generator.numa, near_named, *((far_node, ()) if together else ()))
    near, far = _on(online, near_node), _on(far_online, far_node)

    taken = far_named | near_named if together else far_named
    pmds = switch.pmd_cores or _last(far, taken, 1) or _last(far, set(generator.cores or ()), 1) or far[-1:]
    others = {*taken, *pmds} if together else near_named
    housekeeping = generator.housekeeping_core
    if housekeeping is None and together:
        housekeeping = switch.housekeeping_core
    if housekeeping is None:
        housekeeping = _first(near, others, pmds if together else ())
    switch_housekeeping = switch.housekeeping_core
    if switch_housekeeping is None:
        switch_housekeeping = housekeeping if together else _first(far, {*far_named, *pmds}, pmds)
    senders = generator.cores or _last(near, {*others, housekeeping}, GENERATOR_CORES) or (housekeeping,)
    found = Placement(senders, housekeeping, pmds, switch_housekeeping)
    warnings = (*_sharing(found, together), *_spanning(found, online, far_online, together))
    return replace(found, warnings=warnings)


def _given(core: int | None) -> tuple[int, ...]:
    return () if core is None else (core,)


def _check_online(testbed: Testbed, section: str, key: str, online: Online) -> None:
    """Every named core and node is there."""
    side = testbed.generator if section == "generator" else testbed.switch
    cores = testbed.generator.cores if section == "generator" else testbed.switch.pmd_cores
    named: list[tuple[tuple[str | int, ...], int]] = [
        ((section, key, index), core) for index, core in enumerate(cores or ())
    ]
    named += [((section, "housekeeping_core"), core) for core in _given(side.housekeeping_core)]
    for path, core in named:
        if core not in online:
            raise NotReadyError(
                f"{section}.{path[1]} names core {core}, which host {side.host} does not have online",
                place=testbed.place(*path),
                remedy=f"online: {_cores(online)}",
            )
    if side.numa is not None and side.numa not in online.values():
        raise NotReadyError(
            f"{section}.numa names node {side.numa}, which host {side.host} does not have",
            place=testbed.place(section, "numa"),
            remedy=f"nodes with cores: {', '.join(str(node) for node in sorted(set(online.values())))}",
        )


def _node(online: Online, *wishes: int | Collection[int] | None) -> int:
    """The first node wished for, by number or by cores on it; else the one with most cores."""
    for wish in wishes:
        if isinstance(wish, int):
            return wish
        if wish:
            return online[min(wish)]
    nodes = list(online.values())
    return max(sorted(set(nodes)), key=nodes.count)


def _on(online: Online, node: int) -> tuple[int, ...]:
    return tuple(sorted(core for core, its_node in online.items() if its_node == node))


def _last(cores: tuple[int, ...], taken: Collection[int], count: int) -> tuple[int, ...]:
    return tuple([core for core in cores if core not in taken][-count:])


def _first(cores: tuple[int, ...], taken: Collection[int], polling: Collection[int]) -> int:
    """The first core that nobody has, else the first on which the switch does not poll, else the first."""
    free = [core for core in cores if core not in taken] or [core for core in cores if core not in polling]
    return (free or list(cores))[0]


def _sharing(found: Placement, together: bool) -> Iterator[str]:
    senders, pmds, core = set(found.generator_cores), set(found.pmd_cores), found.housekeeping_core
    if together and senders | pmds == {core}:
        yield (
            f"Generator, switch and everything else share core {core}: this shows that the bench works; "
            "its rates and latencies are the kernel scheduler's, not the switch's"
        )
        return
    if together and senders & pmds:
        shared = _cores(senders & pmds)
        yield f"Generator and switch share {shared}: each waits for the other, rates say little"
    if core in senders:
        yield f"The generator shares core {core} with everything else: expect disturbed trials"
    rest = {found.switch_housekeeping_core, core} if together else {found.switch_housekeeping_core}
    if rest & pmds:
        yield f"The switch shares {_cores(rest & pmds)} with everything else: expect disturbed trials"


def _spanning(found: Placement, online: Online, far_online: Online, together: bool) -> Iterator[str]:
    near = {online[core] for core in found.generator_cores}
    far = {far_online[core] for core in found.pmd_cores}
    if together and len(near | far) > 1:
        yield f"Generator and switch span NUMA nodes {_cores(near | far, 'and')}: frames cross between them"
        return
    for who, nodes in (("The generator's", near), ("The switch's", far)):
        if len(nodes) > 1:
            yield f"{who} cores span NUMA nodes {_cores(nodes, 'and')}"


def _cores(cores: Iterable[int], word: str = "") -> str:
    """`core 3`, `cores 0-3, 8`; with a word only the numbers, joined by it."""
    numbers = sorted(set(cores))
    if word:
        return f" {word} ".join(str(number) for number in numbers)
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    text = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in ranges)
    return f"core {text}" if len(numbers) == 1 else f"cores {text}"
