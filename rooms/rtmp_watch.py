"""A viewer of the stream in a browser: packets in, fragmented MP4 out, for as long as somebody reads it.

In: packets, from the encoder's thread. Out: bytes, to one HTTP response on the event loop. A viewer who is too slow is
let go; the page comes back and begins at the next keyframe.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from rooms.mp4 import Provenance
from rooms.mp4_fragments import Fragmenter, header
from rooms.rtmp import StreamSink
from rooms.rtmp_encoder import Format, Packet

FRAGMENT_MS = 160.0
MAX_FRAGMENTS = 40
"""Waiting for a viewer: some six seconds."""
FIRST_S = 5.0


class Viewer:
    """An outlet; made on the event loop that reads it."""

    def __init__(self, provenance: Provenance) -> None:
        self._provenance = provenance
        self._fragments = Fragmenter(FRAGMENT_MS)
        self._format: Format | None = None
        self._loop = asyncio.get_running_loop()
        self._made: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._first: bytes | None = None
        self._gone = False

    async def opened(self) -> Format | None:
        """The stream's format, once the first packet has come; None when none comes."""
        try:
            async with asyncio.timeout(FIRST_S):
                self._first = await self._made.get()
        except TimeoutError:
            return None
        return self._format

    async def read(self) -> AsyncGenerator[bytes]:
        """Header and fragments, until the stream ends or the reader falls behind. After `opened`."""
        content = self._first
        while content is not None:
            yield content
            content = await self._made.get()

    def offer(self, packet: Packet) -> None:
        if self._gone:
            return
        made = b""
        if self._format is None:
            if not (packet.video and packet.keyframe):
                return
            made = header(packet.format, self._provenance)
            self._format = packet.format
        if packet.format is not self._format or self._made.qsize() > MAX_FRAGMENTS:
            self.close()
            return
        made += self._fragments.push(packet)
        if made:
            self._put(made)

    def close(self) -> None:
        if not self._gone:
            self._gone = True
            self._put(None)

    def _put(self, content: bytes | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads
            self._loop.call_soon_threadsafe(self._made.put_nowait, content)


def mime(form: Format) -> str:
    """What a browser must know to play it."""
    return f'video/mp4; codecs="avc1.{form.avcc[1:4].hex()}, mp4a.40.2"'


@asynccontextmanager
async def watch(sink: StreamSink, provenance: Provenance) -> AsyncIterator[tuple[str, AsyncGenerator[bytes]] | None]:
    """The stream for one viewer: its MIME type and its bytes; None when nothing is on air. However it is left, the
    stream feeds that viewer no more."""
    viewer = Viewer(provenance)
    sink.add(viewer)
    try:
        sink.want_keyframe()
        form = await viewer.opened()
        yield (mime(form), viewer.read()) if form is not None else None
    finally:
        sink.remove(viewer)
        viewer.close()
