"""Whatever is drawn from a pose and a mouth, behind the renderer contract: pushes and requests in, pictures out.

The loop's side knows when a picture's audio is there; the thread's side owns the speech, the listener and the drawing,
and works off one queue in order, but for idle pictures: they wait until nothing else does, since a voice may be waiting
for the picture of its first sound. Each conversation has its own thread: conversations may live on different event
loops, one that closes takes its thread along, and none waits in another's queue; they draw in turn where that is soon.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import cv2

from avatar.frames import Pcm, Picture, Planes
from avatar.puppet import motion
from avatar.puppet.acting import Actor
from avatar.puppet.ear import LOOKAHEAD_MS, TrainedTracker
from avatar.puppet.motion import Mood, Pose
from avatar.puppet.mouth import REST, Mouth, MouthTracker
from avatar.puppet.speech import Speech
from avatar.renderer import Expression, RendererError, Shot
from avatar.timeslice import short_slices
from avatar.waiting import Answer, Waiting

CLOSE_TIMEOUT_S = 2.0
"""A drawing takes milliseconds; a thread that needs longer to stop is a fault worth reporting."""
_drawing = threading.Lock()
"""Held by the conversation that draws, of all in a process. OpenCV and numpy give the interpreter lock up and take it
back some hundred times a picture; of two that are drawn at once each waits for the other, and the event loop for both,
every time. Three conversations on two cores took 0.87 cores so, with 3,700 to 8,800 context switches a second, and 0.70
with 2,200 to 3,200 where they took turns (means of 4 runs each)."""
TURN_S = 0.01
"""So long each waits for its turn, and not at all if its next picture is asked for already: while the event loop is
busy a picture may take 30 ms, and what three take one after another would come too late."""
UNTOLD_MOST = 100
"""So many pushes wait for a picture to be asked for: where none is, they are handed on without."""


class _Job(NamedTuple):
    """Something for the thread to do.

    Args:
        heard: comes first.
        draw: a picture, if one is asked for.
        idle: which can wait.
        last: end.
    """

    heard: list[Callable[[], None]]
    draw: Callable[[], None] | None = None
    idle: bool = False
    last: bool = False


class Rig(Protocol):
    """One conversation's figure; called from one thread at a time."""

    def draw(self, pose: Pose, mouth: Mouth) -> Planes:
        """I420, uint8 [height * 3 // 2, width]: a function of its arguments alone."""


