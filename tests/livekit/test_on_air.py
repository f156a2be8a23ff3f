"""`mien agent start --rtmp`: the agent puts itself on air while it is in a LiveKit room, without any egress service."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.rtmpreader import Reader
from benchmarks.rtmpserver import RtmpServer, nginx, rtmp_server
from tests.livekit.server import livekit_server
from tests.livekit.test_conversation import talking
from tests.livekit.worker import MIEN, working
from tests.rtmp.air import eventually

pytestmark = [pytest.mark.livekit, pytest.mark.rtmp, pytest.mark.timeout(240)]


@pytest.fixture
def server() -> Iterator[RtmpServer]:
    try:
        nginx()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    with rtmp_server() as running:
        yield running


async def test_a_room_s_avatar_goes_on_air_and_off_again(server: RtmpServer, tmp_path: Path) -> None:
    program = (*MIEN, "--rtmp", server.url("room"), "--size", "256")
    smaller = {"RTMP_RESOLUTION": "480x270", "RTMP_BITRATE": "600"}
    with livekit_server(tmp_path) as livekit, working(livekit, tmp_path, "mien", program=program, **smaller) as worker:
        assert "room" not in server.publishers()
        async with talking(livekit, look=False) as person:
            await eventually(lambda: "room" in server.publishers(), 30, "being on air")
            reader = Reader(server.url("room"), decode=True, keep_every_ms=200).start()
            await eventually(lambda: len(reader.luma) > 25, 30, "reading")
            await person.write("What is your name?")
            await eventually(lambda: any(peak > 0.05 for _, peak in list(reader.loud)), 30, "its answer on air")
            await asyncio.sleep(1)
            await asyncio.to_thread(reader.stop)
        await eventually(lambda: "room" not in server.publishers(), 15, "being off air")
        assert server.url("room") not in worker.log.read_text()
    assert reader.sizes == {(480, 270)}
    # Nobody in the room takes the picture; on air it moves all the same.
    moved = [np.abs(a.astype(int) - b).mean() for (_, a), (_, b) in zip(reader.kept, reader.kept[1:], strict=False)]
    assert max(moved) > 0.1
