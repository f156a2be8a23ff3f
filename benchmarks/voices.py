"""What benchmarks say into a microphone: spoken questions, interruptions, coughs. 48 kHz mono, int16."""

from __future__ import annotations

import numpy as np

from agent.speech.espeak import Espeak
from agent.speech.espeak_worker import RATE_HZ as ESPEAK_HZ
from avatar.frames import SAMPLE_RATE_HZ, Pcm

VOICE = "en-gb+m7"
"""Another voice than the avatar's."""
PEAK = 12_000
QUESTIONS = (
    "What time is it?",
    "Tell me a joke please.",
    "How are you today?",
    "What is your name?",
    "What can you do for me?",
    "Are you a real person?",
    "What day is it today?",
    "How much is two plus three?",
)
INTERRUPTIONS = (
    "Wait, stop, I have a question for you.",
    "Hold on a moment, please.",
    "Excuse me, can I say something?",
    "Stop, that is enough, thank you.",
)


async def spoken(espeak: Espeak, text: str, voice: str = VOICE) -> Pcm:
    """A sentence without the silence at its ends, at a microphone's usual level."""
    data = b"".join([chunk.pcm async for chunk in espeak.speak(text, voice)])
    pcm = _resampled(np.frombuffer(data, np.int16).astype(np.float64), ESPEAK_HZ)
    loud = np.flatnonzero(np.abs(pcm) > 0.02 * np.abs(pcm).max())
    return _levelled(pcm[loud[0] : loud[-1] + 1])


def cough(seed: int, seconds: float = 0.3) -> Pcm:
    """One cough: a hard burst of noise that is shaped by a throat (500 to 2500 Hz) and dies away."""
    draw = np.random.default_rng(seed)
    n = int(seconds * SAMPLE_RATE_HZ)
    spectrum = np.fft.rfft(draw.standard_normal(n))
    hz = np.fft.rfftfreq(n, 1 / SAMPLE_RATE_HZ)
    throat = np.exp(-(((hz - 1100) / 700) ** 2)) + 0.3 * np.exp(-(((hz - 2600) / 900) ** 2))
    noise = np.fft.irfft(spectrum * throat, n)
    at = np.arange(n) / SAMPLE_RATE_HZ
    envelope = np.minimum(1, at / 0.008) * np.exp(-at / (0.3 * seconds))
    return _levelled(noise * envelope)


def _levelled(pcm: np.typing.NDArray[np.float64]) -> Pcm:
    levelled: Pcm = (pcm * (PEAK / np.abs(pcm).max())).astype(np.int16)
    return levelled


def _resampled(pcm: np.typing.NDArray[np.float64], rate_hz: int) -> np.typing.NDArray[np.float64]:
    """Upsampled by its spectrum: exact for a whole recording, and free of delay."""
    n = round(pcm.size * SAMPLE_RATE_HZ / rate_hz)
    spectrum = np.fft.rfft(pcm)
    wider = np.zeros(n // 2 + 1, np.complex128)
    wider[: min(spectrum.size, wider.size)] = spectrum[: wider.size]
    result: np.typing.NDArray[np.float64] = np.fft.irfft(wider, n) * (n / pcm.size)
    return result
