"""48 kHz speech down to the renderer's 16 kHz, as it comes, 1 ms late.

The filter's coefficients are integers and the sums stay below 2**53, so float64 arithmetic is exact and any chunking of
the input gives the same output, bit for bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from avatar.frames import SAMPLE_RATE_HZ, SPEECH_RATE_HZ, Pcm

_FACTOR = SAMPLE_RATE_HZ // SPEECH_RATE_HZ
_REACH = 48
"""Input samples used on each side of an output sample."""
_SCALE = 1 << 15
_CUTOFF_HZ = 7_400


def _kernel() -> npt.NDArray[np.float64]:
    """A Blackman-windowed sinc of 2 * _REACH + 1 taps with unit gain, rounded to integers of 1/_SCALE."""
    at = np.arange(-_REACH, _REACH + 1)
    cutoff = 2 * _CUTOFF_HZ / SAMPLE_RATE_HZ
    taps = cutoff * np.sinc(cutoff * at) * np.blackman(at.size)
    kernel: npt.NDArray[np.float64] = np.rint(taps / taps.sum() * _SCALE)
    return kernel


_KERNEL = _kernel()


class Decimator:
    """Streaming, for one stretch of speech: output sample m stands at input sample 3 * m - 48.

    By that 1 ms the renderer hears everything late, and has a picture's speech as soon as its 48 kHz samples are there:
    speech comes in pieces of 10 or 20 ms, and to wait for 1 ms more is to wait for another piece.
    """

    def __init__(self) -> None:
        self._held: npt.NDArray[np.float64] = np.zeros(2 * _REACH)

    def push(self, pcm: Pcm) -> Pcm:
        """int16 [n] at 48 kHz → int16 at 16 kHz: all in all a third as many samples, rounded up."""
        held = np.concatenate([self._held, pcm.astype(np.float64)])
        count = max(0, (held.size - 2 * _REACH - 1) // _FACTOR + 1)
        self._held = held[count * _FACTOR :]
        if not count:
            return np.zeros(0, np.int16)
        # Three times as many as are kept: still half the time that picking them out first takes.
        exact = np.convolve(held, _KERNEL, "valid")[: count * _FACTOR : _FACTOR]
        return np.clip(np.floor(exact / _SCALE + 0.5), -32768, 32767).astype(np.int16)
