"""What a local recognizer is given: an utterance brought to 16 kHz, and whether it can be speech at all.

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


def at_16_khz(buffer: utils.AudioBuffer) -> Pcm:
    """An utterance as int16 mono at 16 kHz."""
    frame = utils.merge_frames(buffer)
    pcm = np.frombuffer(frame.data, np.int16)
    if frame.num_channels > 1:
        pcm = pcm.reshape(-1, frame.num_channels).mean(axis=1).astype(np.int16)
    if frame.sample_rate == SPEECH_RATE_HZ:
        return pcm
    resampler = rtc.AudioResampler(frame.sample_rate, SPEECH_RATE_HZ)
    mono = rtc.AudioFrame(pcm.tobytes(), frame.sample_rate, 1, pcm.size)
    frames = resampler.push(mono) + resampler.flush()
    return np.concatenate([np.frombuffer(each.data, np.int16) for each in frames]) if frames else pcm[:0]


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
