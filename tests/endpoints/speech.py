"""Sound for the local endpoints: text in; real speech, made by espeak-ng, out, as PCM or mp3, with its word times."""

from __future__ import annotations

import io
from dataclasses import dataclass

import av
import numpy as np
from livekit import rtc

from agent.speech.espeak import Espeak
from agent.speech.espeak_worker import RATE_HZ
from avatar.frames import Pcm

VOICE = "en-us+m3"


@dataclass(frozen=True)
class Spoken:
    """Speech.

    Args:
        pcm: int16 at ``rate_hz``.
        words: (word, start_s, end_s), as they stand in the text.
    """

    pcm: Pcm
    rate_hz: int
    words: tuple[tuple[str, float, float], ...]


async def speak(espeak: Espeak, text: str, *, rate_hz: int = 24_000, voice: str = VOICE, lead_s: float = 0.1) -> Spoken:
    """Speak a text; the sound begins with some silence, as that of online services does."""
    data, end_s = b"", 0.0
    starts: list[tuple[int, int]] = []
    async for chunk in espeak.speak(text, voice):
        data += chunk.pcm
        starts += chunk.words
        end_s = max((end_s, *(ms / 1000 for ms in chunk.clause_ends_ms)))
    words: list[tuple[str, float, float]] = []
    places = [(ms / 1000, position) for ms, position in starts if position == 0 or not text[position - 1].isalnum()]
    for (start_s, position), (next_s, _) in zip(places, [*places[1:], (end_s, 0)], strict=True):
        word = text[position:].split()[0].strip(".,;:!?\"'()")
        if word:
            words.append((word, lead_s + start_s, lead_s + next_s))
    pcm = resampled(np.frombuffer(data, np.int16), RATE_HZ, rate_hz)
    silence = np.zeros(int(lead_s * rate_hz), np.int16)
    return Spoken(np.concatenate([silence, pcm]), rate_hz, tuple(words))


def resampled(pcm: Pcm, from_hz: int, to_hz: int) -> Pcm:
    if from_hz == to_hz:
        return pcm
    resampler = rtc.AudioResampler(from_hz, to_hz)
    frames = resampler.push(rtc.AudioFrame(pcm.tobytes(), from_hz, 1, pcm.size)) + resampler.flush()
    return np.concatenate([np.frombuffer(frame.data, np.int16) for frame in frames])


def mp3(pcm: Pcm, rate_hz: int) -> bytes:
    """48 kbit/s, mono."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp3", options={"write_xing": "0", "id3v2_version": "0"}) as container:
        stream = container.add_stream("libmp3lame", rate=rate_hz)
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = 48_000
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(pcm[None, :], format="s16p", layout="mono")
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(stream.format, "mono", rate_hz, stream.codec_context.frame_size or 576)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return file.getvalue()
