"""Log-mel frames of 16 kHz sound, 100 a second: what the trained ear hears.

Frame k is the Hann window of 25 ms that ends with sample 160 * (k + 1), so it needs no sound beyond itself. The
training computes its frames with this same code.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from avatar.frames import SPEECH_RATE_HZ

Floats = npt.NDArray[np.float32]

HOP = SPEECH_RATE_HZ // 100
WINDOW = SPEECH_RATE_HZ // 40
FFT = 512
MELS = 64
LOWEST_HZ, HIGHEST_HZ = 60.0, 7600.0
FLOOR = 1e-9
"""Power below which nothing is told from silence: about -90 dBFS in a band."""
MIDDLE, SCALE = -5.0, 2.0
"""log10 of power is brought to about -2..2 by these."""

_HANN = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
_POWER = np.float32(2.0 / (float(np.sum(_HANN**2)) * FFT * 32768.0**2))


def mel_filters(warp: float = 1.0) -> Floats:
    """Triangles over the spectrum, [FFT // 2 + 1, MELS].

    Args:
        warp: above 1, formants are heard as if this much higher (a shorter vocal tract). Only training wants it.
    """
    low, high = (2595.0 * np.log10(1.0 + hz / 700.0) for hz in (LOWEST_HZ, HIGHEST_HZ))
    edges_hz = 700.0 * (10.0 ** (np.linspace(low, high, MELS + 2) / 2595.0) - 1.0) / warp
    bins = edges_hz * FFT / SPEECH_RATE_HZ
    at = np.arange(FFT // 2 + 1)[:, None]
    left, middle, right = bins[:-2], bins[1:-1], bins[2:]
    rising = (at - middle + np.maximum(middle - left, 1.0)) / np.maximum(middle - left, 1.0)
    falling = (middle - at + np.maximum(right - middle, 1.0)) / np.maximum(right - middle, 1.0)
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)), np.float32)


def log_mel(samples: Floats, filters: Floats) -> Floats:
    """Frames of int16-scaled float samples [WINDOW - HOP + HOP * n]: float32 [n, MELS]."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP] * _HANN
    spectrum = np.fft.rfft(windows, FFT, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) * _POWER
    return np.asarray((np.log10(power @ filters + np.float32(FLOOR)) - MIDDLE) / SCALE, np.float32)
