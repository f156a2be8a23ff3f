"""What a person says, on its way to the session: the avatar's own voice left out, 16 kHz mono, in 32 ms frames.

In: 16 kHz mono from the room, and what the avatar itself plays. Out: livekit-agents' AudioInput.

Echo is cancelled by the browser, which knows the loudspeaker's delay; where it does not, the page stops listening while
the avatar speaks. What is left of an echo is quiet, and is kept out here by its level. There is no second canceller:
one that hears its reference across a network takes a person who speaks over the avatar for echo too, and the person is
understood late or not at all (AEC3 in this place held back half of all interruptions for more than a second).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque

import numpy as np
from livekit import rtc
from livekit.agents.voice import io

from avatar.frames import SPEECH_RATE_HZ, Pcm

_STEP = SPEECH_RATE_HZ // 100
"""The level is looked at every 10 ms."""
_PART = 2 * _STEP
FRAME_SAMPLES = 512
"""What voice activity detection looks at in one go: in frames of just that it waits for no sample longer than it must,
and each goes the long way through the session alone."""
_HELD_FRAMES = 63
"""Two seconds: when the session does not listen for longer, the oldest sound is of no use any more."""
_ECHO_PACKETS = 40
"""An echo comes back within 800 ms: the way to the loudspeaker, its buffer, and the way from the microphone."""
_MOST_ECHO_DB = -15.0
"""What is so far below what was played may be the rest of its echo: it is not a voice that interrupts. A person
speaking into the microphone is louder than that."""
_LEAST_ECHO_DB = -32.0
"""Where the browser's canceller leaves less than that, a whisper is heard over the avatar."""
_USUAL, _ABOVE_USUAL_DB = 85, 9.0
"""An echo's loudest moments are 4 to 6 dB above this percentile of it (three voices, delayed by 0.14 and 0.3 s).
Somebody who speaks over the avatar now and then does not reach the percentile."""
_LEARNT_PARTS, _UNLEARNT_PARTS, _LEARN_EVERY = 400, 100, 25
"""The level of the echo is that of the last 8 s of the avatar's speech; until there were 2 s of it, the worst is
assumed."""
_SPEAKS_PACKETS = 20
"""The avatar speaks if any of the last 400 ms was sound; what is heard long after it is not its echo alone."""
_OPEN_STEPS = 25
"""Once a voice is heard over the avatar's, its quieter parts are heard too, for 250 ms."""


class Microphone(io.AudioInput):
    """Feed it with `hear` and `played`; the session iterates over it."""

    def __init__(self) -> None:
        super().__init__(label="mien microphone")
        self.held = False
        """Hear silence instead."""
        self._frames: deque[rtc.AudioFrame] = deque(maxlen=_HELD_FRAMES)
        self._came = asyncio.Event()
        self._closed = False
        self._heard: Pcm = np.zeros(0, np.int16)
        self._kept: Pcm = np.zeros(0, np.int16)
        """What is left of it without echo, until there is enough for a frame."""
        self._played: deque[float] = deque(maxlen=_ECHO_PACKETS)
        """How loud each of the last packets played was."""
        self._open_steps = 0
        self._below = _factor(_MOST_ECHO_DB)
        self._ratios: deque[float] = deque(maxlen=_LEARNT_PARTS)
        """How loud each 20 ms were beside the loudest that was played shortly before, while the avatar spoke."""
        self._unlearnt = _UNLEARNT_PARTS
        self._silent_packets = 0

    def played(self, pcm: Pcm) -> None:
        """What is being sent to the person's loudspeaker: int16 [20 ms at 48 kHz]."""
        loudest = _loudest(pcm)
        self._played.append(loudest)
        self._silent_packets = 0 if loudest > 0.0 else self._silent_packets + 1

    def hear(self, pcm: Pcm) -> None:
        """What their microphone took up: int16 [n] at 16 kHz."""
        heard = np.concatenate([self._heard, pcm])
        whole = heard.size - heard.size % _PART
        self._heard = heard[whole:]
        parts = heard[:whole].reshape(-1, _PART)
        cleaned = [np.zeros_like(part) if self.held else self._without_echo(part) for part in parts]
        self._kept = np.concatenate([self._kept, *cleaned])
        self._pass_on(self._kept.size - self._kept.size % FRAME_SAMPLES)

    def close(self) -> None:
        """The session hears what has come, and then the end."""
        self._pass_on(self._kept.size)
        self._closed = True
        self._came.set()

    def _pass_on(self, samples: int) -> None:
        """The first so many of those kept, in frames; only the last may be shorter."""
        if not samples:
            return
        passed, self._kept = self._kept[:samples], self._kept[samples:]
        for start in range(0, samples, FRAME_SAMPLES):
            self._frames.append(_frame(passed[start : start + FRAME_SAMPLES]))
        self._came.set()

    def _without_echo(self, part: Pcm) -> Pcm:
        loudest = max(self._played, default=0.0)
        if loudest == 0.0:
            return part
        if self._silent_packets < _SPEAKS_PACKETS:
            self._learn(_loudness(part) / loudest)
        kept = part.copy()
        for step in kept.reshape(-1, _STEP):
            self._open_steps = _OPEN_STEPS if _loudness(step) > loudest * self._below else self._open_steps - 1
            if self._open_steps <= 0:
                step[:] = 0
        return kept

    def _learn(self, ratio: float) -> None:
        """How loud the echo is here: with headphones or a good canceller there is none, and nobody needs to shout."""
        self._ratios.append(ratio)
        self._unlearnt -= 1
        if self._unlearnt == 0:
            self._unlearnt = _LEARN_EVERY
            usual = float(np.percentile(self._ratios, _USUAL))
            self._below = min(_factor(_MOST_ECHO_DB), max(_factor(_LEAST_ECHO_DB), usual * _factor(_ABOVE_USUAL_DB)))

    async def __anext__(self) -> rtc.AudioFrame:
        while not self._frames:
            if self._closed:
                raise StopAsyncIteration
            self._came.clear()
            await self._came.wait()
        return self._frames.popleft()


def _factor(db: float) -> float:
    return math.pow(10.0, db / 20.0)


def _loudest(packet: Pcm) -> float:
    """Of a packet's two steps."""
    half = packet.size // 2
    return max(_loudness(packet[:half]), _loudness(packet[half:]))


def _loudness(step: Pcm) -> float:
    """Root mean square. Called 200 times a second: a dot product costs a quarter of numpy's mean."""
    samples = step.astype(np.float32)
    return math.sqrt(float(samples @ samples) / samples.size)


def _frame(pcm: Pcm) -> rtc.AudioFrame:
    return rtc.AudioFrame(bytearray(pcm.tobytes()), SPEECH_RATE_HZ, 1, pcm.size)
