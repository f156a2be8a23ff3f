"""`mien talk --rtmp`: whoever talks to the avatar is on air with it, and notices nothing of that."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import numpy as np
import pytest

from benchmarks.rtmpreader import Reader
from benchmarks.rtmpserver import RtmpServer
from tests.doubles.page import Page, until
from tests.integration.test_talk import join, talking
from tests.rtmp.air import eventually

pytestmark = [pytest.mark.rtmp, pytest.mark.timeout(180)]


async def test_a_conversation_goes_on_air_and_off_again(server: RtmpServer, tmp_path: Path) -> None:
    environment = {"RTMP_RESOLUTION": "480x270", "RTMP_BITRATE": "600"}
    async with talking(tmp_path, "--rtmp", server.url("talk"), "--size", "256", **environment) as (_, url):
        assert "talk" not in await asyncio.to_thread(server.publishers)
        page = Page()
        await join(page, url)
        await eventually(lambda: "talk" in server.publishers(), 30, "being on air")
        reader = Reader(server.url("talk"), decode=True).start()
        await until(lambda: any(m["type"] == "caption" and m["final"] for m in page.messages), "the greeting", 30)
        await asyncio.to_thread(server.kill)
        before = len(page.pictures)
        await until(lambda: len(page.pictures) > before + 50, "the conversation goes on", 15)
        server.launch()
        await eventually(lambda: "talk" in server.publishers(), 5, "being back on air")
        await asyncio.to_thread(reader.stop)
        page.send({"type": "leave"})
        await until(lambda: any(m["type"] == "bye" for m in page.messages), "goodbye")
        await eventually(lambda: "talk" not in server.publishers(), 5, "being off air")
        await page.aclose()
    assert reader.sizes == {(480, 270)}
    assert set(reader.steps_ms("video").round()) == {40}
    logging.getLogger(__name__).info("loudest of the greeting: %.2f", np.abs(reader.sound()[1]).max())
    assert np.abs(reader.sound()[1]).max() > 0.05
