"""The puppet behind the renderer contract: pushes and requests in on the event loop, pictures out of one thread.

The loop's side counts samples, so it knows when a picture's audio is there; the thread's side owns the speech, the
listener and the drawing, and works off one queue in order. Each conversation has its own thread: conversations may
live on different event loops, one that closes takes its thread along, and none waits in another's queue. Drawing is
mostly OpenCV and numpy outside the interpreter lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2

from avatar.frames import TICK_SPEECH_SAMPLES, Pcm, Picture
from avatar.puppet import motion
from avatar.puppet.ear import LOOKAHEAD_MS, TrainedTracker
from avatar.puppet.look import Look
from avatar.puppet.motion import Mood
from avatar.puppet.mouth import REST, MouthTracker, calming, opening, shutting
from avatar.puppet.rig import Rig
from avatar.puppet.speech import Speech
from avatar.renderer import Expression, RendererError, Shot

LOOKAHEAD_SAMPLES = LOOKAHEAD_MS * TICK_SPEECH_SAMPLES // 40
LEAD_TICKS = 2
START_GRACE_MS = 120
CLOSE_TIMEOUT_S = 2.0
"""A drawing takes milliseconds; a thread that needs longer to stop is a fault worth reporting."""

Answer = asyncio.Future[Picture]


@dataclass(eq=False, slots=True)
class _Heard:
    """What the loop knows of a segment."""

    samples: int = 0
    ended: bool = False

    def covers(self, n: int) -> bool:
        return self.ended or self.samples >= TICK_SPEECH_SAMPLES * (n + 1) + LOOKAHEAD_SAMPLES


@dataclass(frozen=True, slots=True, eq=False)
class _Drawing:
    shot: Shot
    mood: Mood
    answer: Answer


class PuppetRenderer:
    """A drawn character that speaks any voice on one CPU core.

    Args:
        look: the persona's ``[look]`` section; see `Look`.
        size_px: side of the square picture, even, 256 to 1024.
        seed: which of many idle motions; equal seeds give equal pictures.
        new_tracker: makes the listener of one segment, with a lookahead of `LOOKAHEAD_MS`.

    The first renderer of a look and size paints it, which takes about a second: make it off the event loop. Later ones
    share the painting.

    Raises:
        LookError: the look has a field or value that is not accepted.
        RendererError: the size is not accepted.
    """

    def __init__(
        self,
        look: Mapping[str, Any],
        size_px: int = 512,
        seed: int = 0,
        new_tracker: Callable[[], MouthTracker] = TrainedTracker,
    ) -> None:
        cv2.setNumThreads(1)  # OpenCV's own pool would spread one small drawing over every core of the machine
        self._rig = Rig(Look.parse(look), size_px)
        self._size_px = size_px
        self._seed = seed
        self._still = Picture(self._rig.draw(motion.AT_REST, REST))
        self._speech = Speech(new_tracker)
        self._segments: dict[int, _Heard] = {}
        self._cleared = -1
        self._waiting: list[_Drawing] = []
        self._unanswered: set[Answer] = set()
        self._moods = motion.Moods()
        self._stopped: asyncio.Future[None] | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="puppet", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        return "puppet"

    @property
    def width(self) -> int:
        return self._size_px

    @property
    def height(self) -> int:
        return self._size_px

    @property
    def lookahead_ms(self) -> float:
        return LOOKAHEAD_MS

    @property
    def lead_ticks(self) -> int:
        return LEAD_TICKS

    @property
    def start_ticks(self) -> int:
        return 0

    @property
    def start_grace_ms(self) -> int:
        return START_GRACE_MS

    @property
    def still(self) -> Picture:
        return self._still

    def push(self, segment: int, pcm: Pcm) -> None:
        if segment <= self._cleared:
            return  # what was cleared stays cleared, however late its audio comes
        heard = self._segments.setdefault(segment, _Heard())
        if heard.ended:
            raise RendererError(f"segment {segment} has ended: push its audio before, or to a later segment")
        heard.samples += len(pcm)
        own = pcm.copy()
        self._jobs.put(lambda: self._speech.push(segment, own))
        self._draw_what_is_ready()

    def end(self, segment: int) -> None:
        if segment <= self._cleared:
            return
        self._segments.setdefault(segment, _Heard()).ended = True
        self._jobs.put(lambda: self._speech.end(segment))
        self._draw_what_is_ready()

    def clear(self, generation: int) -> None:
        self._cleared = max(self._segments, default=self._cleared)
        self._segments.clear()
        self._waiting.clear()
        for answer in list(self._unanswered):
            answer.cancel()
        self._jobs.put(self._speech.clear)

    def express(self, expression: Expression, tick: int) -> None:
        self._moods.express(expression, tick)

    def request(self, shot: Shot) -> Answer:
        answer: Answer = asyncio.get_running_loop().create_future()
        if self._stopped is not None:
            answer.cancel()
            return answer
        self._unanswered.add(answer)
        answer.add_done_callback(self._unanswered.discard)
        drawing = _Drawing(shot, self._moods.at(shot.tick), answer)
        if shot.segment is None:
            self._start(drawing)
        else:
            for older in [known for known in self._segments if known < shot.segment]:
                del self._segments[older]
            self._waiting.append(drawing)
            self._draw_what_is_ready()
        return answer

    async def aclose(self) -> None:
        if self._stopped is None:
            self.clear(0)
            self._stopped = asyncio.get_running_loop().create_future()
            self._jobs.put(None)
        try:
            await asyncio.wait_for(asyncio.shield(self._stopped), CLOSE_TIMEOUT_S)
        except TimeoutError:
            raise RendererError(f"the puppet's thread did not stop in {CLOSE_TIMEOUT_S} s: report this fault") from None
        self._thread.join()

    def _draw_what_is_ready(self) -> None:
        """Start the pictures whose audio has come; refuse those whose segment is gone; drop those nobody wants."""
        waiting = [drawing for drawing in self._waiting if not drawing.answer.done()]
        self._waiting.clear()
        for drawing in waiting:
            segment = drawing.shot.segment
            heard = self._segments.get(segment) if segment is not None else None
            if heard is None:
                drawing.answer.set_exception(RendererError(f"segment {segment} is not known: push its audio first"))
            elif heard.covers(drawing.shot.n):
                self._start(drawing)
            else:
                self._waiting.append(drawing)

    def _start(self, drawing: _Drawing) -> None:
        self._jobs.put(lambda: self._draw(drawing))

    def _work(self) -> None:
        """The thread: jobs in order, until None."""
        while (job := self._jobs.get()) is not None:
            job()
        stopped = self._stopped
        assert stopped is not None
        _tell(stopped, lambda: stopped.set_result(None))

    def _draw(self, drawing: _Drawing) -> None:
        """On the thread: one picture, or why there is none."""
        shot, answer = drawing.shot, drawing.answer
        if answer.cancelled():
            return
        try:
            picture = self._picture(shot, drawing.mood)
        except Exception as error:  # whatever went wrong in one picture must not end the thread that draws all others
            failure = error if isinstance(error, RendererError) else RendererError(f"picture {shot} failed: {error!r}")
            failure.__cause__ = None if failure is error else error
            _tell(answer, lambda: None if answer.done() else answer.set_exception(failure))
        else:
            _tell(answer, lambda: None if answer.done() else answer.set_result(picture))

    def _picture(self, shot: Shot, mood: Mood) -> Picture:
        if shot.segment is None:
            last = self._speech.last_mouth(shot.after)
            mouth, effort = shutting(last, shot.since), calming(last, shot.since)
        else:
            mouth = opening(self._speech.mouth(shot.segment, shot.n), shot.since)
            effort = mouth.effort
        return Picture(self._rig.draw(motion.pose(shot.tick, self._seed, mood, effort), mouth))


def _tell(future: asyncio.Future[Any], answer: Callable[[], None]) -> None:
    """Run ``answer`` on the future's loop; a loop that is closed has nobody left who waits."""
    with contextlib.suppress(RuntimeError):
        future.get_loop().call_soon_threadsafe(answer)
