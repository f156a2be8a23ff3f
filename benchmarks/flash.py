"""Flashes and beeps: speech that beeps, and a renderer that is white for exactly the pictures whose sound does.

In: the audio, as any renderer gets it. Out: black and white pictures. Sound and picture belong together by
construction; what a viewer gets of that is judged in avsync.py. The control is the renderer's: for some utterances it
draws the flash of a beep that comes two ticks later, which makes the sound 80 ms late.
"""

from __future__ import annotations

import numpy as np

from avatar.frames import SAMPLE_RATE_HZ, TICK_MS, TICK_SAMPLES, TICK_SPEECH_SAMPLES, Pcm, Picture
from avatar.renderer import Expression, Shot
from avatar.waiting import Answer, Waiting

SIZE_PX = 512
BEEP_HZ = 1000
BEEP_PEAK = 12_000
BEEP_TICKS = 2
LEAD_IN_TICKS = 5
"""Silence before the beep: its utterance has long begun, as in the middle of speech."""
UTTERANCE_TICKS = 12
CONTROL_TICKS = 2
CONTROL_MS = CONTROL_TICKS * TICK_MS
_LOUD = 1000
_BLACK, _WHITE = 16, 235


def utterance() -> Pcm:
    """One beep with silence around it, int16 [UTTERANCE_TICKS * TICK_SAMPLES] at 48 kHz."""
    sound = np.zeros(UTTERANCE_TICKS * TICK_SAMPLES, np.int16)
    at = np.arange(BEEP_TICKS * TICK_SAMPLES) / SAMPLE_RATE_HZ
    start = LEAD_IN_TICKS * TICK_SAMPLES
    sound[start : start + at.size] = np.round(BEEP_PEAK * np.sin(2 * np.pi * BEEP_HZ * at))
    return sound


def _plain(luma: int) -> Picture:
    planes = np.full((SIZE_PX * 3 // 2, SIZE_PX), 128, np.uint8)
    planes[:SIZE_PX] = luma
    return Picture(planes)


class FlashRenderer:
    """Answers at once when the audio that it needs is there. ``early`` holds the segments whose flashes come early."""

    name = "flash"
    width = height = SIZE_PX
    lookahead_ms = float(CONTROL_MS)
    lead_ticks = 2
    start_ticks = 0
    start_grace_ms = 120

    def __init__(self) -> None:
        self.early: set[int] = set()
        self.still = _plain(_BLACK)
        self._white = _plain(_WHITE)
        self._heard: dict[int, list[Pcm]] = {}
        self._waiting = Waiting(self.lookahead_ms)

    def push(self, segment: int, pcm: Pcm) -> None:
        if self._waiting.push(segment, pcm.size):
            self._heard.setdefault(segment, []).append(pcm)
            self._waiting.serve()

    def end(self, segment: int) -> None:
        if self._waiting.end(segment):
            self._waiting.serve()

    def clear(self, generation: int) -> None:
        self._waiting.clear()
        self._heard.clear()

    def express(self, expression: Expression, tick: int) -> None:
        """Black and white are all it has."""

    def request(self, shot: Shot) -> Answer:
        return self._waiting.request(
            shot, lambda answer: answer.set_result(self._white if self._beeps(shot) else self.still)
        )

    async def aclose(self) -> None:
        self._waiting.close()

    def _beeps(self, shot: Shot) -> bool:
        """Whether the picture's own sound is loud; of an early segment, the sound two ticks later."""
        if shot.segment is None or shot.segment not in self._heard:
            return False
        start = (shot.n + CONTROL_TICKS * (shot.segment in self.early)) * TICK_SPEECH_SAMPLES
        own = np.concatenate(self._heard[shot.segment])[start : start + TICK_SPEECH_SAMPLES]
        # The middle of the tick: the filter to 16 kHz lets a millisecond of the neighbour in.
        return bool(
            np.abs(own[TICK_SPEECH_SAMPLES // 4 : -TICK_SPEECH_SAMPLES // 4].astype(np.int32)).max(initial=0) > _LOUD
        )
