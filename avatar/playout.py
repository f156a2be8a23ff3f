"""The clock of the conversation: pairs each 40 ms of speech with its picture and releases both to all sinks.

In: speech by segment (`push`, `end`), interruptions (`clear`), `pause` and `resume`, from the event loop of the
conversation. Out: one `Frame` a tick to every sink, always picture and sound; and, for each segment, one `Started` (if
any of it was released) and exactly one `Finished`, with how much of it the primary sink really sent.

Sound leads. A segment starts when its first picture is ready, or when the renderer's grace for it is over; from then
on sound never waits for a picture.

This file does not know what draws, what encodes or who listens.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from avatar.frames import SAMPLE_RATE_HZ, TICK_MS, TICK_SAMPLES, Frame, Pcm, Picture, Sink, SinkClosed
from avatar.ledger import Finished as Finished
from avatar.ledger import Ledger
from avatar.pictures import Kind, Pictures
from avatar.renderer import Expression, Renderer
from avatar.segment import Segment
from avatar.stats import Stats

logger = logging.getLogger(__name__)

TICK_S = TICK_MS / 1000
CATCH_UP_S = 0.12
"""A stall up to this long is caught up tick by tick; after a longer one the clock starts anew from now."""
FIRST_HOLD_S = 0.016
"""A tick comes so much later at most, in a silence, if the first picture of a voice is there by then: the voice would
have to wait for a whole tick else. Less than what a sink holds besides the tick (LiveKit's queue: 20 ms)."""
FADE_SAMPLES = SAMPLE_RATE_HZ // 100

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Started:
    """The first sound of a segment was released; times are of the playout's clock, in seconds."""

    segment: int
    tick: int
    pushed_at: float
    released_at: float
    fresh: bool
    """Whether its first picture was there (else the renderer's grace was over)."""


@dataclass(frozen=True, slots=True)
class TickReport:
    """What one tick did, for metrics and benchmarks."""

    tick: int
    late_ms: float
    segment: int | None
    position_s: float
    """Up to where the segment has been released; 0 without one."""
    picture: Kind


class Listener(Protocol):
    """Told of what happens, on the event loop, inside the call that makes it happen."""

    def on_started(self, event: Started) -> None: ...

    def on_finished(self, event: Finished) -> None: ...


class Playout:
    """One conversation's clock. Everything runs on one event loop; nothing here blocks.

    Args:
        renderer: draws the pictures; its errors cost pictures, never sound. Its owner closes it.
        listener: told of starts and ends.
        clock: seconds, monotonic; the running loop's by default. Offline rendering passes the media time.
    """

    def __init__(
        self, renderer: Renderer, *, listener: Listener | None = None, clock: Callable[[], float] | None = None
    ) -> None:
        self.stats = Stats()
        self.on_tick: Callable[[TickReport], None] | None = None
        self._renderer = renderer
        self._pictures = Pictures(renderer, self.stats)
        self._listener = listener
        self._clock = clock or asyncio.get_running_loop().time
        self._sinks: list[Sink] = []
        self._primary: Sink | None = None
        self._generation = 0
        self._tick = 0
        self._paused = False
        self._next_segment = 0
        self._queue: deque[Segment] = deque()
        """Segments that still have something to release, or are still open."""
        self._ledger = Ledger()
        self._cut: tuple[Pcm, list[Sink]] | None = None
        """After an interruption: the fade, and the sinks that had nothing unsent to fade themselves."""
        self._last_sample = 0
        self._fade_in = False
        self._room = asyncio.Event()

    @property
    def generation(self) -> int:
        return self._generation

    @property
    def tick(self) -> int:
        """The next tick to be released."""
        return self._tick

    @property
    def speaking(self) -> bool:
        """Whether speech was released in the last tick."""
        return self._ledger.speaking

    def attach(self, sink: Sink, *, primary: bool = False) -> None:
        """Feed this sink from the next tick on. The primary sink tells how much has been heard."""
        sink.clear(self._generation)
        self._sinks.append(sink)
        if primary:
            self._primary = sink

    def detach(self, sink: Sink) -> None:
        """Feed it no more. What a gone primary sink had not sent counts as sent, so that no end is ever missing."""
        if sink in self._sinks:
            self._sinks.remove(sink)
        if self._primary is sink:
            self._primary = None

    # -- what is said

    def push(self, pcm: Pcm) -> int:
        """Add speech to the open segment, or open one.

        Args:
            pcm: int16 [any length] at 48 kHz.

        Returns:
            The segment's number.
        """
        segment = self._queue[-1] if self._queue and not self._queue[-1].ended else self._open()
        needed = TICK_SAMPLES + self._renderer.lookahead_ms * SAMPLE_RATE_HZ / 1000
        speech = segment.push(pcm, self._clock(), self._tick + self._renderer.start_ticks, needed)
        self._pictures.heard(segment, speech)
        self._plan()
        return segment.number

    def end(self) -> None:
        """The open segment is complete; without one nothing happens."""
        if not self._queue or self._queue[-1].ended:
            return
        segment = self._queue[-1]
        segment.end(self._clock(), self._tick + self._renderer.start_ticks)
        self._pictures.ended(segment)
        self._plan()

    def clear(self) -> None:
        """Interrupt: from this call on nothing of what was said before is released, and every segment has ended."""
        self._generation += 1
        self.stats.interruptions += 1
        cut = self._queue[0] if self._queue and self._ledger.spoke_last(self._queue[0]) else None
        unsent, sharp = 0, []
        for sink in list(self._sinks):
            held = self._to_sink(sink, lambda sink=sink: sink.clear(self._generation))  # type: ignore[misc]
            if sink is self._primary:
                unsent = held or 0
            if not held:
                sharp.append(sink)
        self._cut = (self._fade_out(cut), sharp) if self.speaking and sharp else None
        self._end_all(unsent)
        self._plan()

    def pause(self) -> None:
        """Hold the position, at once; the mouth closes, the face lives on. It outlasts ``clear``."""
        if not self._paused:
            self._take_back()
        self._paused = True
        self._plan()

    def resume(self) -> None:
        """Go on where ``pause`` held."""
        self._paused = False
        self._plan()

    def express(self, expression: Expression) -> None:
        """Change what the face does around its speech."""
        self._pictures.express(expression, self._tick)

    @property
    def ahead_s(self) -> float:
        """How much speech waits to be released."""
        return sum(segment.waiting for segment in self._queue) / SAMPLE_RATE_HZ

    async def room(self, ahead_s: float) -> None:
        """Wait until at most ``ahead_s`` of speech waits, or until the next ``clear``."""
        generation = self._generation
        while self.ahead_s > ahead_s and self._generation == generation:
            self._room.clear()
            await self._room.wait()

    # -- the clock

    async def run(self) -> None:
        """Release a tick every 40 ms until cancelled."""
        origin, first = self._clock(), self._tick
        while True:
            due = origin + (self._tick - first) * TICK_S
            # Even a tick that is already due yields once, so that catching up cannot starve the loop.
            await asyncio.sleep(max(0.0, due - self._clock()))
            if (coming := self._first_picture()) is not None:
                await asyncio.wait([coming], timeout=max(0.0, due + FIRST_HOLD_S - self._clock()))
            late_s = max(0.0, self._clock() - due)
            if late_s > CATCH_UP_S:
                origin += late_s
                self.stats.stalls += 1
            self.advance(late_s=late_s)

    def _first_picture(self) -> asyncio.Future[Picture] | None:
        """What a voice that comes out of a silence waits for, if all but its first picture is there."""
        segment = self._queue[0] if self._queue and not self._paused else None
        if segment is None or segment.started or self.speaking:
            return None
        return self._pictures.first(self._tick, segment) if segment.drawable_at is not None else None

    async def ready(self) -> None:
        """Wait until every picture asked for the next tick has been answered (offline rendering)."""
        await self._pictures.ready(self._tick)

    def advance(self, *, late_s: float = 0.0) -> None:
        """Release the next tick to all sinks."""
        self._settle()
        segment = self._due()
        sound = self._silence() if segment is None else self._speech(segment)
        kind = self._pictures.choose(self._tick, segment)
        if segment is not None and not segment.announced:
            segment.announced = True
            if self._listener is not None:
                event = Started(segment.number, self._tick, segment.pushed_at, self._clock(), kind == "fresh")
                self._listener.on_started(event)
        frame = Frame(self._tick, self._generation, self._pictures.current, sound)
        self._tick += 1
        self.stats.ticks += 1
        tail, sharp = self._cut or (None, [])
        self._cut = None
        for sink in list(self._sinks):
            own = replace(frame, sound=_led_by(tail, sound)) if tail is not None and sink in sharp else frame
            self._to_sink(sink, lambda sink=sink, own=own: sink.put(own))  # type: ignore[misc]
        if self.on_tick is not None:
            self.on_tick(self._report(frame.tick, late_s, segment, kind))
        self._room.set()
        self._plan()

    def _report(self, tick: int, late_s: float, segment: Segment | None, kind: Kind) -> TickReport:
        number, taken = (segment.number, segment.taken) if segment is not None else (None, 0)
        return TickReport(tick, late_s * 1000, number, taken / SAMPLE_RATE_HZ, kind)

    def close(self) -> None:
        """End every segment (as interrupted) and let go of sinks and pictures."""
        self.clear()
        self._pictures.close()
        self._sinks.clear()
        self._primary = None

    # -- one tick, step by step

    def _settle(self) -> None:
        """End the segments whose last sample the primary sink has sent."""
        for event in self._ledger.settle(self._tick * TICK_SAMPLES - self._unsent()):
            self._finish(event)

    def _due(self) -> Segment | None:
        """The segment that speaks in this tick."""
        while self._queue and self._queue[0].exhausted:
            self._ledger.released(self._queue.popleft())
            self._settle()
        if self._paused or not self._queue:
            return None
        segment = self._queue[0]
        if not segment.has_tick:
            if segment.started and not segment.dry:
                segment.dry = True
                self.stats.dry += 1
            return None
        if not segment.started:
            first, renderer = self._pictures.first(self._tick, segment), self._renderer
            grace_over = segment.waited_enough(self._clock(), renderer.lookahead_ms, renderer.start_grace_ms)
            if not grace_over and (first is None or not first.done()):
                return None
            segment.started = True
        segment.dry = False
        return segment

    def _speech(self, segment: Segment) -> Pcm:
        """The segment's next 40 ms; silence fills up its last tick."""
        taken = segment.take_tick()
        sound = np.zeros(TICK_SAMPLES, np.int16)
        sound[: taken.size] = taken
        if self._fade_in:
            sound[:FADE_SAMPLES] = _ramped(sound[:FADE_SAMPLES], 0, 1)
        self._fade_in = False
        self._last_sample = int(sound[-1])
        self._ledger.speech(segment, self._tick, taken.size)
        return sound

    def _silence(self) -> Pcm:
        """40 ms of silence; where speech stops in mid-word (paused, run dry) it begins with the fade."""
        sound = np.zeros(TICK_SAMPLES, np.int16)
        if self.speaking and self._queue and self._queue[0].started:
            # The position does not move, so what fades out here is heard again, faded in, when speech goes on.
            self._fade_in = True
            sound = _led_by(self._fade_out(self._queue[0]), sound)
        self._ledger.silence()
        return sound

    def _fade_out(self, segment: Segment | None) -> Pcm:
        """10 ms on from the last sample released: the segment's own next ones, or what is left of the last."""
        coming = segment.peek(FADE_SAMPLES) if segment is not None else None
        if coming is None or not coming.size:
            coming = np.full(FADE_SAMPLES, self._last_sample, np.int16)
        return _ramped(coming, 1, 0)

    def _plan(self) -> None:
        self._pictures.plan(self._tick, self._queue, paused=self._paused)

    # -- segments

    def _open(self) -> Segment:
        segment = Segment(self._next_segment)
        self._next_segment += 1
        self.stats.segments += 1
        self._queue.append(segment)
        return segment

    def _end_all(self, unsent: int) -> None:
        """End all segments; of the last ``unsent`` samples released nothing was heard."""
        events = self._ledger.cut(self._queue, unsent)
        self._queue.clear()
        self._fade_in = False
        self._last_sample = 0
        self._pictures.cleared(self._generation)
        self._room.set()
        for event in events:
            self._finish(event)

    def _take_back(self) -> None:
        """Silence what the primary sink has not sent, and keep the ticks that it was part of for the resume."""
        segment = self._queue[0] if self._queue else None
        unsent = self._unsent()
        if segment is None or not unsent or not self._ledger.spoke_last(segment):
            return
        for sink in list(self._sinks):
            self._to_sink(sink, lambda sink=sink: sink.clear(self._generation))  # type: ignore[misc]
        self._ledger.take_back(segment, unsent)
        self._fade_in = True

    def _finish(self, event: Finished) -> None:
        if self._listener is not None:
            self._listener.on_finished(event)

    # -- the sinks

    def _unsent(self) -> int:
        sink = self._primary
        return (self._to_sink(sink, sink.unsent) or 0) if sink is not None else 0

    def _to_sink(self, sink: Sink, call: Callable[[], T]) -> T | None:
        """Hand something to a sink. One that fails is detached; the conversation and the others do not notice."""
        try:
            return call()
        except SinkClosed as error:
            logger.info("sink %s closed: %s", sink.name, error)
        except Exception:  # a sink is somebody else's code: whatever it raises must not stop the clock
            logger.exception("sink %s failed and was detached", sink.name)
        self.stats.sinks_lost += 1
        self.detach(sink)
        return None


def _ramped(pcm: Pcm, start: float, stop: float) -> Pcm:
    return (pcm * np.linspace(start, stop, pcm.size, endpoint=False)).astype(np.int16)


def _led_by(head: Pcm, sound: Pcm) -> Pcm:
    """``sound`` with ``head`` mixed into its first samples."""
    mixed = sound.astype(np.int32)
    mixed[: head.size] += head
    return np.clip(mixed, -32768, 32767).astype(np.int16)
