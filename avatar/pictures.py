"""Which picture a tick shows: asks the renderer ahead of time, takes what came, covers what did not.

In: the segments as they stand, tick by tick. Out: one picture a tick. A late speech picture is covered by the last one,
after 160 ms by a closing mouth, and when nothing at all comes any more by the still. A renderer's error costs pictures,
never more.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal, TypeVar

from avatar.frames import TICK_SAMPLES, Pcm, Picture
from avatar.renderer import Expression, Renderer, RendererError, Shot
from avatar.segment import Segment
from avatar.stats import Stats

logger = logging.getLogger(__name__)

REPEAT_TICKS = 4
"""How long a late picture is covered by the last one, before a mouth that eases shut is asked for."""
STILL_TICKS = 8
"""Without any new picture for this long the still is shown: no mouth hangs open."""
SINCE_MAX = 25
"""`Shot.since` counts no further; nothing eases longer than a second."""
TICKS_OFF, SINCE_OFF = 5, 2
"""A speech picture that was asked for is good though it is shown so many ticks later, or its run began so much earlier
or later, than was foreseen: a head moves little in that time. To ask anew each time that one is late would have a
renderer that is behind draw everything twice, and stay behind."""

Kind = Literal["fresh", "repeated", "closing", "still"]
"""What a tick showed: the picture meant for it, the last one again, the mouth easing shut, or the still."""

Place = tuple[int | None, int, int | None, tuple[int, int] | None]
"""What a shot is taken for: a segment and its picture; or of an idle one its tick, and how long after what it is."""

T = TypeVar("T")


class Pictures:
    """The renderer's only caller. ``current`` is what the viewer sees."""

    def __init__(self, renderer: Renderer, stats: Stats) -> None:
        self.current: Picture = renderer.still
        self._renderer = renderer
        self._stats = stats
        self._asked: dict[Place, tuple[Shot, asyncio.Future[Picture]]] = {}
        self._speech = False
        """Whether the picture shown is of speech."""
        self._run = 0
        """For how many ticks it has been of that kind."""
        self._after: tuple[int, int] | None = None
        """The last speech picture shown: (segment, n)."""
        self._missed = 0
        """Ticks in a row without the picture meant for them."""

    # -- speech on its way to the renderer

    def heard(self, segment: Segment, speech: Pcm) -> None:
        """Pass on a segment's new speech (16 kHz)."""
        if speech.size:
            self._guarded(lambda: self._renderer.push(segment.number, speech))

    def ended(self, segment: Segment) -> None:
        self._guarded(lambda: self._renderer.end(segment.number))

    def cleared(self, generation: int) -> None:
        self._guarded(lambda: self._renderer.clear(generation))

    def express(self, expression: Expression, tick: int) -> None:
        """Change the expression from the first tick that has not been asked for."""
        self._guarded(lambda: self._renderer.express(expression, tick + self._renderer.lead_ticks))

    # -- asking ahead

    def plan(self, tick: int, queue: Iterable[Segment], *, paused: bool) -> None:
        """Ask for the pictures from ``tick`` on as things stand now, and take back what is wanted no more."""
        wanted = {_place(shot): shot for shot in self._wanted(tick, queue, paused=paused)}
        for place, (asked, _) in list(self._asked.items()):
            if place not in wanted or _far(asked, wanted[place]):
                self._asked.pop(place)[1].cancel()
        for place, shot in wanted.items():
            if place not in self._asked:
                future = self._guarded(lambda shot=shot: self._renderer.request(shot))  # type: ignore[misc]
                if future is not None:
                    self._asked[place] = shot, future

    def _wanted(self, first: int, queue: Iterable[Segment], *, paused: bool) -> dict[Shot, None]:
        """The shots of the next ``lead_ticks`` ticks, in order, if everything comes in time from now on."""
        wanted: dict[Shot, None] = {}
        speech, run, after = self._speech, self._run, self._after
        waiting = deque((segment, segment.taken) for segment in queue)
        for tick in range(first, first + self._renderer.lead_ticks):
            while waiting and waiting[0][0].exhausted_at(waiting[0][1]):
                waiting.popleft()
            segment, taken = waiting[0] if waiting else (None, 0)
            if segment is not None and (
                paused or not segment.has_tick_at(taken) or not (segment.started or tick >= segment.start_tick)
            ):
                segment = None
            if segment is None:
                wanted[_idle_shot(tick, 0 if speech else run, after)] = None
            else:
                n = taken // TICK_SAMPLES
                wanted[_speech_shot(tick, segment, n, run if speech else 0)] = None
                # What covers for it if it does not come, nor any before it. Once speech has started it is asked for no
                # sooner than it is needed: it takes a renderer as long as the picture itself, and one that is behind
                # would stay behind.
                if not segment.started or (self._missed >= REPEAT_TICKS and tick == first):
                    wanted[_idle_shot(tick, 0 if self._speech else self._run + tick - first, self._after)] = None
                waiting[0] = (segment, taken + TICK_SAMPLES)
                after = (segment.number, n)
            speaks = segment is not None
            run = run + 1 if speech == speaks else 1
            speech = speaks
        return wanted

    async def ready(self, tick: int) -> None:
        """Wait until everything asked for this tick has been answered."""
        pending = [future for shot, future in self._asked.values() if shot.tick <= tick]
        if pending:
            await asyncio.wait(pending)

    def first(self, tick: int, segment: Segment) -> asyncio.Future[Picture] | None:
        """A segment's first picture, if it was asked for and none after it will be wanted sooner than was
        foreseen. Once that is done, failed or not, the voice need not wait for it."""
        asked = self._asked.get(_place(_speech_shot(tick, segment, 0, 0)))
        return asked[1] if asked is not None and asked[0].tick <= tick else None

    # -- at the tick

    def choose(self, tick: int, segment: Segment | None) -> Kind:
        """Make ``current`` the picture of this tick; ``segment`` is the one whose sound was just taken."""
        idle = self._answer(_idle_shot(tick, 0 if self._speech else self._run, self._after))
        if segment is None:
            if idle is not None:
                self._show(idle, speech=False)
                return "fresh"
        else:
            n = segment.picture
            picture = self._answer(_speech_shot(tick, segment, n, 0))
            if picture is not None:
                self._after = (segment.number, n)
                self._show(picture, speech=True)
                return "fresh"
            self._stats.late += 1
            if idle is not None and (not self._speech or self._missed >= REPEAT_TICKS):
                missed = self._missed
                self._show(idle, speech=False)
                self._missed = missed + 1
                return "closing"
        self._missed += 1
        self._run += 1
        self._stats.repeated += 1
        if self._missed < STILL_TICKS:
            return "repeated"
        self.current = self._renderer.still
        self._speech = False
        return "still"

    def _show(self, picture: Picture, *, speech: bool) -> None:
        self._run = self._run + 1 if self._speech == speech else 1
        self._speech = speech
        self._missed = 0
        self._stats.fresh += 1
        self.current = picture

    def _answer(self, shot: Shot) -> Picture | None:
        """The picture for a shot, if it is there."""
        _, future = self._asked.pop(_place(shot), (None, None))
        if future is None:
            return None
        if not future.done():
            future.cancel()
            return None
        if future.cancelled():
            return None
        error = future.exception()
        if error is None:
            return future.result()
        self._failed(error)
        return None

    def close(self) -> None:
        """Take back everything that was asked for."""
        for _, future in self._asked.values():
            future.cancel()
        self._asked.clear()

    # -- the renderer fails

    def _guarded(self, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except Exception as error:  # whatever a renderer raises costs pictures only: the voice goes on
            self._failed(error)
            return None

    def _failed(self, error: BaseException) -> None:
        self._stats.renderer_errors += 1
        # Logged at 1, 2, 4, 8 …: a broken renderer must not flood the log 25 times a second.
        if self._stats.renderer_errors.bit_count() == 1:
            known = isinstance(error, RendererError)
            logger.error("renderer: %s", error, exc_info=None if known else error)


def _place(shot: Shot) -> Place:
    if shot.segment is None:
        return None, shot.tick, shot.since, shot.after
    return shot.segment, shot.n, None, None


def _far(asked: Shot, wanted: Shot) -> bool:
    """Too far from what is wanted now to be shown for it."""
    return abs(asked.tick - wanted.tick) > TICKS_OFF or abs(asked.since - wanted.since) > SINCE_OFF


def _speech_shot(tick: int, segment: Segment, n: int, since: int) -> Shot:
    return Shot(tick, segment.number, n, min(since, SINCE_MAX))


def _idle_shot(tick: int, since: int, after: tuple[int, int] | None) -> Shot:
    return Shot(tick, None, 0, min(since, SINCE_MAX), after if since < SINCE_MAX else None)
