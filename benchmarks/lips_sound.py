"""Sound for the lips benchmark: lines and microphones that spoil speech, and sounds in which nobody speaks."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from avatar.frames import SPEECH_RATE_HZ, Pcm


def write_wave(path: Path, pcm: Pcm) -> None:
    """int16 [n] at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SPEECH_RATE_HZ)
        file.writeframes(pcm.astype("<i2").tobytes())


def telephone(pcm: Pcm) -> Pcm:
    """300 to 3400 Hz, μ-law."""
    spectrum = np.fft.rfft(pcm.astype(np.float64))
    hz = np.fft.rfftfreq(len(pcm), 1 / SPEECH_RATE_HZ)
    spectrum *= (hz / 300) ** 8 / (1 + (hz / 300) ** 8) / (1 + (hz / 3400) ** 16)
    sound = np.clip(np.fft.irfft(spectrum, len(pcm)) / 32768, -1, 1)
    coded = np.rint(127 * np.sign(sound) * np.log1p(255 * np.abs(sound)) / np.log(256))
    return _int16(np.sign(coded) * (256 ** (np.abs(coded) / 127) - 1) / 255 * 32768)


def opus(pcm: Pcm, bit_rate: int = 12_000) -> Pcm:
    """Through libopus and back, in time with what went in."""
    memory = io.BytesIO()
    with av.open(memory, "w", format="ogg") as target:
        stream = target.add_stream("libopus", rate=SPEECH_RATE_HZ, layout="mono")
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SPEECH_RATE_HZ, 0, Fraction(1, SPEECH_RATE_HZ)
        resampler = av.AudioResampler(format="s16", layout="mono", rate=SPEECH_RATE_HZ, frame_size=320)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            target.mux(stream.encode(part))
        target.mux(stream.encode(None))
    memory.seek(0)
    out = []
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SPEECH_RATE_HZ)
    with av.open(memory, "r") as source:
        for decoded in source.decode(audio=0):
            decoded.pts = None
            out += [part.to_ndarray()[0] for part in resampler.resample(decoded)]
        out += [part.to_ndarray()[0] for part in resampler.resample(None)]
    sound = np.concatenate(out)[: len(pcm)]
    return _aligned(np.pad(sound, (0, len(pcm) - len(sound))), pcm)


def _aligned(sound: Pcm, like: Pcm) -> Pcm:
    """Without the coder's delay, by cross correlation over ±60 ms."""
    reach = 60 * SPEECH_RATE_HZ // 1000
    a, b = np.abs(sound.astype(np.float64)), np.abs(like.astype(np.float64))
    spectrum = np.fft.rfft(a, 2 * len(a)) * np.conj(np.fft.rfft(b, 2 * len(b)))
    lags = np.fft.irfft(spectrum)
    best = max(range(-reach, reach + 1), key=lambda lag: lags[lag])
    return np.roll(sound, -best)


def quiet(pcm: Pcm) -> Pcm:
    """-45 dBFS over the whole."""
    rms = float(np.sqrt(np.mean(pcm.astype(np.float64) ** 2)))
    return _int16(pcm.astype(np.float64) * 32768 * 10 ** (-45 / 20) / rms)


def noisy(pcm: Pcm) -> Pcm:
    """White noise 10 dB below the speech."""
    rms = float(np.sqrt(np.mean(pcm.astype(np.float64) ** 2)))
    return _int16(pcm + np.random.default_rng(8).normal(0, rms * 10 ** (-10 / 20), len(pcm)))


def reverberant(pcm: Pcm) -> Pcm:
    """A room that decays by 60 dB in 0.4 s, as loud as the direct sound."""
    time = np.arange(int(0.4 * SPEECH_RATE_HZ)) / SPEECH_RATE_HZ
    tail = np.random.default_rng(9).normal(size=len(time)) * 10 ** (-3 * time / 0.4)
    tail[: SPEECH_RATE_HZ // 200] = 0.0
    tail /= np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    size = len(pcm) + len(tail)
    return _int16(
        np.fft.irfft(np.fft.rfft(pcm.astype(np.float64), size) * np.fft.rfft(tail, size), size)[: len(pcm)] / 1.5
    )


DEGRADED: Mapping[str, Callable[[Pcm], Pcm]] = {
    "telephone": telephone,
    "opus 12 kb/s": opus,
    "-45 dBFS": quiet,
    "noise at 10 dB": noisy,
    "reverberation 0.4 s": reverberant,
}
BOUNDED = ("telephone", "opus 12 kb/s", "-45 dBFS")


def without_speech() -> dict[str, Pcm]:
    """20 s each of silence, noises and music; the music is made otherwise than the training's."""
    count = 20 * SPEECH_RATE_HZ
    random = np.random.default_rng(77)
    time = np.arange(count) / SPEECH_RATE_HZ
    white = random.normal(size=count)
    pink = np.fft.irfft(np.fft.rfft(white) / np.sqrt(np.maximum(np.fft.rfftfreq(count, 1 / SPEECH_RATE_HZ), 20)), count)
    pink /= pink.std()
    return {
        "digital silence": np.zeros(count, np.int16),
        "white noise -60 dBFS": _int16(32.8 * white),
        "white noise -20 dBFS": _int16(3277 * white),
        "pink noise -30 dBFS": _int16(1036 * pink),
        "hum 50 Hz": _int16(2000 * np.sin(2 * np.pi * 50 * time) + 600 * np.sin(2 * np.pi * 150 * time)),
        "music, plucked strings": _int16(3000 * _plucked(count, random)),
        "music, organ chords": _int16(3000 * _organ(time)),
    }


def _plucked(count: int, random: np.random.Generator) -> np.ndarray:
    """Karplus-Strong strings, a note each 0.22 s."""
    out = np.zeros(count)
    for start in range(0, count - SPEECH_RATE_HZ, int(0.22 * SPEECH_RATE_HZ)):
        period = int(SPEECH_RATE_HZ / (110 * 2 ** (random.choice([0, 3, 5, 7, 10, 12, 15, 19]) / 12)))
        string = random.uniform(-1, 1, period)
        for turn in range(SPEECH_RATE_HZ // period):
            out[start + turn * period : start + (turn + 1) * period] += string
            string = 0.497 * (string + np.roll(string, 1))
    return out / np.abs(out).max()


def _organ(time: np.ndarray) -> np.ndarray:
    """Chords that change every two seconds, each note of six stops."""
    out = np.zeros(len(time))
    for chord, notes in enumerate(((0, 4, 7), (5, 9, 12), (7, 11, 14), (0, 4, 12)) * 3):
        here = (time >= 2 * chord) & (time < 2 * chord + 2)
        for note in notes:
            hz = 196 * 2 ** (note / 12)
            for k, gain in ((1, 1.0), (2, 0.7), (3, 0.4), (4, 0.4), (6, 0.2), (8, 0.2)):
                out[here] += gain * np.sin(2 * np.pi * hz * k * time[here])
    return out / np.abs(out).max()


def _int16(sound: np.ndarray) -> Pcm:
    return np.clip(np.rint(sound), -32768, 32767).astype(np.int16)
