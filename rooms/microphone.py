"""What a person says, on its way to the session: echo taken out, 16 kHz mono, in 20 ms frames.

In: 16 kHz mono from the room, and what the avatar itself plays (the echo's reference). Out: livekit-agents' AudioInput.
The browser cancels echo first; this is the second line, for microphones and browsers that do not.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence

import numpy as np
from livekit import rtc
from livekit.agents.voice import io

from avatar.frames import SAMPLE_RATE_HZ, SPEECH_RATE_HZ, Pcm

_FACTOR = SAMPLE_RATE_HZ // SPEECH_RATE_HZ
_STEP = SPEECH_RATE_HZ // 100
"""The echo canceller (WebRTC's AEC3, in livekit's package) takes exactly 10 ms."""
_FRAME_STEPS = 2
_HELD_FRAMES = 100
"""Two seconds: when the session does not listen for longer, the oldest sound is of no use any more."""
_ECHO_STEPS = 80
"""An echo comes back within 800 ms: the way to the loudspeaker, its buffer, and the way from the microphone."""
_ECHO_BELOW = 10 ** (-15 / 20)
"""What is left after cancelling and is 15 dB below what was played may be the echo itself: it is not a voice that
interrupts. A person speaking into the microphone is louder than that."""
_OPEN_STEPS = 25
"""Once a voice is heard over the avatar's, its quieter parts are heard too, for 250 ms."""
_SENT_PACKETS = 25
"""Half a second: without a microphone nobody asks for what was sent."""
_QUIET_STEPS = 200
"""The canceller rests when nothing has been played for two seconds; it costs some percent of a core."""


class Microphone(io.AudioInput):
    """Feed it with `hear` and `played`; the session iterates over it."""

    def __init__(self) -> None:
        super().__init__(label="mien microphone")
        self.held = False
        """Hear silence instead."""
        self._frames: deque[rtc.AudioFrame] = deque(maxlen=_HELD_FRAMES)
        self._came = asyncio.Event()
        self._closed = False
        self._echo = rtc.AudioProcessingModule(echo_cancellation=True, high_pass_filter=True)
        self._near: Pcm = np.zeros(0, np.int16)
        self._far: Pcm = np.zeros(0, np.int16)
        self._sent: deque[Pcm] = deque(maxlen=_SENT_PACKETS)
        self._out: list[Pcm] = []
        self._played: deque[float] = deque(maxlen=_ECHO_STEPS)
        """How loud each of the last steps played was."""
        self._quiet_steps = _QUIET_STEPS
        self._open_steps = 0

    def played(self, pcm: Pcm) -> None:
        """What is being sent to the person's loudspeaker: int16 [n] at 48 kHz."""
        self._sent.append(pcm)

    def hear(self, pcm: Pcm) -> None:
        """What their microphone took up: int16 [n] at 16 kHz."""
        self._follow()
        self._near, steps = _steps(self._near, pcm, _STEP)
        for step in steps:
            self._out.append(np.zeros_like(step) if self.held else self._without_echo(step))
            if len(self._out) == _FRAME_STEPS:
                self._frames.append(_frame(np.concatenate(self._out)))
                self._out.clear()
                self._came.set()

    def close(self) -> None:
        self._closed = True
        self._came.set()

    def _follow(self) -> None:
        """Show the canceller what was sent since the last time.

        There is time until the echo comes back. Done for each packet as it is sent, it cost three times as much: every
        call started cold.
        """
        if not self._sent:
            return
        self._far, steps = _steps(self._far, np.concatenate(self._sent), _STEP * _FACTOR)
        self._sent.clear()
        for step in steps:
            # A plain mean is filter enough for a reference: speech has little above 8 kHz that could fold back.
            far = (step.reshape(_STEP, _FACTOR).sum(axis=1, dtype=np.int32) // _FACTOR).astype(np.int16)
            loudness = _loudness(far)
            self._played.append(loudness)
            self._quiet_steps = 0 if loudness > 0 else self._quiet_steps + 1
            if self._quiet_steps < _QUIET_STEPS:
                self._echo.process_reverse_stream(_frame(far))

    def _without_echo(self, step: Pcm) -> Pcm:
        if self._quiet_steps >= _QUIET_STEPS:
            return step
        frame = _frame(step)
        self._echo.process_stream(frame)
        cleaned: Pcm = np.frombuffer(frame.data, np.int16)
        loudest = max(self._played, default=0.0)
        self._open_steps = _OPEN_STEPS if _loudness(cleaned) > loudest * _ECHO_BELOW else self._open_steps - 1
        return cleaned if self._open_steps > 0 else np.zeros_like(step)

    async def __anext__(self) -> rtc.AudioFrame:
        while not self._frames:
            if self._closed:
                raise StopAsyncIteration
            self._came.clear()
            await self._came.wait()
        return self._frames.popleft()


def _steps(held: Pcm, pcm: Pcm, size: int) -> tuple[Pcm, Sequence[Pcm]]:
    """What is left over, and the whole steps."""
    held = np.concatenate([held, pcm])
    whole = held.size - held.size % size
    return held[whole:], list(held[:whole].reshape(-1, size))


def _loudness(step: Pcm) -> float:
    """Root mean square. Called 200 times a second: a dot product costs a quarter of numpy's mean."""
    samples = step.astype(np.float32)
    return math.sqrt(float(samples @ samples) / samples.size)


def _frame(pcm: Pcm) -> rtc.AudioFrame:
    return rtc.AudioFrame(bytearray(pcm.tobytes()), SPEECH_RATE_HZ, 1, pcm.size)
