"""Renderers whose pictures say what they are of, prompt or hostile.

A picture's first bytes hold the shot, so that tests read back what a viewer saw.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import numpy as np

from avatar.frames import TICK_SPEECH_SAMPLES, Pcm, Picture
from avatar.renderer import Expression, RendererError, Shot

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


class ScriptedRenderer:
    """Answers each shot after ``latency(shot)`` seconds, once its audio has come.

    Args:
        latency: seconds from the moment that everything needed is there; None never answers.
        fails: shots for which the answer is an error.
    """

    name = "scripted"
    width = height = 16
    still = shot_picture(Shot(0xFFFFFFFF), 0)

    def __init__(
        self,
        *,
        lookahead_ms: float = 0.0,
        lead_ticks: int = 2,
        start_ticks: int = 0,
        start_grace_ms: int = 120,
        latency: Callable[[Shot], float | None] = lambda shot: 0.0,
        fails: Callable[[Shot], bool] = lambda shot: False,
    ) -> None:
        self.lookahead_ms = lookahead_ms
        self.lead_ticks = lead_ticks
        self.start_ticks = start_ticks
        self.start_grace_ms = start_grace_ms
        self.requests: list[Shot] = []
        self.expressions: list[tuple[Expression, int]] = []
        self.broken = False
        """Every call raises."""
        self._latency = latency
        self._fails = fails
        self._audio: dict[int, list[Pcm]] = {}
        self._ended: set[int] = set()
        self._waiting: list[tuple[Shot, asyncio.Future[Picture]]] = []

    def push(self, segment: int, pcm: Pcm) -> None:
        self._check()
        self._audio.setdefault(segment, []).append(pcm)
        self._serve()

    def end(self, segment: int) -> None:
        self._check()
        self._ended.add(segment)
        self._serve()

    def clear(self, generation: int) -> None:
        self._check()
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()
        self._audio.clear()
        self._ended.clear()

    def express(self, expression: Expression, tick: int) -> None:
        self._check()
        self.expressions.append((expression, tick))

    def request(self, shot: Shot) -> asyncio.Future[Picture]:
        self._check()
        self.requests.append(shot)
        future: asyncio.Future[Picture] = asyncio.get_running_loop().create_future()
        self._waiting.append((shot, future))
        self._serve()
        return future

    async def aclose(self) -> None:
        for _, future in self._waiting:
            future.cancel()

    def heard(self, segment: int) -> Pcm:
        """All that came of a segment, at 16 kHz."""
        return np.concatenate([np.zeros(0, np.int16), *self._audio.get(segment, [])])

    def _check(self) -> None:
        if self.broken:
            raise RuntimeError("the renderer is broken")

    def _serve(self) -> None:
        still_waiting = []
        for shot, future in self._waiting:
            if future.done():
                continue
            if self._has_audio(shot):
                self._answer(shot, future)
            else:
                still_waiting.append((shot, future))
        self._waiting = still_waiting

    def _has_audio(self, shot: Shot) -> bool:
        if shot.segment is None or shot.segment in self._ended:
            return True
        came = sum(pcm.size for pcm in self._audio.get(shot.segment, []))
        return came >= TICK_SPEECH_SAMPLES * (shot.n + 1) + int(self.lookahead_ms * 16)

    def _answer(self, shot: Shot, future: asyncio.Future[Picture]) -> None:
        delay = self._latency(shot)
        if delay is None:
            return
        heard = int(np.abs(self.heard(shot.segment)).sum()) if shot.segment is not None else 0

        def resolve() -> None:
            if future.done():
                return
            if self._fails(shot):
                future.set_exception(RendererError(f"no picture for {shot}"))
            else:
                future.set_result(shot_picture(shot, heard))

        if delay > 0:
            asyncio.get_running_loop().call_later(delay, resolve)
        else:
            resolve()


def batching_renderer(seed: int = 0) -> ScriptedRenderer:
    """Like a shared GPU: 92.5 ms of lookahead, 30 to 90 ms to answer, now and then a stall of 300 ms."""
    draw = random.Random(seed)

    def latency(shot: Shot) -> float:
        return 0.3 if draw.random() < 0.02 else draw.uniform(0.03, 0.09)

    return ScriptedRenderer(lookahead_ms=92.5, lead_ticks=5, start_ticks=3, start_grace_ms=200, latency=latency)
