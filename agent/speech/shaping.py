"""One sentence's sound brought to one rate, without the silence that providers put around it.

Frames of a provider in, int16 at 48 kHz out. Silence inside the sentence is kept; leading silence is cut to a few
milliseconds and trailing silence to a pause. What was cut in front is told, since word times count from the
provider's first sample.
"""

from __future__ import annotations

import numpy as np
from livekit import rtc

from avatar.frames import SAMPLE_RATE_HZ, Pcm

QUIET = 100
"""A sample up to this is silence: −50 dB of full scale, under the softest f or h and over mp3's hiss."""
EMPTY: Pcm = np.zeros(0, np.int16)


def silence(ms: float) -> Pcm:
    """int16 zeros at 48 kHz."""
    return np.zeros(round(ms * SAMPLE_RATE_HZ / 1000), np.int16)


class Shaper:
    """Shapes one sentence.

    Args:
        rate_hz: the provider's.
        lead_ms: how much silence may stay in front.
        tail_ms: how much may stay behind.
    """

    def __init__(self, rate_hz: int, *, lead_ms: float, tail_ms: float) -> None:
        self._resampler = (
            rtc.AudioResampler(rate_hz, SAMPLE_RATE_HZ, quality=rtc.AudioResamplerQuality.HIGH)
            if rate_hz != SAMPLE_RATE_HZ
            else None
        )
        self._rate_hz = rate_hz
        self._lead = round(lead_ms * SAMPLE_RATE_HZ / 1000)
        self._tail = round(tail_ms * SAMPLE_RATE_HZ / 1000)
        self._heard = False
        self._held = EMPTY
        self._cut = 0

    @property
    def heard(self) -> bool:
        """Something louder than silence has come."""
        return self._heard

    @property
    def cut_s(self) -> float:
        """How much was cut in front; known once something was heard."""
        return self._cut / SAMPLE_RATE_HZ

    def push(self, frame: rtc.AudioFrame) -> Pcm:
        """The next of the provider's frames; returns what can be played, perhaps nothing yet."""
        if self._resampler is None:
            return self._shape(np.frombuffer(frame.data, np.int16))
        frames = self._resampler.push(frame)
        return self._shape(_joined(frames))

    def end(self) -> tuple[Pcm, Pcm]:
        """The sentence is complete; returns the rest of it and the silence behind it."""
        rest = EMPTY if self._resampler is None else self._shape(_joined(self._resampler.flush()))
        tail = self._held[: self._tail] if self._heard else EMPTY
        self._held = EMPTY
        return rest, tail

    def _shape(self, pcm: Pcm) -> Pcm:
        samples = np.concatenate([self._held, pcm])
        # int16's lowest value has no positive twin: compare instead of taking the absolute value
        loud = (samples > QUIET) | (samples < -QUIET)
        if not loud.any():
            self._held = samples
            if not self._heard:  # only the lead that may stay is worth keeping
                drop = max(0, samples.size - self._lead)
                self._cut += drop
                self._held = samples[drop:]
            return EMPTY
        first = 0
        if not self._heard:
            self._heard = True
            first = max(0, int(loud.argmax()) - self._lead)
            self._cut += first
        last = samples.size - int(loud[::-1].argmax())
        self._held = samples[last:]
        return samples[first:last]


def _joined(frames: list[rtc.AudioFrame]) -> Pcm:
    return np.concatenate([np.frombuffer(frame.data, np.int16) for frame in frames]) if frames else EMPTY
