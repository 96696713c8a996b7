"""Loss events: what a trial's timeline tells of when frames were lost."""

from __future__ import annotations

from collections.abc import Iterator

from nvbench.tables import LossEvent
from nvbench.trial import Timeline


def loss_events(timeline: Timeline, offset_s: float = 0.0) -> Iterator[LossEvent]:
    """Runs of intervals in which frames were lost, `offset_s` added to the time of each.

    Frames are counted in the interval in which they were sent: a run tells when the device was offered what it lost,
    to within an interval at either end.
    """
    first, lost_frames = 0, 0
    for index, lost in enumerate((*timeline.lost, 0)):
        if lost > 0:
            first = first if lost_frames else index
            lost_frames += lost
        elif lost_frames:
            at_s, duration_s = first * timeline.interval_s, (index - first) * timeline.interval_s
            yield LossEvent(offset_s + at_s, duration_s, lost_frames)
            lost_frames = 0
