"""Messages that can be told apart by their sound: each a tone of its own pitch, as a recording in JSON. And the way
back.

In: a number. Out: a line for `mien stream`; from what was heard, the numbers in their order.
"""

from __future__ import annotations

import base64
import io
import json
import wave
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from avatar.frames import SAMPLE_RATE_HZ, Pcm

LOWEST_HZ, STEP_HZ = 300, 25
TONE_S = 1.0
SILENCE_S = 0.1
PEAK = 12_000
_LOUD = 0.1
_SHORTEST_S = 0.4


@dataclass(frozen=True, slots=True)
class Tone:
    """One that was heard; -1 for one that is no tone of ours, as of a part of one."""

    number: int
    start_ms: float
    end_ms: float


def tone(number: int, seconds: float = TONE_S) -> Pcm:
    """The message's sound, with silence before and behind it, since nothing need lie between two messages; its edges
    are soft, so that nothing clicks."""
    times_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    edge = np.clip(np.minimum(times_s, times_s[::-1]) / 0.02, 0, 1)
    sound = np.asarray(PEAK * edge * np.sin(2 * np.pi * (LOWEST_HZ + STEP_HZ * number) * times_s), np.int16)
    return np.pad(sound, round(SILENCE_S * SAMPLE_RATE_HZ))


def line(sound: Pcm, message_id: str) -> str:
    """The message, for standard input."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(sound.tobytes())
    data = base64.b64encode(content.getvalue()).decode()
    return json.dumps({"type": "audio", "id": message_id, "format": "wav", "data": data})


def tones(sound: npt.NDArray[np.float32], first_ms: float = 0.0) -> list[Tone]:
    """The tones that sounded, in order.

    Args:
        first_ms: the time of the first sample.
    """
    block = SAMPLE_RATE_HZ // 50
    levels = np.abs(sound[: sound.size // block * block]).reshape(-1, block).max(axis=1) > _LOUD
    edges = np.flatnonzero(np.diff(np.concatenate([[False], levels, [False]]).astype(int)))
    found = []
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        middle = sound[(start + 2) * block : (stop - 2) * block]
        long_enough = (stop - start) * block >= _SHORTEST_S * SAMPLE_RATE_HZ
        number = _number(middle) if long_enough else -1
        found.append(Tone(number, first_ms + float(start) * 20, first_ms + float(stop) * 20))
    return found


def _number(sound: npt.NDArray[np.float32]) -> int:
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(sound.size)))
    pitch_hz = float(spectrum.argmax()) * SAMPLE_RATE_HZ / sound.size
    number = (pitch_hz - LOWEST_HZ) / STEP_HZ
    return round(number) if abs(number - round(number)) < 0.2 else -1


def heard(sound: npt.NDArray[np.float32]) -> list[int]:
    """The numbers of the tones that sounded, in order."""
    return [each.number for each in tones(sound)]
