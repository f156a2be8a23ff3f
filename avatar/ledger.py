"""How much of what was released has been heard: the playout's accounts.

In: what each tick said; and, when that matters, how much of it the primary sink has not sent. Out: one `Finished` for
each segment, with the position up to which it was heard; and, on a pause, the ticks given back that nobody heard. It
knows samples and segments, and no clock, sink or picture.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from avatar.frames import SAMPLE_RATE_HZ, TICK_SAMPLES
from avatar.segment import Segment

LEDGER_TICKS = 64
"""How far back the primary sink's unsent sound may reach; sinks hold 60 ms, a stuck one may hold more."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a segment; exactly one for each."""

    segment: int
    position_s: float
    """How much of it the primary sink sent."""
    interrupted: bool


@dataclass(frozen=True, slots=True)
class _Speech:
    """What a past tick said: `samples` of the segment, from the tick's start."""

    segment: int | None
    samples: int


_NOTHING = _Speech(None, 0)


class Ledger:
    """One playout's. Every tick is entered once, as speech or as silence."""

    def __init__(self) -> None:
        self._ticks: deque[_Speech] = deque([_NOTHING], maxlen=LEDGER_TICKS)
        self._draining: deque[Segment] = deque()
        """Segments released to the end, of which the primary sink may hold a rest."""

    @property
    def speaking(self) -> bool:
        """Whether the last tick said anything."""
        return self._ticks[-1].samples > 0

    def spoke_last(self, segment: Segment) -> bool:
        """Whether the last tick was this segment's."""
        return self._ticks[-1].segment == segment.number

    def speech(self, segment: Segment, tick: int, samples: int) -> None:
        """This tick said so much of the segment, from the tick's start."""
        segment.released_to = tick * TICK_SAMPLES + samples
        self._ticks.append(_Speech(segment.number, samples))

    def silence(self) -> None:
        """This tick said nothing."""
        self._ticks.append(_NOTHING)

    def released(self, segment: Segment) -> None:
        """The segment has been released to its end; it ends once that has been sent."""
        self._draining.append(segment)

    def settle(self, sent: int) -> Iterator[Finished]:
        """End, one by one, the released segments whose last sample is among the ``sent`` of the media time line."""
        while self._draining and self._draining[0].released_to <= sent:
            yield _finished(self._draining.popleft(), 0)

    def cut(self, queue: Iterable[Segment], unsent: int) -> list[Finished]:
        """End all segments, the released ones and then ``queue``; of the last ``unsent`` samples nothing was heard."""
        missing: dict[int | None, int] = {}
        for speech in reversed(self._ticks):
            if unsent <= 0:
                break
            held = min(unsent, TICK_SAMPLES)
            unheard = max(0, speech.samples - (TICK_SAMPLES - held))
            missing[speech.segment] = missing.get(speech.segment, 0) + unheard
            unsent -= held
        ended = [*self._draining, *queue]
        self._draining.clear()
        self._ticks.append(_NOTHING)
        return [_finished(segment, missing.get(segment.number, 0)) for segment in ended]

    def take_back(self, segment: Segment, unsent: int) -> None:
        """Give the segment back every tick of its that ends among the last ``unsent`` samples, to be said again."""
        for place in range(1, -(-unsent // TICK_SAMPLES) + 1):
            if place > len(self._ticks) or self._ticks[-place].segment != segment.number:
                break
            self._ticks[-place] = _NOTHING
            segment.give_back()


def _finished(segment: Segment, unheard: int) -> Finished:
    played = segment.taken - unheard
    interrupted = not segment.ended or played < segment.pushed
    return Finished(segment.number, played / SAMPLE_RATE_HZ, interrupted)
