"""Sound for renderers to be tested with: made of numbers, the same everywhere, and enough like speech to move a
mouth.
"""

from __future__ import annotations

import numpy as np
import pytest

from avatar.frames import SPEECH_RATE_HZ, Pcm


def babble(seconds: float, seed: int = 0) -> Pcm:
    """Syllables: voiced, formant-shaped bursts with hiss and pauses between, int16 at 16 kHz."""
    random = np.random.default_rng(seed)
    count = round(seconds * SPEECH_RATE_HZ)
    time = np.arange(count) / SPEECH_RATE_HZ
    pitch_hz = 165 + 25 * np.sin(2 * np.pi * 0.7 * time + random.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SPEECH_RATE_HZ
    sound = np.zeros(count)
    start = 0
    while start < count:
        length = int(random.uniform(0.12, 0.26) * SPEECH_RATE_HZ)
        stop = min(count, start + length)
        kind = random.choice(["a", "i", "u", "s", "pause"], p=[0.34, 0.2, 0.18, 0.14, 0.14])
        swell = np.sin(np.pi * np.arange(stop - start) / length) ** 0.6
        if kind == "s":
            sound[start:stop] = 0.05 * swell * random.normal(size=stop - start)
        elif kind != "pause":
            first, second = {"a": (750, 1250), "i": (290, 2300), "u": (320, 800)}[str(kind)]
            for harmonic in range(1, 22):
                at_hz = harmonic * 165
                gain = 1 / (1 + ((at_hz - first) / 110) ** 2) + 0.5 / (1 + ((at_hz - second) / 160) ** 2)
                sound[start:stop] += 0.35 * gain * swell * np.sin(harmonic * phase[start:stop])
        start = stop
    return np.clip(sound * 12_000, -32768, 32767).astype(np.int16)


@pytest.fixture(scope="session")
def speech() -> Pcm:
    """Two seconds of it."""
    return babble(2.0)
