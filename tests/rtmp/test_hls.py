"""The pieces that the demo's server makes for browsers: they are deleted again, however long it runs."""

from __future__ import annotations

import asyncio
import time

import pytest

from benchmarks.rtmpserver import rtmp_server
from tests.rtmp.air import eventually, on_air

pytestmark = [pytest.mark.rtmp, pytest.mark.slow, pytest.mark.timeout(180)]

RUN_S = 80.0
OLDEST_S = 45.0
"""Twice the playlist's twelve seconds, and what lies between two looks at the folder."""


async def test_pieces_for_browsers_are_deleted_again(program: str) -> None:
    with rtmp_server(hls=True) as server:
        pieces = server.folder / "hls"
        async with on_air(server.url("a")):
            await eventually(lambda: "a" in server.publishers(), 5, "publishing")
            await asyncio.sleep(RUN_S)
            ages = [time.time() - file.stat().st_mtime for file in pieces.glob("*.ts")]
            playlist = (pieces / "a.m3u8").read_text()
        assert 5 <= len(ages) < OLDEST_S / 2 + 2
        assert max(ages) < OLDEST_S
        listed = [line for line in playlist.splitlines() if line.endswith(".ts")]
        assert all((pieces / name).is_file() for name in listed)
    assert not server.folder.exists()