class DrawnRenderer:
    """A figure that speaks any voice on one CPU core.

    Args:
        name: for health, logs and metrics.
        rig: draws it; belongs to this renderer from now on.
        seed: which of many idle motions; equal seeds give equal pictures.
        new_tracker: makes the listener of one segment, with a lookahead of `LOOKAHEAD_MS`.
    """

    lookahead_ms = float(LOOKAHEAD_MS)
    lead_ticks = 2
    start_ticks = 0
    start_grace_ms = 40
    """A picture takes 5 ms. Where that one is not there after a whole tick the machine is busy, and the voice is worth
    more than that its lips begin with it: they come one picture later."""

    def __init__(
        self, name: str, rig: Rig, seed: int = 0, new_tracker: Callable[[], MouthTracker] = TrainedTracker
    ) -> None:
        cv2.setNumThreads(1)  # OpenCV's own pool would spread one small drawing over every core of the machine
        self.name = name
        self._rig: Rig | None = rig
        self.still = Picture(rig.draw(motion.AT_REST, REST))
        self.width, self.height = self.still.width, self.still.height
        self._speech = Speech(new_tracker)
        self._actor = Actor(self._speech, seed)
        self._waiting = Waiting(self.lookahead_ms)
        self._moods = motion.Moods()
        self._stopped: asyncio.Future[None] | None = None
        self._untold: list[Callable[[], None]] = []
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def push(self, segment: int, pcm: Pcm) -> None:
        if self._waiting.push(segment, len(pcm)):
            own = pcm.copy()
            self._tell_next(lambda: self._speech.push(segment, own))
            self._waiting.serve()

    def end(self, segment: int) -> None:
        if self._waiting.end(segment):
            self._tell_next(lambda: self._speech.end(segment))
            self._waiting.serve()

    def clear(self, generation: int) -> None:
        self._waiting.clear()
        self._tell_next(self._speech.clear)

    def express(self, expression: Expression, tick: int) -> None:
        self._moods.express(expression, tick)

    def request(self, shot: Shot) -> Answer:
        mood = self._moods.at(shot.tick)
        idle = shot.segment is None
        return self._waiting.request(shot, lambda answer: self._do(lambda: self._draw(shot, mood, answer), idle=idle))

    async def aclose(self) -> None:
        if self._stopped is None:
            self._waiting.close()
            self._stopped = asyncio.get_running_loop().create_future()
            self._do(last=True)
        try:
            await asyncio.wait_for(asyncio.shield(self._stopped), CLOSE_TIMEOUT_S)
        except TimeoutError:
            raise RendererError(
                f"the {self.name}'s thread did not stop in {CLOSE_TIMEOUT_S} s: report this fault"
            ) from None
        self._thread.join()

    def _tell_next(self, heard: Callable[[], None]) -> None:
        """Have the thread know before its next picture. To wake it for each push would have it fight the event loop for
        the interpreter where that is busiest: a long reply's first seconds bring a hundred of them."""
        self._untold.append(heard)
        if len(self._untold) >= UNTOLD_MOST:
            self._do()

    def _do(self, draw: Callable[[], None] | None = None, *, idle: bool = False, last: bool = False) -> None:
        untold, self._untold = self._untold, []
        self._jobs.put(_Job(untold, draw, idle, last))

    def _work(self) -> None:
        """The thread: jobs in order, those of idle pictures last, until the last."""
        short_slices()
        idle: deque[Callable[[], None]] = deque()
        while True:
            try:
                job = self._jobs.get(block=not idle)
            except queue.Empty:
                idle.popleft()()
                continue
            for heard in job.heard:
                heard()
            if job.last:
                break
            if job.draw is None:
                continue
            if job.idle:
                idle.append(job.draw)
            else:
                job.draw()
        # A conversation that ended lives on in cycles until the collector comes; what draws must not: 4 MB at 512 px.
        self._rig = None
        stopped = self._stopped
        assert stopped is not None
        _tell(stopped, lambda: stopped.set_result(None))

    def _draw(self, shot: Shot, mood: Mood, answer: Answer) -> None:
        """On the thread: one picture, or why there is none."""
        if answer.cancelled():
            return
        try:
            picture = self._picture(shot, mood)
        except Exception as error:  # whatever went wrong in one picture must not end the thread that draws all others
            failure = error if isinstance(error, RendererError) else RendererError(f"picture {shot} failed: {error!r}")
            failure.__cause__ = None if failure is error else error
            _tell(answer, lambda: None if answer.done() else answer.set_exception(failure))
        else:
            _tell(answer, lambda: None if answer.done() else answer.set_result(picture))

    def _picture(self, shot: Shot, mood: Mood) -> Picture:
        assert self._rig is not None, "it was closed"
        with _turn(TURN_S if self._jobs.empty() else 0.0):
            return Picture(self._rig.draw(*self._actor.play(shot, mood)))


@contextlib.contextmanager
def _turn(wait_s: float) -> Iterator[None]:
    """Draw alone, or beside others who have not finished after so long."""
    alone = _drawing.acquire(timeout=wait_s)
    try:
        yield
    finally:
        if alone:
            _drawing.release()


def _tell(future: asyncio.Future[Any], answer: Callable[[], None]) -> None:
    """Run ``answer`` on the future's loop; a loop that is closed has nobody left who waits."""
    with contextlib.suppress(RuntimeError):
        future.get_loop().call_soon_threadsafe(answer)
