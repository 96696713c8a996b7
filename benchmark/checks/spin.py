"""Polls the clock on some cores at once, and tells what each of them missed and how fast it went.

    nice -n -20 python3 - PIECES SECONDS CORE... < spin.py

A file on its own for any Python since 3.6: its text is handed to hosts that have no nvbench. Prints a line of JSON for
each core: the core, and for each piece of time its length in ns, the turns that were made, the ns that the core was
away, the longest gap in ns, and how many gaps were longer than 10 us, 100 us and 1 ms.
"""
# ruff: noqa: UP006, UP035 - notations that Python 3.6 does not know

import gc
import json
import os
import sys
import time
from typing import List

LONGER_NS = (10000, 100000, 1000000)
"""A turn takes some tenths of a microsecond: a gap of the shortest of these is none of the loop's own."""

HEAD_START_S = 0.1
"""All cores begin at once."""


def spin(nanoseconds: int) -> List[int]:
    """Look at the clock for so long."""
    clock, shortest = time.perf_counter, LONGER_NS[0] / 1e9
    gaps, turns = [], 0
    began = last = clock()
    end = began + nanoseconds / 1e9
    while last < end:
        now = clock()
        turns += 1
        if now - last > shortest:
            gaps.append(int((now - last) * 1e9))
        last = now
    counts = [sum(gap > longer for gap in gaps) for longer in LONGER_NS]
    return [int((last - began) * 1e9), turns, sum(gaps), max(gaps, default=0), *counts]


def main() -> None:
    """A process for each core, a line for each at the end."""
    pieces, seconds = int(sys.argv[1]), float(sys.argv[2])
    start = time.time() + HEAD_START_S
    children = []
    for core in map(int, sys.argv[3:]):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.sched_setaffinity(0, {core})
            gc.disable()
            spin(1000000)
            time.sleep(max(0.0, start - time.time()))
            found = [spin(int(seconds * 1e9)) for _ in range(pieces)]
            os.write(writer, json.dumps({"core": core, "pieces": found}).encode())
            os._exit(0)
        os.close(writer)
        children.append((child, reader))
    for child, reader in children:
        with os.fdopen(reader) as told:
            print(told.read())
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
