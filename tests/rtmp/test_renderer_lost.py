"""A renderer that dies on air: a still picture, the voice goes on, and another renderer takes its place."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from agent.settings import load_settings
from agent.stream import Stream
from avatar.frames import Pcm, Picture
from avatar.renderer import Expression, RendererError, Shot
from avatar.static import StaticRenderer
from benchmarks.rtmpreader import Reader
from benchmarks.rtmpserver import RtmpServer
from tests.doubles.page import until

pytestmark = [pytest.mark.rtmp, pytest.mark.timeout(180)]

SIDE = 256


def plain(luma: int) -> Picture:
    planes = np.full((SIDE * 3 // 2, SIDE), 128, np.uint8)
    planes[:SIDE] = luma
    return Picture(planes)


class MortalRenderer(StaticRenderer):
    """Draws until it dies; then it raises at some calls and answers none of the others."""

    dead = False

    def request(self, shot: Shot) -> asyncio.Future[Picture]:
        if not self.dead:
            return super().request(shot)
        if shot.tick % 2:
            raise RendererError("the renderer is dead")
        return asyncio.get_running_loop().create_future()

    def push(self, segment: int, pcm: Pcm) -> None:
        if self.dead:
            raise RendererError("the renderer is dead")
        super().push(segment, pcm)

    def express(self, expression: Expression, tick: int) -> None:
        if self.dead:
            raise RendererError("the renderer is dead")


async def test_the_voice_goes_on_and_a_new_renderer_comes(server: RtmpServer) -> None:
    settings = load_settings(
        {
            "RTMP_URL": server.url("a"),
            "RTMP_RESOLUTION": "320x320",
            "MIEN_PORT": "0",
            "MIEN_SIZE_PX": str(SIDE),
            "MIEN_STREAM_BACKGROUND": "#000000",
        }
    )
    made: list[MortalRenderer] = []

    def make() -> MortalRenderer:
        made.append(MortalRenderer(plain(60 if not made else 200)))
        return made[-1]

    async with Stream(settings, make_renderer=make) as stream:
        await until(lambda: stream.health()["status"] == "ok", "being ready", 60)
        reader = Reader(server.url("a"), decode=True).start()
        await until(lambda: len(reader.luma) > 5, "reading", 20)
        made[0].dead = True
        await stream.say(
            "The face is gone, and the voice goes on to the end of this sentence, whatever may become of the face."
        )
        await until(lambda: stream.health()["queue"]["settled"]["played"] == 1, "the sentence", 30)
        await until(lambda: len(made) == 2, "another renderer", 15)
        await asyncio.sleep(2)
        await asyncio.to_thread(reader.stop)
        assert not stream.broken.done()
    assert set(reader.steps_ms("video").round()) == {40}
    assert np.abs(reader.sound()[1]).max() > 0.05
    luma = [each for _, each in reader.luma]
    assert luma[0] == pytest.approx(60, abs=4)
    assert luma[-1] == pytest.approx(200, abs=4)
