"""An honest ear without a model: loudness, band energies and voicing of 16 kHz speech become mouth parameters.

In: int16 samples in any cut. Out: one `Mouth` per 40 ms, 60 ms after the end of its audio. It knows nothing of
phonemes: loud middle bands open the jaw, the balance of low and high bands spreads or rounds the lips, hiss without
voice shows the teeth, and short dips of the middle bands between voiced sounds press the lips together. Silence,
steady noise and whatever has no voice nearby leave the mouth shut.

The audio is analysed in blocks of one picture (four hops of 10 ms), whatever the cut, so that equal audio gives equal
bits.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from avatar.frames import SPEECH_RATE_HZ, TICK_SPEECH_SAMPLES, Pcm
from avatar.puppet.mouth import REST, Mouth, Steps, share

Floats = npt.NDArray[np.float32]

LOOKAHEAD_MS = 60
HOP = SPEECH_RATE_HZ // 100
HOPS = TICK_SPEECH_SAMPLES // HOP
"""Hops of one picture."""
WINDOW = 2 * HOP
FFT = 512
LEAD = -(LOOKAHEAD_MS // 10) % HOPS
"""Hops of silence put before the audio, so that a picture's lookahead ends where a block ends."""
HISTORY = 40
"""Hops remembered: what counts as a voice nearby reaches 200 ms back."""
CENTRE = HISTORY - LOOKAHEAD_MS // 10 - HOPS // 2
"""Index in the history of the hop in the middle of the picture that is due."""

ROOM_DB = -60.0
"""Quieter than this (dBFS of a hop) nothing is speech."""
RANGE_DB = 26.0
"""From the loudest recent vowel down to where the jaw rests."""
LOUD_START_DB, LOUD_LEAST_DB = -30.0, -52.0
LOUD_FALL_DB = 0.02
"""How fast the memory of the loudest vowel fades, per hop: 2 dB a second ..."""
LOUD_SETTLE_DB, LOUD_SETTLE_HOPS = 0.35, 60
"""... and faster while the first 0.6 s of voice say how loud this speaker is."""
NOISE_RISE_DB = 0.06
"""How fast the noise floor follows a level that does not go away, per hop."""
VOICED = 0.45
"""Peak of the normalised autocorrelation from which a hop counts as voiced."""
STEP_JAW, STEP_SPREAD, STEP_LIPS, STEP_EFFORT = 0.3, 0.4, 0.5, 0.1
"""See `Steps`; pressed lips part no faster than others."""
_STEPS = Steps(STEP_JAW, STEP_SPREAD, STEP_LIPS, STEP_EFFORT)

_SMOOTH = np.hanning(9)[1:-1].astype(np.float32)
_SMOOTH /= _SMOOTH.sum()


def _band(from_hz: float, to_hz: float) -> slice:
    return slice(round(from_hz * FFT / SPEECH_RATE_HZ), round(to_hz * FFT / SPEECH_RATE_HZ))


