"""The laws of every sink (avatar/frames.py), over every sink: what is put comes out once, in order, in its place.

A new sink joins with one line in ``SINKS``: a coroutine that opens it and says how to see what came out of its far end.
Frames come at the real pace, 25 a second, since a sink may send by a clock of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from aiortc.mediastreams import MediaStreamError
from livekit import rtc

from avatar.frames import SAMPLE_RATE_HZ, TICK_MS, TICK_SAMPLES, Frame, Pcm, Picture, Sink, SinkClosed
from benchmarks.rtmpreader import Reader
from rooms.canvas import Canvas, Stage
from rooms.livekit_sink import LiveKitSink
from rooms.memory import MemorySink
from rooms.mp4 import Provenance
from rooms.packets import FADE_SAMPLES
from rooms.recording import RecordingSink
from rooms.rtmp import StreamSettings, StreamSink
from rooms.rtmp_recording import StreamRecording
from rooms.tracks import PACKET_MS, PeerSink
from tests.doubles.mp4 import play

pytestmark = pytest.mark.media

WIDTH = HEIGHT = 64
SILENCE = 0.01
"""Of full scale; a lossy codec leaves a little around an edge."""
PACKET_SAMPLES = SAMPLE_RATE_HZ * PACKET_MS // 1000
EDGE_SAMPLES = 720
"""15 ms: how far a lossy codec smears an edge."""
MARK: Pcm = np.full(TICK_SAMPLES, 100, np.int16)
"""Below ``SILENCE``."""
MARK_LUMA = 10


@dataclass(frozen=True)
class Sent:
    """What came out of the far end.

    Args:
        sound: float32 in -1..1 at 48 kHz, from the first frame's first sample on (the codec's own delay taken off).
        pictures: (tick, mean luma) of each, counted from the first frame.
    """

    sound: npt.NDArray[np.float32]
    pictures: list[tuple[int, float]]


@dataclass(frozen=True)
class Opened:
    sink: Sink
    sent: Callable[[], Awaitable[Sent]]
    """To be called after the sink was closed."""


Open = Callable[[Path], Awaitable[Opened]]


async def open_recording(folder: Path, *, fragmented: bool) -> Opened:
    out = folder / "out.mp4"
    sink = RecordingSink(out, WIDTH, HEIGHT, Provenance("0", "Test", "test"), fragmented=fragmented)

    async def sent() -> Sent:
        played = await asyncio.to_thread(play, out)
        ticks = np.round(played.picture_times_ms / TICK_MS).astype(int)
        return Sent(played.sound, list(zip(ticks.tolist(), played.luma.tolist(), strict=True)))

    return Opened(sink, sent)


async def open_peer(folder: Path) -> Opened:
    """The two tracks of a WebRTC peer, asked for frames as aiortc's senders ask."""
    sink = PeerSink()
    packets: list[av.Packet[Any]] = []
    pictures: list[av.VideoFrame] = []

    async def send_sound() -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                packets.append(await sink.sound.recv())

    async def send_pictures() -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                pictures.append(await sink.picture.recv())

    sending = [asyncio.create_task(send_sound()), asyncio.create_task(send_pictures())]

    async def sent() -> Sent:
        await asyncio.gather(*sending)
        sound = np.zeros(max((_pts(one) + PACKET_SAMPLES for one in packets), default=0), np.float32)
        decoder = av.AudioCodecContext.create("libopus", "r")
        for one in packets:
            (decoded,) = decoder.decode(av.Packet(bytes(one)))
            sound[_pts(one) : _pts(one) + PACKET_SAMPLES] = decoded.to_ndarray().reshape(-1, 2)[:, 0] / 32768
        per_tick = 90_000 * TICK_MS // 1000
        shown = [(_pts(one) // per_tick, float(one.to_ndarray()[:HEIGHT].mean())) for one in pictures]
        return Sent(sound, shown)

    return Opened(sink, sent)


async def open_stream(folder: Path) -> Opened:
    """The packets that every target of a stream gets, as its recording holds them."""
    side = 160
    recording = StreamRecording(folder, Provenance("0", "Test", "test"))
    settings = StreamSettings((), video_bit_rate=2_000_000, encoder="x264")
    sink = StreamSink(Canvas(Stage(side, side)), side, side, settings, outlets=[recording])

    async def sent() -> Sent:
        played = await asyncio.to_thread(lambda: Reader(str(*folder.glob("*.mp4")), decode=True).start().finished())
        first_ms, sound = played.sound()
        silence = np.zeros(round(first_ms * SAMPLE_RATE_HZ / 1000), np.float32)
        return Sent(np.concatenate([silence, sound]), [(round(at / TICK_MS), luma) for at, luma in played.luma])

    return Opened(sink, sent)


async def open_memory(folder: Path) -> Opened:
    sink = MemorySink()

    async def sent() -> Sent:
        first = sink.frames[0].tick
        shown = [(frame.tick - first, float(frame.picture.planes[:HEIGHT].mean())) for frame in sink.frames]
        return Sent((sink.sound / 32768).astype(np.float32), shown)

    return Opened(sink, sent)


async def open_livekit(folder: Path) -> Opened:
    """The two sources of a LiveKit publication, as livekit's encoders get them; no server is needed for that."""
    sink = LiveKitSink(WIDTH, HEIGHT)
    sound: list[npt.NDArray[np.int16]] = []
    pictures: list[tuple[int, float]] = []
    hearing = rtc.AudioStream.from_track(
        track=rtc.LocalAudioTrack.create_audio_track("voice", sink.sound), sample_rate=SAMPLE_RATE_HZ, num_channels=1
    )
    seeing = rtc.VideoStream(rtc.LocalVideoTrack.create_video_track("face", sink.picture))

    async def hear() -> None:
        async for event in hearing:
            sound.append(np.frombuffer(event.frame.data, np.int16))

    async def see() -> None:
        async for event in seeing:
            luma = np.frombuffer(event.frame.convert(rtc.VideoBufferType.I420).data, np.uint8)[: WIDTH * HEIGHT]
            pictures.append((event.timestamp_us, float(luma.mean())))

    watching = [asyncio.create_task(hear()), asyncio.create_task(see())]
    # The sources never stand still, so a frame of our own marks where the time line begins.
    sink.put(Frame(0, 0, Picture(np.full((HEIGHT * 3 // 2, WIDTH), MARK_LUMA, np.uint8)), MARK))
    await asyncio.sleep(TICK_MS / 1000)

    async def sent() -> Sent:
        await asyncio.sleep(0.1)
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        await hearing.aclose()
        await seeing.aclose()
        line = np.concatenate(sound)
        begins = int(np.flatnonzero(line)[0]) + TICK_SAMPLES
        marks = [place for place, (_, luma) in enumerate(pictures) if round(luma) == MARK_LUMA]
        shown, tick = [], -1
        for (last_us, _), (at_us, luma) in itertools.pairwise(pictures[marks[0] :]):
            tick += round((at_us - last_us) / (TICK_MS * 1000))
            shown.append((tick, luma))
        return Sent((line[begins:] / 32768).astype(np.float32), shown)

    return Opened(sink, sent)


def _pts(frame: av.Packet[Any] | av.VideoFrame) -> int:
    assert frame.pts is not None
    return frame.pts


SINKS = [
    pytest.param(open_memory, id="memory"),
    pytest.param(open_peer, id="webrtc"),
    pytest.param(open_livekit, id="livekit"),
    pytest.param(lambda folder: open_recording(folder, fragmented=False), id="recording"),
    pytest.param(lambda folder: open_recording(folder, fragmented=True), id="recording-fragmented"),
    pytest.param(open_stream, id="stream"),
]


def luma_of(tick: int) -> int:
    return 40 + 8 * (tick % 20)


def picture(tick: int) -> Picture:
    planes = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    planes[:HEIGHT] = luma_of(tick)
    return Picture(planes)


def pitch_hz(tick: int) -> int:
    """Whole periods fit a tick, so that there is no click where two ticks meet."""
    return 400 + 50 * (tick % 30)


def voice(tick: int) -> Pcm:
    times_s = np.arange(TICK_SAMPLES) / SAMPLE_RATE_HZ
    return (12_000 * np.sin(2 * np.pi * pitch_hz(tick) * times_s)).astype(np.int16)


SILENT: Pcm = np.zeros(TICK_SAMPLES, np.int16)


def heard_hz(sound: npt.NDArray[np.float32], tick: int) -> float:
    """The strongest pitch in the middle of a tick."""
    middle = sound[tick * TICK_SAMPLES + 240 : (tick + 1) * TICK_SAMPLES - 240]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.size), 8 * TICK_SAMPLES))
    return float(spectrum.argmax() * SAMPLE_RATE_HZ / (8 * TICK_SAMPLES))


def loudness(sound: npt.NDArray[np.float32], first_sample: int, last_sample: int) -> float:
    return float(np.sqrt(np.mean(np.square(sound[first_sample:last_sample]))))


async def paced(sink: Sink, frames: list[Frame]) -> None:
    """Put a frame every 40 ms."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for place, frame in enumerate(frames):
        await asyncio.sleep(max(0.0, began + place * TICK_MS / 1000 - loop.time()))
        sink.put(frame)
    await asyncio.sleep(TICK_MS / 1000)


@pytest.mark.parametrize("opened", SINKS)
async def test_everything_comes_out_once_in_order_and_in_its_place(opened: Open, tmp_path: Path) -> None:
    case = await opened(tmp_path)
    first = 1000
    await paced(case.sink, [Frame(first + k, 0, picture(k), voice(k)) for k in range(25)])
    await case.sink.aclose()
    sent = await case.sent()
    assert [heard_hz(sent.sound, k) for k in range(25)] == pytest.approx([pitch_hz(k) for k in range(25)], abs=8)
    after_the_end = sent.sound[25 * TICK_SAMPLES + EDGE_SAMPLES :]
    assert not (np.abs(after_the_end) > SILENCE).any()
    assert [tick for tick, _ in sent.pictures] == list(range(25))
    assert [luma for _, luma in sent.pictures] == pytest.approx([luma_of(k) for k in range(25)], abs=3)


@pytest.mark.parametrize("opened", SINKS)
async def test_a_clear_silences_what_was_not_sent_and_keeps_the_time_line(opened: Open, tmp_path: Path) -> None:
    case = await opened(tmp_path)
    await paced(case.sink, [Frame(k, 0, picture(k), voice(k)) for k in range(10)])
    unsent = case.sink.unsent()
    # A sink whose queue goes on by itself is asked twice here, a moment apart.
    assert case.sink.clear(1) == pytest.approx(unsent, abs=SAMPLE_RATE_HZ // 200)
    after = [Frame(k, 1, picture(k), SILENT if k < 20 else voice(k)) for k in range(10, 25)]
    await paced(case.sink, after)
    await case.sink.aclose()
    sound = (await case.sent()).sound

    stopped = 10 * TICK_SAMPLES - unsent
    last_whole_tick = stopped // TICK_SAMPLES
    assert heard_hz(sound, last_whole_tick - 1) == pytest.approx(pitch_hz(last_whole_tick - 1), abs=8)
    assert loudness(sound, stopped + FADE_SAMPLES + EDGE_SAMPLES, 20 * TICK_SAMPLES - EDGE_SAMPLES) < SILENCE
    # 13 Hz are 10 ms: a packet may have been on its way in a queue that is not ours and tells nothing (LiveKit).
    assert [heard_hz(sound, k) for k in range(20, 25)] == pytest.approx([pitch_hz(k) for k in range(20, 25)], abs=13)


@pytest.mark.parametrize("opened", SINKS)
async def test_an_older_generation_is_not_heard(opened: Open, tmp_path: Path) -> None:
    case = await opened(tmp_path)
    case.sink.clear(5)
    await paced(case.sink, [Frame(k, 4 if k < 10 else 5, picture(k), voice(k)) for k in range(20)])
    await case.sink.aclose()
    sound = (await case.sent()).sound
    assert loudness(sound, 0, 10 * TICK_SAMPLES - EDGE_SAMPLES) < SILENCE
    assert [heard_hz(sound, k) for k in range(10, 20)] == pytest.approx([pitch_hz(k) for k in range(10, 20)], abs=8)


@pytest.mark.parametrize("opened", SINKS)
async def test_it_holds_no_more_than_its_stated_delay(opened: Open, tmp_path: Path) -> None:
    case = await opened(tmp_path)
    stated_ms = case.sink.delay_ms
    assert 0 <= stated_ms <= 60
    for k in range(25):
        case.sink.put(Frame(k, 0, picture(k), voice(k)))
        # A frame was put just now, of which nothing needs to have been sent; 20 ms for a late wake-up of either side.
        assert case.sink.unsent() <= (stated_ms + TICK_MS + 20) * SAMPLE_RATE_HZ // 1000
        await asyncio.sleep(TICK_MS / 1000)
    assert case.sink.delay_ms == stated_ms
    await case.sink.aclose()
    assert case.sink.unsent() == 0


@pytest.mark.parametrize("opened", SINKS)
async def test_a_flood_does_not_block_and_costs_pictures_before_sound(opened: Open, tmp_path: Path) -> None:
    case = await opened(tmp_path)
    frames = [Frame(k, 0, picture(k), voice(k)) for k in range(200)]
    took_s = []
    for frame in frames:
        began = time.perf_counter()
        case.sink.put(frame)
        case.sink.unsent()
        took_s.append(time.perf_counter() - began)
    began = time.perf_counter()
    case.sink.clear(1)
    took_s.append(time.perf_counter() - began)
    # A blocking put would take a frame's encoding each time; the machine may hold one of them up.
    assert float(np.median(took_s)) < 0.001
    assert sum(took_s) < 1.0
    await asyncio.sleep(0.2)
    await case.sink.aclose()
    sent = await case.sent()
    ticks = [tick for tick, _ in sent.pictures]
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= -(-sent.sound.size // TICK_SAMPLES)


@pytest.mark.parametrize("opened", SINKS)
async def test_frames_are_shared_and_left_alone(opened: Open, tmp_path: Path) -> None:
    case = await opened(tmp_path)
    frames = [Frame(k, 0, picture(k), voice(k)) for k in range(5)]
    case.sink.put(frames[0])
    case.sink.put(frames[1])
    case.sink.clear(1)
    for frame in frames[2:]:
        case.sink.put(frame)
    await case.sink.aclose()
    for k, frame in enumerate(frames):
        assert np.array_equal(frame.sound, voice(k))
        assert np.array_equal(frame.picture.planes, picture(k).planes)


@pytest.mark.parametrize("opened", SINKS)
async def test_closing_is_bounded_may_be_repeated_and_ends_it(opened: Open, tmp_path: Path) -> None:
    case = await opened(tmp_path)
    assert case.sink.name
    await paced(case.sink, [Frame(k, 0, picture(k), voice(k)) for k in range(10)])
    async with asyncio.timeout(2):
        await case.sink.aclose()
        await case.sink.aclose()
    with pytest.raises(SinkClosed, match=r"\w"):
        case.sink.put(Frame(10, 0, picture(10), voice(10)))
