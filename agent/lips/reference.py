"""From phone times to the curves that lips ought to follow: opening, width, rounding, closures.

Each sound pulls the mouth towards what the table says, by its dominance, over a Hann window: neighbours colour each
other, as in speech (after Cohen and Massaro's dominance model, 1993). Lips that meet do so wholly, with short ramps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent.lips.phones import FIRST_OF_DIPHTHONG, Phone, Sound, sounds

Floats = npt.NDArray[np.float64]

STEP_MS = 5
OPENING_MS, SHAPE_MS = 110, 150
"""Width of the windows over which neighbours colour each other."""
CLOSURE_RAMP_MS, TEETH_RAMP_MS = 30, 40
RELEASE_SHARE, RELEASE_MS = 0.25, 20
"""A stop's lips part this much before its sound ends."""
TEETH_SHUT, TEETH_GAP = 0.75, 0.08
"""How much of the opening the lower lip at the teeth takes away, and what is left to see the teeth through."""


@dataclass(frozen=True, slots=True)
class Curves:
    """One value each `STEP_MS`, from 0 on; values of `Sound`'s meanings, ``speech`` is 1 outside pauses."""

    opening: Floats
    width: Floats
    rounding: Floats
    closure: Floats
    teeth: Floats
    tongue: Floats
    speech: Floats


def curves(phones: Sequence[Phone], duration_ms: float) -> Curves:
    """What a mouth does during phones in order of time; where none is given, it pauses."""
    count = int(np.ceil(duration_ms / STEP_MS)) + 1
    pulled = {name: np.zeros(count) for name in ("opening", "width", "rounding", "tongue")}
    pause = sounds("")[0]
    weight = np.full(count, pause.dominance)
    speech, closure, teeth = np.zeros(count), np.zeros(count), np.zeros(count)
    for sound, start_ms, end_ms in timed(phones):
        here = slice(round(start_ms / STEP_MS), min(count, round(end_ms / STEP_MS)))
        weight[here] = sound.dominance
        for name, curve in pulled.items():
            curve[here] = sound.dominance * getattr(sound, name)
        speech[here] = 0.0 if sound is pause else 1.0
        if sound.bilabial:
            release = min(RELEASE_MS, RELEASE_SHARE * (end_ms - start_ms)) if sound.stop else 0.0
            _raise(closure, start_ms, end_ms - release, CLOSURE_RAMP_MS)
        if sound.labiodental:
            _raise(teeth, start_ms, end_ms, TEETH_RAMP_MS)
    near, wide = _smoothed(weight, OPENING_MS), _smoothed(weight, SHAPE_MS)
    opening = _smoothed(pulled["opening"], OPENING_MS) / near
    return Curves(
        opening=(opening * (1.0 - TEETH_SHUT * teeth) + TEETH_GAP * teeth) * (1.0 - closure),
        width=_smoothed(pulled["width"], SHAPE_MS) / wide,
        rounding=_smoothed(pulled["rounding"], SHAPE_MS) / wide,
        closure=closure,
        teeth=teeth * (1.0 - closure),
        tongue=_smoothed(pulled["tongue"], OPENING_MS) / near * (1.0 - closure),
        speech=_smoothed(speech, OPENING_MS),
    )


def timed(phones: Sequence[Phone]) -> list[tuple[Sound, float, float]]:
    """Every sound with its own time: (sound, start_ms, end_ms); diphthongs and affricates are cut in two."""
    out: list[tuple[Sound, float, float]] = []
    for phone in phones:
        parts = sounds(phone.ipa)
        length = phone.end_ms - phone.start_ms
        first = FIRST_OF_DIPHTHONG if parts[0].vowel else 1.0 / len(parts)
        edges = [0.0, first, *(first + (1.0 - first) * k / (len(parts) - 1) for k in range(1, len(parts)))]
        if len(parts) == 1:
            edges = [0.0, 1.0]
        out += [
            (part, phone.start_ms + a * length, phone.start_ms + b * length)
            for part, a, b in zip(parts, edges, edges[1:], strict=False)
        ]
    return out


def at(curve: Floats, times_ms: npt.ArrayLike) -> Floats:
    """A curve's values at times of one's own."""
    return np.asarray(np.interp(np.asarray(times_ms, float), np.arange(len(curve)) * STEP_MS, curve), np.float64)


def _raise(curve: Floats, start_ms: float, end_ms: float, ramp_ms: float) -> None:
    """Lift a curve to 1 from start to end, with ramps outside."""
    first, last = max(0, int((start_ms - ramp_ms) / STEP_MS)), min(len(curve), int((end_ms + ramp_ms) / STEP_MS) + 2)
    times = np.arange(first, last) * float(STEP_MS)
    lifted = np.clip(1.0 + np.minimum(times - start_ms, end_ms - times) / ramp_ms, 0.0, 1.0)
    np.maximum(curve[first:last], lifted, out=curve[first:last])


def _smoothed(curve: Floats, width_ms: int) -> Floats:
    window: Floats = np.asarray(np.hanning(width_ms // STEP_MS + 2)[1:-1], np.float64)
    half = len(window) // 2
    padded = np.concatenate([np.full(half, curve[0]), curve, np.full(len(window) - 1 - half, curve[-1])])
    return np.asarray(np.convolve(padded, window / window.sum(), "valid"))