_BANDS = (
    _band(100, 480), _band(520, 1150), _band(480, 3300), _band(1900, 3300), _band(560, 1700), _band(4000, 7800),
)  # fmt: skip
"""Low (voice bar), open (first formant of open vowels), middle, second formants of front and of back vowels, hiss."""
LOW, OPEN, MID, FRONT, BACK, HISS, VOICE = range(7)
_PITCH = slice(SPEECH_RATE_HZ // 400, SPEECH_RATE_HZ // 75)
"""Lags, in samples, of voices from 400 down to 75 Hz."""


class LoudnessTracker:
    """A `MouthTracker` without training. One per segment; it keeps 0.4 s of features and no audio beyond a block."""

    def __init__(self) -> None:
        self._window: Floats = np.hanning(WINDOW).astype(np.float32)
        self._bins = np.zeros((FFT // 2 + 1, len(_BANDS)), np.float32)
        power = 2.0 / (float(np.sum(self._window**2)) * FFT * 32768.0**2)
        for column, band in enumerate(_BANDS):
            self._bins[band, column] = power
        lags = np.fft.irfft(np.abs(np.fft.rfft(self._window, FFT)) ** 2)
        self._window_lags: Floats = (lags / lags[0])[_PITCH].astype(np.float32)
        self._frames: Floats = np.zeros((HOPS, WINDOW), np.float32)
        self._past: Pcm = np.zeros(WINDOW - HOP, np.int16)
        self._rest: Pcm = np.zeros(LEAD * HOP, np.int16)
        self._blocks = 0
        self._hops: Floats = np.full((HISTORY, len(_BANDS) + 1), -100.0, np.float32)
        self._hops[:, VOICE] = 0.0
        self._loud_db = LOUD_START_DB
        self._voiced_hops = 0
        self._noise_db = -70.0
        self._last = REST

    @property
    def lookahead_ms(self) -> int:
        return LOOKAHEAD_MS

    def push(self, pcm: Pcm) -> list[Mouth]:
        audio = np.concatenate([self._rest, pcm])
        size = TICK_SPEECH_SAMPLES
        mouths: list[Mouth] = []
        for start in range(0, len(audio) - size + 1, size):
            self._hear(audio[start : start + size])
            self._blocks += 1
            if (self._blocks - 1) * HOPS >= LOOKAHEAD_MS // 10 + LEAD:
                mouths.append(self._mouth())
        self._rest = audio[len(audio) // size * size :].copy()
        return mouths

    def _hear(self, block: Pcm) -> None:
        """Analyse four hops: band levels in dBFS and voicing, appended to the history; levels learn from them."""
        joined = np.concatenate([self._past, block])
        self._past = joined[-(WINDOW - HOP) :].copy()
        for hop in range(HOPS):
            np.multiply(joined[hop * HOP : hop * HOP + WINDOW], self._window, out=self._frames[hop])
        spectrum = np.fft.rfft(self._frames, FFT)
        squares = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        levels = 10.0 * np.log10(squares @ self._bins + 1e-10)
        lags = np.fft.irfft(squares)
        voicing = (lags[:, _PITCH] / self._window_lags).max(axis=1) / (lags[:, 0] + 1.0)
        self._hops[:-HOPS] = self._hops[HOPS:]
        self._hops[-HOPS:, :VOICE] = levels
        self._hops[-HOPS:, VOICE] = np.where(levels[:, MID] > ROOM_DB, voicing, 0.0)
        for hop in self._hops[-HOPS:]:
            self._learn(float(max(hop[MID], hop[LOW])), float(hop[MID]), float(hop[VOICE]))

    def _learn(self, level_db: float, mid_db: float, voicing: float) -> None:
        """Follow how loud this voice gets and how loud the room is without it."""
        self._noise_db = min(level_db, self._noise_db + NOISE_RISE_DB) if level_db > -90 else self._noise_db
        if voicing < VOICED:
            return
        self._voiced_hops += 1
        settling = self._voiced_hops < LOUD_SETTLE_HOPS
        faded = self._loud_db - (LOUD_SETTLE_DB if settling else LOUD_FALL_DB)
        self._loud_db = max(mid_db, faded, LOUD_LEAST_DB)

    def _mouth(self) -> Mouth:
        """The mouth of the picture that is due, from the hops around it."""
        hops, mid = self._hops, self._hops[:, MID]
        around = slice(CENTRE - 3, CENTRE + 4)
        voice = hops[CENTRE - 20 :, VOICE]
        speaks = (voice > VOICED) & (mid[CENTRE - 20 :] > max(ROOM_DB, self._noise_db + 6.0))
        if int(speaks.sum()) < 3:
            return self._towards(REST)
        above = np.clip((mid - (self._loud_db - RANGE_DB)) / RANGE_DB, 0.0, 1.0)
        first = hops[:, OPEN] - hops[:, LOW]
        openness = np.clip((first + 10.0) / 20.0, 0.0, 1.0)
        hissing = np.clip((hops[:, HISS] - mid + 2.0) / 8.0, 0.0, 1.0) * (mid > ROOM_DB - 6)
        jaws = (1.0 - hissing) * above**1.15 * (0.34 + 0.66 * openness) + 0.1 * hissing
        front = hops[:, FRONT] - hops[:, BACK]
        weight = _SMOOTH * (above[around] + 0.02)
        weight /= weight.sum()
        lean, height, hiss, loud = (float(v[around] @ weight) for v in (front, first, hissing, above))
        jaw = float(jaws[around] @ _SMOOTH)
        dip = self._dip(mid)
        quiet_hiss = hiss * (1.0 - share(float(hops[CENTRE, HISS]) - self._loud_db, -30.0, -22.0))
        closure = share(dip, 10.0, 18.0) * (1.0 - hiss)
        present = min(1.0, 3.0 * loud)
        close = share(-height, 6.0, 16.0)  # low first formant: /i/ or /u/, told apart by their second
        ring = max(close * share(-lean, -8.0, 2.0), 0.8 * share(-lean, 9.0, 17.0) * share(-height, -5.5, -2.5))
        spread = share(lean, -12.0, 14.0) * (1.0 - ring) - 0.8 * ring
        return self._towards(
            Mouth(
                jaw=min(1.0, 1.12 * jaw) * (1.0 - 0.8 * closure),
                spread=present * (spread * (1.0 - hiss) + 0.35 * hiss),
                rounding=present * ring * (1.0 - hiss),
                closure=closure,
                lip_teeth=0.9 * quiet_hiss * (1.0 - closure),
                tongue=share(dip, 4.0, 10.0) * (1.0 - closure) * (1.0 - hiss),
                effort=math.sqrt(float(above[CENTRE - 12 : CENTRE + 6].mean())),
            )
        )

    def _dip(self, mid: Floats) -> float:
        """How far (dB) the picture's quietest hop lies below the voice on both sides of it."""
        deepest = 0.0
        for hop in range(CENTRE - 1, CENTRE + 3):
            before, after = mid[hop - 9 : hop - 1].max(), mid[hop + 2 : hop + 8].max(initial=-100.0)
            floor = self._loud_db - RANGE_DB
            if min(before, after) > floor + 5.0:
                deepest = max(deepest, float(min(before, after) - mid[hop]))
        return deepest

    def _towards(self, goal: Mouth) -> Mouth:
        self._last = _STEPS.towards(self._last, goal)
        return self._last
