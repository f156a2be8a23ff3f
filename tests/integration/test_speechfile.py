"""Speech from sound files: common formats at 48 kHz mono, every sample; what is no sound is refused with the reason."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream

from agent.speechfile import SpeechFileError, read_speech, speech_duration_s
from avatar.frames import SAMPLE_RATE_HZ, Pcm

pytestmark = pytest.mark.media


def write_with_av(path: Path, codec: str, rate_hz: int, left: Pcm, right: Pcm) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout="stereo")
        assert isinstance(stream, AudioStream)
        stereo = av.AudioFrame.from_ndarray(np.stack([left, right]), format="s16p", layout="stereo")
        stereo.sample_rate = rate_hz
        container.mux(stream.encode(stereo))
        container.mux(stream.encode(None))


def tone(rate_hz: int, seconds: float) -> Pcm:
    return (12_000 * np.sin(2 * np.pi * 440 * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.int16)


@pytest.mark.parametrize(
    ("name", "codec", "rate_hz"),
    [
        ("a.wav", "pcm_s16le", 22_050),
        ("a.flac", "flac", 44_100),
        ("a.mp3", "libmp3lame", 44_100),
        ("a.ogg", "libopus", 48_000),
    ],
)
def test_common_formats_are_read_at_48_khz_mono(tmp_path: Path, name: str, codec: str, rate_hz: int) -> None:
    path, sound = tmp_path / name, tone(rate_hz, 2.0)
    write_with_av(path, codec, rate_hz, sound, sound)
    pcm = np.concatenate(list(read_speech(path)))
    assert pcm.dtype == np.int16
    assert pcm.size / SAMPLE_RATE_HZ == pytest.approx(2.0, abs=0.06)
    assert speech_duration_s(path) == pytest.approx(2.0, abs=0.06)
    middle = pcm[SAMPLE_RATE_HZ // 2 : SAMPLE_RATE_HZ // 2 + SAMPLE_RATE_HZ]
    assert np.abs(np.fft.rfft(middle)).argmax() == 440
    assert np.sqrt(np.mean(np.square(middle, dtype=np.float64))) == pytest.approx(12_000 / np.sqrt(2), rel=0.1)


def test_a_sound_file_keeps_every_sample(tmp_path: Path) -> None:
    path = tmp_path / "exact.wav"
    sound = np.random.default_rng(3).integers(-20_000, 20_000, 100_001, np.int16)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
        file.writeframes(sound.tobytes())
    assert np.array_equal(np.concatenate(list(read_speech(path))), sound)


def test_what_is_no_sound_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(SpeechFileError, match="No such file"):
        speech_duration_s(tmp_path / "missing.wav")
    text = tmp_path / "text.wav"
    text.write_text("This is no sound at all. " * 50)
    with pytest.raises(SpeechFileError, match=r"cannot read .*text\.wav as sound"):
        list(read_speech(text))
    picture = tmp_path / "picture.mp4"
    with av.open(str(picture), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(SpeechFileError, match="holds no sound"):
        list(read_speech(picture))
