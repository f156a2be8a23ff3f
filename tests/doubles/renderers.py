"""Renderers whose pictures say what they are of, prompt or hostile.

A picture's first bytes hold the shot, so that tests read back what a viewer saw.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable

import numpy as np

from avatar.frames import Pcm, Picture
from avatar.renderer import Expression, RendererError, Shot
from avatar.waiting import Answer, Waiting

_NO_SEGMENT = 0xFFFF


def shot_picture(shot: Shot, heard: int) -> Picture:
    """A 16 x 16 picture that holds its shot and a fingerprint of the audio it was made from."""
    planes = np.zeros((24, 16), np.uint8)
    segment = _NO_SEGMENT if shot.segment is None else shot.segment
    after = shot.after or (_NO_SEGMENT, _NO_SEGMENT)
    words = np.array([shot.tick, segment, shot.n, shot.since, after[0], after[1], heard & 0xFFFFFFFF], "<u4")
    planes.reshape(-1)[: words.nbytes] = words.view(np.uint8)
    return Picture(planes)


def read_shot(picture: Picture) -> Shot:
    words = picture.planes.reshape(-1)[:28].copy().view("<u4").tolist()
    segment = None if words[1] == _NO_SEGMENT else words[1]
    after = None if words[4] == _NO_SEGMENT else (words[4], words[5])
    return Shot(words[0], segment, words[2], words[3], after)


def drawn(shot: Shot, heard: Pcm) -> Picture:
    """`shot_picture` of a shot and all of its segment that has been heard."""
    return shot_picture(shot, int(np.abs(heard).sum()))


class ScriptedRenderer:
    """Answers each shot after ``latency(shot)`` seconds, once its audio has come.

    Args:
        latency: seconds from the moment that everything needed is there; None never answers.
        fails: shots for which the answer is an error.
        draw: the picture of a shot and all that was heard of its segment, at 16 kHz (nothing for an idle shot).
    """

    name = "scripted"

    def __init__(
        self,
        *,
        lookahead_ms: float = 0.0,
        lead_ticks: int = 2,
        start_ticks: int = 0,
        start_grace_ms: int = 120,
        latency: Callable[[Shot], float | None] = lambda shot: 0.0,
        fails: Callable[[Shot], bool] = lambda shot: False,
        draw: Callable[[Shot, Pcm], Picture] = drawn,
    ) -> None:
        self.lookahead_ms = lookahead_ms
        self.lead_ticks = lead_ticks
        self.start_ticks = start_ticks
        self.start_grace_ms = start_grace_ms
        self.still = draw(Shot(0xFFFFFFFF), np.zeros(0, np.int16))
        self.width, self.height = self.still.width, self.still.height
        self.requests: list[Shot] = []
        self.expressions: list[tuple[Expression, int]] = []
        self.broken = False
        """Every call raises."""
        self._latency = latency
        self._fails = fails
        self._draw = draw
        self._audio: dict[int, list[Pcm]] = {}
        self._waiting = Waiting(lookahead_ms)

    def push(self, segment: int, pcm: Pcm) -> None:
        self._check()
        if self._waiting.push(segment, pcm.size):
            self._audio.setdefault(segment, []).append(pcm)
            self._waiting.serve()

    def end(self, segment: int) -> None:
        self._check()
        if self._waiting.end(segment):
            self._waiting.serve()

    def clear(self, generation: int) -> None:
        self._check()
        self._waiting.clear()
        self._audio.clear()

    def express(self, expression: Expression, tick: int) -> None:
        self._check()
        self.expressions.append((expression, tick))

    def request(self, shot: Shot) -> Answer:
        self._check()
        self.requests.append(shot)
        return self._waiting.request(shot, lambda answer: self._answer(shot, answer))

    async def aclose(self) -> None:
        self._waiting.close()

    def heard(self, segment: int) -> Pcm:
        """All that came of a segment, at 16 kHz."""
        return np.concatenate([np.zeros(0, np.int16), *self._audio.get(segment, [])])

    def _check(self) -> None:
        if self.broken:
            raise RuntimeError("the renderer is broken")

    def _answer(self, shot: Shot, answer: Answer) -> None:
        delay = self._latency(shot)
        if delay is None:
            return
        picture = self._draw(shot, self.heard(shot.segment) if shot.segment is not None else np.zeros(0, np.int16))

        def resolve() -> None:
            if answer.done():
                return
            if self._fails(shot):
                answer.set_exception(RendererError(f"no picture for {shot}"))
            else:
                answer.set_result(picture)

        if delay > 0:
            asyncio.get_running_loop().call_later(delay, resolve)
        else:
            resolve()


class OneByOneRenderer(ScriptedRenderer):
    """Like a drawing thread: one picture after the other, passing over those that are wanted no more.

    Args:
        costs: seconds that a picture takes.
    """

    def __init__(self, costs: Callable[[Shot], float], *, lead_ticks: int = 2) -> None:
        super().__init__(lead_ticks=lead_ticks)
        self._costs = costs
        self._line: deque[tuple[Shot, Answer]] = deque()
        self._drawing = False

    def _answer(self, shot: Shot, answer: Answer) -> None:
        self._line.append((shot, answer))
        if not self._drawing:
            self._next()

    def _next(self) -> None:
        while self._line and self._line[0][1].done():
            self._line.popleft()
        self._drawing = bool(self._line)
        if self._drawing:
            shot, answer = self._line.popleft()
            asyncio.get_running_loop().call_later(self._costs(shot), self._drawn, shot, answer)

    def _drawn(self, shot: Shot, answer: Answer) -> None:
        super()._answer(shot, answer)
        self._next()


def batching_renderer(seed: int = 0) -> ScriptedRenderer:
    """Like a shared GPU: 92.5 ms of lookahead, 30 to 90 ms to answer, now and then a stall of 300 ms."""
    draw = random.Random(seed)

    def latency(shot: Shot) -> float:
        return 0.3 if draw.random() < 0.02 else draw.uniform(0.03, 0.09)

    return ScriptedRenderer(lookahead_ms=92.5, lead_ticks=5, start_ticks=3, start_grace_ms=200, latency=latency)
