"""A stream's recording: what an ordinary player makes of it, and what breaks it."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from avatar.frames import TICK_SAMPLES, Frame, Pcm, Picture
from benchmarks.rtmpreader import Reader, flash_offsets_ms
from rooms.canvas import Canvas, Stage
from rooms.mp4 import Provenance
from rooms.rtmp import StreamSettings, StreamSink
from rooms.rtmp_encoder import Encoder, Packet
from rooms.rtmp_recording import StreamRecording, StreamRecordingError
from tests.disks import small_disk

pytestmark = pytest.mark.media

SIDE = 160
PROVENANCE = Provenance("1.2.3", "Test", "puppet")
BEEP_TICKS = (30, 31)


def packets(ticks: int, first: int = 0) -> Iterator[Packet]:
    """A stream that is white while it beeps, and black and silent else."""
    encoder = Encoder(SIDE, SIDE, 25, 500_000, "x264")
    times = np.arange(TICK_SAMPLES) / 48_000
    beep = (12_000 * np.sin(2 * np.pi * 1000 * times)).astype(np.int16)
    for tick in range(first, first + ticks):
        loud = tick - first in BEEP_TICKS
        planes = np.full((SIDE * 3 // 2, SIDE), 128, np.uint8)
        planes[:SIDE] = 235 if loud else 16
        sound = beep if loud else np.zeros(TICK_SAMPLES, np.int16)
        yield from encoder.encode(tick, av.VideoFrame.from_ndarray(planes, format="yuv420p"), sound)
    yield from encoder.flush()


def recorded(folder: Path) -> list[Path]:
    return sorted(folder.glob("mien-*.mp4"))


def play(file: Path) -> Reader:
    reader = Reader(str(file), decode=True)
    reader.start()
    reader.finished()
    assert reader.problem is None
    return reader


def record(folder: Path, stream: Iterator[Packet], **options: float) -> StreamRecording:
    recording = StreamRecording(folder, PROVENANCE, **options)
    for packet in stream:
        recording.offer(packet)
    recording.close()
    return recording


@pytest.mark.parametrize(
    "first",
    [0, 3_000_000, (1 << 32) // 40 - 30, 1 << 31],
    ids=["at the start", "after a day and a half", "through 32 bits of milliseconds", "after years"],
)
def test_a_player_shows_each_picture_with_its_sound(tmp_path: Path, first: int) -> None:
    recording = record(tmp_path / "made", packets(75, first))
    assert recording.status().state == "closed"
    (file,) = recorded(tmp_path / "made")
    assert recording.status().written_bytes == file.stat().st_size
    played = play(file)
    times_ms = [time_ms for time_ms, _ in played.luma]
    assert times_ms == pytest.approx(np.arange(75) * 40)
    assert [time_ms for time_ms, luma in played.luma if luma > 120] == [tick * 40 for tick in BEEP_TICKS]
    assert np.abs(flash_offsets_ms(played)) == pytest.approx([0], abs=5)


def test_it_says_what_made_it(tmp_path: Path) -> None:
    record(tmp_path, packets(30))
    with av.open(str(recorded(tmp_path)[0])) as container:
        metadata = container.metadata
        video = container.streams.video[0].codec_context
        assert (video.width, video.height, video.name) == (SIDE, SIDE, "h264")
        audio = container.streams.audio[0].codec_context
        assert (audio.name, audio.sample_rate, audio.layout.name) == ("aac", 48_000, "stereo")
    assert metadata["comment"] == PROVENANCE.comment
    assert json.loads(metadata["description"])["ai_generated"] is True


def test_every_prefix_of_whole_fragments_is_a_file(tmp_path: Path) -> None:
    record(tmp_path / "whole", packets(100))
    content = recorded(tmp_path / "whole")[0].read_bytes()
    starts = [at - 4 for at in range(len(content)) if content[at : at + 4] == b"moof"]
    assert len(starts) >= 3
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(content[: starts[-1]])
    assert 60 <= len(play(cut).luma) < 100


def test_half_a_fragment_is_cut_off_at_the_next_start(tmp_path: Path) -> None:
    record(tmp_path, packets(100))
    (file,) = recorded(tmp_path)
    content = file.read_bytes()
    file.write_bytes(content[: content.rindex(b"moof") + 300])
    later = StreamRecording(tmp_path, PROVENANCE)
    later.close()
    assert 60 <= len(play(file).luma) < 100


def test_files_are_rolled_at_a_keyframe_and_old_ones_deleted(tmp_path: Path) -> None:
    old, foreign = tmp_path / "mien-20200101-000000.mp4", tmp_path / "mine.mp4"
    for each in (old, foreign):
        each.write_bytes(b"old")
        os.utime(each, (1, 1))
    record(tmp_path, packets(150), keep_s=3600, file_s=0)
    files = recorded(tmp_path)
    assert old not in files
    assert foreign.exists()
    # A keyframe every 50 ticks, a file each.
    assert [len(play(file).luma) for file in files] == [50, 50, 50]


def test_a_full_disk_ends_it_with_a_reason_and_keeps_what_there_is(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    recording = StreamRecording(tmp_path, PROVENANCE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        for packet in packets(1500):
            recording.offer(packet)
        until = time.monotonic() + 5
        while recording.status().state == "recording" and time.monotonic() < until:
            time.sleep(0.01)
        status = recording.status()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status.state == "failed"
    assert "File too large" in (status.problem or "")
    assert str(tmp_path) in (status.problem or "")
    recording.close()
    assert len(play(recorded(tmp_path)[0]).luma) > 20


class Counting:
    """Another outlet, to which the recording must be nothing."""

    def __init__(self) -> None:
        self.pictures: list[int] = []

    def offer(self, packet: Packet) -> None:
        if packet.video:
            self.pictures.append(packet.time)

    def close(self) -> None:
        """Nothing to end."""


async def test_a_disk_that_fills_up_ends_the_recording_and_not_the_stream(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    picture = Picture(random.integers(16, 235, (SIDE * 3 // 2, SIDE), np.uint8))
    silence: Pcm = np.zeros(TICK_SAMPLES, np.int16)
    other = Counting()
    with small_disk(tmp_path / "disk", 200) as disk:
        recording = StreamRecording(disk, PROVENANCE, keep_s=3600, clean_every_s=0.05)
        sink = StreamSink(
            Canvas(Stage(SIDE, SIDE)), SIDE, SIDE, StreamSettings((), encoder="x264"), outlets=[recording, other]
        )
        ticks = 0
        until = time.monotonic() + 30
        while recording.status().state == "recording" and time.monotonic() < until:
            sink.put(Frame(ticks, 0, picture, silence))
            ticks += 1
            await asyncio.sleep(0.02)
        status = recording.status()
        assert status.state == "failed"
        assert "No space left on device" in (status.problem or "")
        assert "free some space" in (status.problem or "")
        for tick in range(ticks, ticks + 50):
            sink.put(Frame(tick, 0, picture, silence))
            await asyncio.sleep(0.02)
        # What was written before plays, and when its time is over it goes, although nothing is recorded any more.
        (file,) = recorded(disk)
        assert len(play(file).luma) > 20
        assert file.stat().st_size == status.written_bytes
        os.utime(file, (1, 1))
        while file.exists() and time.monotonic() < until:
            await asyncio.sleep(0.02)
        assert not file.exists()
        await sink.aclose()
    assert other.pictures == list(range(ticks + 50))


def test_an_old_recording_that_cannot_be_deleted_ends_nothing_and_keeps_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, old = tmp_path / "mien-20200101-000000.mp4", tmp_path / "mien-20200101-000001.mp4"
    stuck.mkdir()
    old.write_bytes(b"old")
    for each in (stuck, old):
        os.utime(each, (1, 1))
    record(tmp_path, packets(60), keep_s=3600)
    assert stuck.exists()
    assert not old.exists()
    assert "could not be deleted" in caplog.text
    assert len(play(recorded(tmp_path)[-1]).luma) == 60


def test_a_folder_that_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StreamRecordingError, match="another folder"):
        StreamRecording(tmp_path / "file" / "below", PROVENANCE)
