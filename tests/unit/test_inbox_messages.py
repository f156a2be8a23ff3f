"""What the inbox takes and refuses, and with which words."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from typing import Any

import av
import numpy as np
import pytest

from agent.inbox import messages
from agent.inbox.messages import AudioMessage, ControlMessage, InvalidMessage, TextMessage, parse
from agent.inbox.reading import read
from agent.inbox.sound import decode
from avatar.frames import SAMPLE_RATE_HZ

pytestmark = pytest.mark.unit


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


CODECS = {"wav": "pcm_s16le", "mp3": "libmp3lame", "ogg": "libopus", "flac": "flac"}


def encoded(audio_format: str, seconds: float = 1.0, *, level: int = 9000) -> bytes:
    """A 440 Hz tone, mono, in one of the formats; all but ogg at 44.1 kHz."""
    rate_hz = 48_000 if audio_format == "ogg" else 44_100
    at = np.arange(round(seconds * rate_hz)) / rate_hz
    tone = (level * np.sin(2 * np.pi * 440 * at)).astype(np.int16)
    target = io.BytesIO()
    with av.open(target, "w", format=audio_format) as container:
        stream = container.add_stream(CODECS[audio_format], rate=rate_hz, layout="mono")
        assert isinstance(stream, av.AudioStream)
        resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=rate_hz, frame_size=960)
        frame = av.AudioFrame.from_ndarray(tone.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = rate_hz
        for ready in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    return target.getvalue()


def audio(data: bytes, audio_format: str) -> bytes:
    return body(type="audio", data=base64.b64encode(data).decode(), format=audio_format)


def test_the_three_kinds() -> None:
    said = parse(
        body(
            type="text",
            data="Hello.",
            session_id="studio 1",
            timestamp="2030-01-02T03:04:05Z",
            id="a-1",
            priority=3,
            language="de",
            voice="espeak:de+f3",
        )
    )
    assert isinstance(said, TextMessage)
    assert (said.id, said.session_id, said.priority, said.language) == ("a-1", "studio 1", 3, "de")
    assert said.timestamp is not None
    assert said.timestamp.year == 2030
    skip = parse(body(type="control", data="skip"))
    assert isinstance(skip, ControlMessage)
    assert skip.data == "skip"
    played = parse(audio(b"RIFF", "wav"))
    assert isinstance(played, AudioMessage)
    assert played.data == b"RIFF"


def test_an_id_is_given_where_there_is_none_and_the_brokers_counts_only_then() -> None:
    first, second = parse(body(type="text", data="a")), parse(body(type="text", data="a"))
    assert first.id != second.id
    assert parse(body(type="text", data="a"), {"id": "m1", "priority": 4}).priority == 4
    assert parse(body(type="text", data="a", id="own", priority=1), {"id": "m1", "priority": 4}).id == "own"
    assert parse(body(type="text", data="a", id=None), {"id": "m1"}).id == "m1"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", "the message is not JSON"),
        (b"\xff\xfe", "the message is not JSON"),
        (b"[" * 200_000, "the message is not JSON"),
        (b'"hello"', "a JSON string: send an object such as"),
        (b"null", "a JSON null"),
        (body(data="hello"), "type is missing: set it to text, audio or control"),
        (body(type="song", data="la"), "type='song': must be text, audio or control"),
        (body(type="text"), "data is missing"),
        (body(type="text", data=" ... "), "data=' ... ': there is nothing to say"),
        (body(type="text", data=7), "data=7: Input should be a valid string"),
        (body(type="text", data="x" * 50_001), "at most 50000 characters"),
        (body(type="text", data="a", priority=10), "priority=10: Input should be less than or equal to 9"),
        (body(type="text", data="a", prioritty=1), "prioritty is no field of this message: did you mean priority?"),
        (body(type="text", data="a", timestamp="yesterday"), "timestamp='yesterday'"),
        (body(type="text", data="a", id="two words"), "id='two words'"),
        (body(type="text", data="a", session_id="a\nb"), "session_id='a\\nb'"),
        (body(type="text", data="a", language="german!"), "language='german!'"),
        (body(type="control", data="dance"), "data='dance': Input should be 'start', 'stop', 'skip'"),
        (body(type="audio", data="aGk="), "format is missing"),
        (body(type="audio", data="not base64!", format="wav"), "is not base64"),
        (body(type="audio", data="", format="wav"), "holds no sound"),
        (body(type="audio", data="aGk=", format="midi"), "format='midi': Input should be 'wav', 'mp3', 'ogg' or"),
    ],
)
def test_what_is_not_a_message_is_refused_with_field_value_and_remedy(sent: bytes, said: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        parse(sent)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 600


def test_what_is_too_big_is_refused_unread() -> None:
    with pytest.raises(InvalidMessage, match=f"at most {messages.MAX_BODY_BYTES} are taken"):
        parse(b" " * (messages.MAX_BODY_BYTES + 1))


@pytest.mark.parametrize("audio_format", ["wav", "mp3", "ogg", "flac"])
async def test_recordings_of_every_format_are_heard(audio_format: str) -> None:
    message = await read(audio(encoded(audio_format), audio_format))
    assert isinstance(message, AudioMessage)
    pcm = np.concatenate(list(decode(message.data, message.format)))
    assert abs(pcm.size / SAMPLE_RATE_HZ - 1.0) < 0.06
    middle = pcm[SAMPLE_RATE_HZ // 4 : SAMPLE_RATE_HZ // 4 + 24_000].astype(float)
    assert 436 < np.argmax(np.abs(np.fft.rfft(middle))) * 2 < 444
    assert 0.8 < np.abs(middle).max() / 9000 < 1.2


@pytest.mark.parametrize(
    ("data", "audio_format", "said"),
    [
        (b"RIFF of nothing", "wav", "data cannot be read as wav"),
        (b"\x00" * 5000, "mp3", "data"),
        (encoded("flac"), "wav", "data cannot be read as wav"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "mp3", "data"),
    ],
)
async def test_what_is_no_recording_is_refused(data: bytes, audio_format: str, said: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        await read(audio(data, audio_format))
    assert said in str(refused.value)


async def test_a_recording_that_would_last_for_hours_is_refused() -> None:
    # Silence in flac takes next to nothing: the bytes say nothing of the length.
    data = await asyncio.to_thread(encoded, "flac", 610, level=0)
    assert len(data) < 2_000_000
    with pytest.raises(InvalidMessage, match="longer than 600 s"):
        await read(audio(data, "flac"))
