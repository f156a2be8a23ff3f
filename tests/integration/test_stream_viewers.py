"""Those who watch a stream's page: however they leave, nothing of them stays."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator

import aiohttp
import pytest

from agent.stream_http import MAX_VIEWERS, Live, StreamService, make_stream_app
from avatar.playout import Playout
from benchmarks.flash import FlashRenderer
from rooms.canvas import Canvas, Stage
from rooms.http import Guard, serve
from rooms.mp4 import Provenance
from rooms.rtmp import StreamSettings, StreamSink
from rooms.rtmp_watch import watch
from tests.doubles.page import until

pytestmark = pytest.mark.loopback

PROVENANCE = Provenance("1.2.3", "Test", "puppet")
SIDE = 160


class CountingSink(StreamSink):
    """Tells how many outlets it feeds."""

    @property
    def outlets(self) -> int:
        return len(self._outlets)


@contextlib.asynccontextmanager
async def sink(*, on_air: bool = True) -> AsyncIterator[CountingSink]:
    renderer = FlashRenderer()
    playout = Playout(renderer)
    made = CountingSink(Canvas(Stage(SIDE, SIDE)), SIDE, SIDE, StreamSettings((), encoder="x264"))
    playout.attach(made)
    clock = asyncio.create_task(playout.run()) if on_air else None
    try:
        yield made
    finally:
        if clock is not None:
            clock.cancel()
        playout.detach(made)
        playout.close()
        await made.aclose()
        await renderer.aclose()


@contextlib.asynccontextmanager
async def served(live: Live, **options: float) -> AsyncIterator[str]:
    app = make_stream_app(StreamService(dict, lambda: b"", live, list), Guard(True, None, ()), **options)
    runner, url = await serve(app, "127.0.0.1", 0)
    try:
        yield f"{url}api/live.mp4"
    finally:
        await runner.cleanup()


async def test_who_leaves_at_any_moment_is_fed_no_more() -> None:
    async with sink() as air, served(lambda: watch(air, PROVENANCE)) as url, aiohttp.ClientSession() as client:
        async with client.get(url) as response:
            assert response.headers["Content-Type"].startswith("video/mp4")
            assert (await response.content.readexactly(8))[4:] == b"ftyp"
            assert air.outlets == 1
        await until(lambda: air.outlets == 0, "after having watched")


async def test_who_leaves_before_there_are_pictures_is_fed_no_more() -> None:
    async with sink(on_air=False) as air, served(lambda: watch(air, PROVENANCE)) as url:
        with contextlib.suppress(TimeoutError):
            async with aiohttp.ClientSession() as client, asyncio.timeout(0.5), client.get(url):
                pass
        assert air.outlets == 1
        await until(lambda: air.outlets == 0, "without a single picture", 10)


async def test_who_takes_nothing_any_more_is_let_go() -> None:
    left = asyncio.Event()

    @contextlib.asynccontextmanager
    async def flood() -> AsyncIterator[tuple[str, AsyncGenerator[bytes]]]:
        async def fragments() -> AsyncGenerator[bytes]:
            while True:
                yield bytes(256 * 1024)

        try:
            yield "video/mp4", fragments()
        finally:
            left.set()

    async with served(flood, take_s=0.3) as url:
        host, port = url.split("/")[2].split(":")
        with socket.create_connection((host, int(port))) as asleep:
            asleep.sendall(b"GET /api/live.mp4 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            await asyncio.wait_for(left.wait(), 20)


async def test_more_than_the_machine_is_meant_for_are_refused() -> None:
    @contextlib.asynccontextmanager
    async def quiet() -> AsyncIterator[tuple[str, AsyncGenerator[bytes]]]:
        async def fragments() -> AsyncGenerator[bytes]:
            while True:
                yield b"something"
                await asyncio.sleep(0.02)

        yield "video/mp4", fragments()

    async with served(quiet) as url, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        watching = [await client.get(url) for _ in range(MAX_VIEWERS)]
        refused = await client.get(url)
        assert refused.status == 503
        assert (await refused.json())["error"]["code"] == "too_many_viewers"
        assert refused.headers["Retry-After"] == "10"
        for each in watching:
            each.close()
        for _ in range(100):
            async with client.get(url) as again:
                if again.status == 200:
                    return
            await asyncio.sleep(0.05)
    pytest.fail("nobody is let in any more")
