"""Shots that wait for their audio: the half of the renderer contract that is the same whoever draws.

In: how many samples of each segment have come; and shots, each with the call that begins its picture. Out: that call,
once the shot's audio is there. Shots whose segment is gone are refused, cleared ones cancelled. It counts samples and
holds none. Everything runs on the conversation's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from avatar.frames import TICK_MS, TICK_SPEECH_SAMPLES, Picture
from avatar.renderer import RendererError, Shot

Answer = asyncio.Future[Picture]
Begin = Callable[[Answer], None]
"""Answers at once or later; an answer that is cancelled meanwhile must be left alone."""


@dataclass(eq=False, slots=True)
class _Heard:
    samples: int = 0
    ended: bool = False


class Waiting:
    """The shots of one renderer. Whoever pushes or ends calls `serve` when its own side has the audio."""

    def __init__(self, lookahead_ms: float = 0.0) -> None:
        self._lookahead_samples = round(lookahead_ms * TICK_SPEECH_SAMPLES / TICK_MS)
        self._segments: dict[int, _Heard] = {}
        self._cleared = -1
        self._shots: list[tuple[Shot, Answer, Begin]] = []
        self._unanswered: set[Answer] = set()
        self._closed = False

    def push(self, segment: int, samples: int) -> bool:
        """Count audio of a segment; False when it was cleared: what was cleared stays so, however late its audio comes.

        Raises:
            RendererError: the segment has ended.
        """
        if segment <= self._cleared:
            return False
        heard = self._segments.setdefault(segment, _Heard())
        if heard.ended:
            raise RendererError(f"segment {segment} has ended: push its audio before, or to a later segment")
        heard.samples += samples
        return True

    def end(self, segment: int) -> bool:
        """The segment is complete; False when it was cleared."""
        if segment <= self._cleared:
            return False
        self._segments.setdefault(segment, _Heard()).ended = True
        return True

    def clear(self) -> None:
        """Cancel every answer that has not been given, and forget all segments."""
        self._cleared = max(self._segments, default=self._cleared)
        self._segments.clear()
        self._shots.clear()
        for answer in list(self._unanswered):
            answer.cancel()

    def close(self) -> None:
        """Clear, and cancel whatever is requested from now on."""
        self.clear()
        self._closed = True

    def request(self, shot: Shot, begin: Begin) -> Answer:
        """A shot's answer; ``begin`` is called now or once its audio has come. Earlier segments are forgotten."""
        answer: Answer = asyncio.get_running_loop().create_future()
        if self._closed:
            answer.cancel()
            return answer
        self._unanswered.add(answer)
        answer.add_done_callback(self._unanswered.discard)
        if shot.segment is None:
            begin(answer)
        else:
            for older in [known for known in self._segments if known < shot.segment]:
                del self._segments[older]
            self._shots.append((shot, answer, begin))
            self.serve()
        return answer

    def serve(self) -> None:
        """Begin the shots whose audio has come; refuse those whose segment is gone; drop those nobody wants."""
        shots = [waiting for waiting in self._shots if not waiting[1].done()]
        self._shots.clear()
        for waiting in shots:
            shot, answer, begin = waiting
            heard = self._segments.get(shot.segment) if shot.segment is not None else None
            if heard is None:
                answer.set_exception(RendererError(f"segment {shot.segment} is not known: push its audio first"))
            elif heard.ended or heard.samples >= TICK_SPEECH_SAMPLES * (shot.n + 1) + self._lookahead_samples:
                begin(answer)
            else:
                self._shots.append(waiting)
