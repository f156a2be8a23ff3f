"""The stream's smaller parts: the kept still, the lines, the encoder's choice, an encoder that is behind, a viewer."""

from __future__ import annotations

import asyncio
import os
import pty
import threading
import time
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from agent.face import Face
from agent.persona import load_persona
from agent.settings import AvatarSettings
from agent.stream_face import KEPT, LateFace, keep_still, kept_still, plain
from agent.stream_lines import speak_lines
from avatar.frames import TICK_SAMPLES, Frame, Picture
from avatar.renderer import Shot
from avatar.static import StaticRenderer
from rooms.canvas import Canvas, Stage
from rooms.mp4 import Provenance
from rooms.rtmp import MAX_PICTURES, StreamSettings, StreamSink
from rooms.rtmp_encoder import Encoder, EncoderError, Packet
from rooms.rtmp_watch import MAX_FRAGMENTS, Viewer, mime

pytestmark = pytest.mark.media

SIDE = 160


def face(size_px: int = 256, **look: object) -> Face:
    persona = load_persona("mien")
    persona = persona.model_copy(update={"look": dict(persona.look) | look})
    return Face("puppet", "a test", AvatarSettings(size_px=size_px), persona)


def noise(seed: int = 1) -> Picture:
    return Picture(np.random.default_rng(seed).integers(16, 235, (256 * 3 // 2, 256), np.uint8))


def test_a_still_is_kept_as_it_is_and_for_its_own_face_alone(tmp_path: Path) -> None:
    assert kept_still(face(), tmp_path) is None
    keep_still(face(), noise(), tmp_path)
    kept = kept_still(face(), tmp_path)
    assert kept is not None
    assert (kept.planes == noise().planes).all()
    assert kept_still(face(512), tmp_path) is None
    assert kept_still(face(hair="another"), tmp_path) is None


def test_a_portraits_still_is_kept_for_itself_alone(tmp_path: Path) -> None:
    mine, yours = tmp_path / "mine", tmp_path / "yours"
    for portrait in (mine, yours):
        portrait.mkdir()
        (portrait / "picture.png").write_bytes(b"1")
    drawn = face()
    shown = replace(drawn, backend="portrait", portrait=mine)
    cache = tmp_path / "cache"
    keep_still(shown, noise(), cache)
    assert kept_still(shown, cache) is not None
    assert kept_still(drawn, cache) is None
    assert kept_still(replace(shown, portrait=yours), cache) is None
    (mine / "picture.png").write_bytes(b"another")
    assert kept_still(shown, cache) is None


def test_a_damaged_still_is_painted_again_and_few_are_kept(tmp_path: Path) -> None:
    keep_still(face(), noise(), tmp_path)
    (file,) = tmp_path.iterdir()
    for content in (b"no picture", cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes()):
        file.write_bytes(content)
        assert kept_still(face(), tmp_path) is None
    for number in range(KEPT + 3):
        keep_still(face(hair=f"{number}"), noise(), tmp_path)
    assert len(list(tmp_path.iterdir())) == KEPT
    # What a killed process left goes; what another one is writing just now stays.
    left, written = tmp_path / "a.1.partial", tmp_path / "b.2.partial"
    for each in (left, written):
        each.write_bytes(b"half")
    os.utime(left, (1, 1))
    keep_still(face(), noise(), tmp_path)
    assert not left.exists()
    assert written.exists()
    (tmp_path / "file").write_bytes(b"")
    keep_still(face(), noise(), tmp_path / "file" / "below")  # no place to keep it: painted again next time


async def test_a_late_face_answers_with_whatever_stands_behind_it() -> None:
    late = LateFace(plain(64))
    assert late.name == "static"
    assert (await late.request(Shot(0))).planes[0, 0] == plain(64).planes[0, 0]
    bright = np.full((96, 64), 200, np.uint8)
    before = late.show(StaticRenderer(Picture(bright)))
    await before.aclose()
    assert (await late.request(Shot(1))).planes[0, 0] == 200
    assert late.still.planes[0, 0] == 200
    await late.aclose()


def test_every_line_of_a_pipe_is_said_and_none_of_a_terminal() -> None:
    came: list[str] = []
    reading, writing = os.pipe()
    assert speak_lines(came.append, reading)
    os.write(writing, 'One.\n\n  \n…\nGrüße \n{"type": "text"}\nno end'.encode())
    os.close(writing)
    until = time.monotonic() + 5
    while len(came) < 4 and time.monotonic() < until:
        time.sleep(0.01)
    assert came == ["One.", "Grüße", '{"type": "text"}', "no end"]
    os.close(reading)
    terminal, other = pty.openpty()
    assert not speak_lines(came.append, other)
    os.close(terminal)
    os.close(other)


def test_an_encoder_is_taken_only_if_it_works() -> None:
    automatic = Encoder(SIDE * 2, SIDE, 25, 500_000, "auto")
    if automatic.name == "nvenc":
        assert Encoder(SIDE * 2, SIDE, 25, 500_000, "nvenc").name == "nvenc"
    else:
        with pytest.raises(EncoderError, match="use x264 or auto"):
            Encoder(SIDE * 2, SIDE, 25, 500_000, "nvenc")
    with pytest.raises(EncoderError, match="25 or 30"):
        Encoder(SIDE, SIDE, 24, 500_000)


def test_a_keyframe_comes_every_two_seconds_and_when_it_is_wanted() -> None:
    encoder = Encoder(SIDE, SIDE, 25, 500_000, "x264")
    grey = av.VideoFrame.from_ndarray(np.full((SIDE * 3 // 2, SIDE), 128, np.uint8), format="yuv420p")
    silence = np.zeros(TICK_SAMPLES, np.int16)
    packets: list[Packet] = []
    for tick in range(130):
        if tick == 60:
            encoder.force_keyframe()
        packets += encoder.encode(tick, grey, silence)
    packets += encoder.flush()
    assert [packet.time for packet in packets if packet.video and packet.keyframe] == [0, 50, 60, 110]
    assert [packet.time for packet in packets if packet.video] == list(range(130))
    assert [packet.time_ms for packet in packets] == sorted(packet.time_ms for packet in packets)
    assert [packet.time for packet in packets if not packet.video][:3] == [0, 1024, 2048]


class Collecting:
    """Takes every packet; the first makes the stream's thread wait until ``go`` is set."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self.go = threading.Event()

    def offer(self, packet: Packet) -> None:
        self.go.wait(30)
        self.packets.append(packet)

    def close(self) -> None:
        """Nothing to end."""


async def test_behind_its_time_it_shows_the_last_picture_again_at_even_steps() -> None:
    outlet = Collecting()
    sink = StreamSink(Canvas(Stage(SIDE, SIDE)), SIDE, SIDE, StreamSettings((), encoder="x264"), outlets=[outlet])
    silence = np.zeros(TICK_SAMPLES, np.int16)
    for tick in range(100):
        sink.put(Frame(tick, 0, noise(tick % 3), silence))
    outlet.go.set()
    await sink.aclose()
    # What waited, and what the thread had in hand when the first packet held it up, or took after it was let go.
    assert sink.status().pictures_dropped >= 100 - MAX_PICTURES - 4
    assert sink.status().ticks_dropped == 0
    assert [packet.time for packet in outlet.packets if packet.video] == list(range(100))


async def test_a_viewer_gets_a_file_and_one_that_is_too_slow_is_let_go() -> None:
    viewer = Viewer(Provenance("0", "Test", "test"))
    encoder = Encoder(SIDE, SIDE, 25, 500_000, "x264")
    grey = av.VideoFrame.from_ndarray(np.full((SIDE * 3 // 2, SIDE), 128, np.uint8), format="yuv420p")
    silence = np.zeros(TICK_SAMPLES, np.int16)

    async def stream(first: int, ticks: int) -> None:
        for tick in range(first, first + ticks):
            for packet in encoder.encode(tick, grey, silence):
                viewer.offer(packet)
            await asyncio.sleep(0)

    await stream(0, 10)
    form = await viewer.opened()
    assert form is not None
    assert mime(form).startswith('video/mp4; codecs="avc1.')
    content = b""
    fragments = viewer.read()
    for tick in range(10, 60, 5):
        await stream(tick, 5)
        content += await anext(fragments)
    assert content[4:8] == b"ftyp"
    assert content.count(b"moof") >= 5
    await stream(60, 6 * MAX_FRAGMENTS)
    rest = [fragment async for fragment in fragments]
    assert len(rest) <= MAX_FRAGMENTS + 10
