"""What a stream was asked to show, looked for in the pictures that a client of the server decodes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.rtmpreader import Reader
from benchmarks.rtmpserver import RtmpServer
from tests.rtmp.air import eventually
from tests.rtmp.test_command import streaming

pytestmark = [pytest.mark.rtmp, pytest.mark.timeout(180)]

EDGE = np.s_[100:170, 4:60]
"""Beside the avatar, in pictures of 480x270 px."""
CORNER = np.s_[0:40, 0:60]
FOOT = np.s_[200:270, 40:440]
LOOP_MS = 2000.0
WHITE = 215


def film(file: Path) -> Path:
    """Two seconds, dark in their first half and bright in the second."""
    with av.open(str(file), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "10"})
        video.width, video.height, video.pix_fmt = 480, 270, "yuv420p"
        for number in range(50):
            planes = np.full((405, 480), 128, np.uint8)
            planes[:270] = 40 if number < 25 else 120
            container.mux(video.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(video.encode(None))
    return file


def white(luma: npt.NDArray[np.uint8], where: tuple[slice, slice]) -> int:
    """How many pixels there are as bright as letters."""
    return int(np.count_nonzero(luma[where] > WHITE))


async def watched(server: RtmpServer, folder: Path, *options: str, **environment: str) -> tuple[Reader, float, float]:
    """A stream that says one sentence; the media times in ms between which it was heard."""
    async with streaming(folder, "--rtmp", server.url("a"), *options, **environment) as command:
        await eventually(lambda: "a" in server.publishers(), 10, "being on air")
        await command.served()
        await command.ready()
        reader = Reader(server.url("a"), decode=True, keep_every_ms=200).start()
        await eventually(lambda: len(reader.of("video")) > 125, 30, "some seconds of idle")
        command.say("These are the words that a caption would show.")
        await eventually(lambda: command.health()["queue"]["settled"]["played"] == 1, 20, "the sentence")
        await asyncio.sleep(2.5)
        await asyncio.to_thread(reader.stop)
    first_ms, sound = reader.sound()
    loud = np.flatnonzero(np.abs(sound) > 0.02)
    return reader, first_ms + loud[0] / 48, first_ms + loud[-1] / 48


async def test_captions_a_label_and_a_film_behind_the_avatar_at_30_pictures_a_second(
    server: RtmpServer, tmp_path: Path
) -> None:
    background = film(tmp_path / "film.mp4")
    reader, from_ms, until_ms = await watched(
        server, tmp_path, "--captions", "--label", "AI", "--background", str(background), RTMP_FPS="30"
    )
    assert set(reader.steps_ms("video").round()) == {33, 34}
    # The letters of the label, always.
    assert min(white(luma, CORNER) for _, luma in reader.kept) > 20
    # The caption while it speaks, and not before or long after.
    before = max(white(luma, FOOT) for at, luma in reader.kept if at < from_ms - 200)
    during = [white(luma, FOOT) for at, luma in reader.kept if from_ms + 800 < at < until_ms - 200]
    after = white(reader.kept[-1][1], FOOT)
    assert min(during) > before + 150
    assert after <= before + 20
    # The film goes round and round, also while it speaks.
    edge = np.array([luma[EDGE].mean() for _, luma in reader.kept])
    assert edge.min() < 60
    assert edge.max() > 100
    bright = np.array([at for (at, _), level in zip(reader.kept, edge, strict=True) if level > 80])
    begun = bright[1:][np.diff(bright) > 500]
    assert begun.size >= 2
    assert np.diff(begun) == pytest.approx(LOOP_MS, abs=250)


async def test_what_was_not_asked_for_is_not_shown(server: RtmpServer, tmp_path: Path) -> None:
    reader, from_ms, until_ms = await watched(server, tmp_path, "--background", "#202020", RTMP_FPS="25")
    assert set(reader.steps_ms("video").round()) == {40}
    assert max(white(luma, CORNER) for _, luma in reader.kept) == 0
    assert np.ptp([luma[EDGE].mean() for _, luma in reader.kept]) < 4
    before = max(white(luma, FOOT) for at, luma in reader.kept if at < from_ms - 200)
    during = [white(luma, FOOT) for at, luma in reader.kept if from_ms + 800 < at < until_ms - 200]
    assert max(during) <= before + 50
