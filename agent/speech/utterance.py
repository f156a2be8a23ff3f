"""What a recognizer is given: an utterance brought to 16 kHz, and whether it can be speech at all.

Recognizers turn silence and noise into words. So nothing reaches them that does not for a moment sound like a voice:
loud enough, and periodic like vocal cords.
"""

from __future__ import annotations

import numpy as np
from livekit import rtc
from livekit.agents import utils

from avatar.frames import SPEECH_RATE_HZ, Pcm

LOUD_RMS = 120.0
"""−49 dB of full scale."""
PERIODIC = 0.5
VOICED_FRAMES = 3
_FRAME, _HOP = SPEECH_RATE_HZ * 40 // 1000, SPEECH_RATE_HZ * 10 // 1000
_SHORTEST_PERIOD, _LONGEST_PERIOD = SPEECH_RATE_HZ // 400, SPEECH_RATE_HZ // 71
_FFT = 2048
_WINDOW = np.hanning(_FRAME)
_WINDOW_CORRELATION = np.fft.irfft(np.abs(np.fft.rfft(_WINDOW, _FFT)) ** 2)


class To16kHz:
    """Brings sound that comes bit by bit to int16 mono at 16 kHz. All of it is at one rate."""

    def __init__(self) -> None:
        self._resampler: rtc.AudioResampler | None = None

    def push(self, frame: rtc.AudioFrame) -> Pcm:
        pcm: Pcm = np.frombuffer(frame.data, np.int16)
        if frame.num_channels > 1:
            pcm = pcm.reshape(-1, frame.num_channels).mean(axis=1).astype(np.int16)
        if frame.sample_rate == SPEECH_RATE_HZ:
            return pcm
        if self._resampler is None:
            self._resampler = rtc.AudioResampler(frame.sample_rate, SPEECH_RATE_HZ)
        return _joined(self._resampler.push(rtc.AudioFrame(pcm.tobytes(), frame.sample_rate, 1, pcm.size)))

    def flush(self) -> Pcm:
        """What was still held back."""
        return _joined(self._resampler.flush() if self._resampler is not None else [])


def _joined(frames: list[rtc.AudioFrame]) -> Pcm:
    return np.concatenate([np.zeros(0, np.int16), *(np.frombuffer(frame.data, np.int16) for frame in frames)])


def at_16_khz(buffer: utils.AudioBuffer) -> Pcm:
    """An utterance as int16 mono at 16 kHz."""
    to_16_khz = To16kHz()
    return np.concatenate([to_16_khz.push(utils.merge_frames(buffer)), to_16_khz.flush()])


def voiced_frames(pcm: Pcm) -> int:
    """How many frames of 40 ms, every 10 ms, are loud and periodic between 71 and 400 Hz; int16 at 16 kHz in."""
    if pcm.size < _FRAME:
        return 0
    samples = pcm.astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::_HOP]
    loud = np.sqrt(np.mean(frames**2, axis=1)) > LOUD_RMS
    if not loud.any():
        return 0
    # Without the emphasis of high frequencies, rumble correlates with itself as well as a voice does.
    emphasized = np.append(samples[:1], samples[1:] - 0.97 * samples[:-1])
    frames = np.lib.stride_tricks.sliding_window_view(emphasized, _FRAME)[::_HOP][loud] * _WINDOW
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, _FFT, axis=1)) ** 2, axis=1)
    periods = slice(_SHORTEST_PERIOD, _LONGEST_PERIOD)
    share = correlation[:, periods] / _WINDOW_CORRELATION[periods]
    whole = correlation[:, :1] / _WINDOW_CORRELATION[0] + 1e-9
    return int(np.count_nonzero((share / whole).max(axis=1) > PERIODIC))


def may_be_speech(pcm: Pcm) -> bool:
    """Whether a recognizer should be asked; int16 at 16 kHz in."""
    return voiced_frames(pcm) >= VOICED_FRAMES


class VoiceGate:
    """Whether a recognizer should be asked, of sound that comes bit by bit: closed until there was a voice."""

    def __init__(self) -> None:
        self._rest: Pcm = np.zeros(0, np.int16)
        self._voiced = 0

    @property
    def open(self) -> bool:
        return self._voiced >= VOICED_FRAMES

    def hears(self, pcm: Pcm) -> bool:
        """Whether it is open now; int16 at 16 kHz in."""
        if not self.open:
            sound = np.concatenate([self._rest, pcm])
            self._voiced += voiced_frames(sound)
            self._rest = sound[max(0, (sound.size - _FRAME) // _HOP + 1) * _HOP :]
        return self.open
