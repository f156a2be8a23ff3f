"""The web server of a stream: health, metrics, the page that shows what is on air, and the inbox's own routes.

In: HTTP requests. Out: what the callables of `StreamService` return. rooms/http.py guards it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web

from rooms.http import HEADERS, WEB, Guard, Handler, Refusal, guarded_app, watching_routes

log = logging.getLogger(__name__)

_LISTENS_TO_NOBODY = {"Permissions-Policy": "microphone=(), camera=()"}
Live = Callable[[], AbstractAsyncContextManager[tuple[str, AsyncGenerator[bytes]] | None]]
MAX_VIEWERS = 24
"""Each has a copy of the stream sent from this machine; an audience is what the RTMP server is for."""
TAKE_S = 10.0
RETRY_S = 10


@dataclass(frozen=True)
class StreamService:
    """What there is to serve.

    Args:
        live: opens the stream for one viewer: its MIME type and its bytes, or None.
        queue: the inbox's own routes (agent/inbox/http.py), once the program is there.
    """

    health: Callable[[], Mapping[str, Any]]
    metrics: Callable[[], bytes]
    live: Live
    queue: Callable[[], Sequence[web.RouteDef]]


async def _sent(request: web.Request, mime: str, fragments: AsyncGenerator[bytes], take_s: float) -> web.StreamResponse:
    """The response, once there is nothing more to send or nobody who takes it."""
    response = web.StreamResponse(headers={"Content-Type": mime})
    try:
        await response.prepare(request)
        async for fragment in fragments:
            async with asyncio.timeout(take_s):
                await response.write(fragment)
    except ConnectionError:
        log.debug("a viewer left")
    except TimeoutError:  # a page that was put to sleep: its connection would stay for days
        log.debug("a viewer takes nothing any more")
        if request.transport is not None:
            request.transport.abort()
    finally:
        await fragments.aclose()
    return response


def make_stream_app(service: StreamService, guard: Guard, *, take_s: float = TAKE_S) -> web.Application:
    """The application.

    Args:
        take_s: how long a viewer may take nothing.
    """

    async def page(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(WEB / "watch" / "index.html")

    viewers = 0

    async def live(request: web.Request) -> web.StreamResponse:
        nonlocal viewers
        if viewers >= MAX_VIEWERS:
            raise Refusal(503, "too_many_viewers", f"{viewers} people watch already", retry_after_s=RETRY_S)
        viewers += 1
        try:
            async with service.live() as opened:
                if opened is None:
                    text = "the stream has no pictures yet; try again in a moment"
                    raise Refusal(503, "not_on_air", text, retry_after_s=1)
                return await _sent(request, *opened, take_s)
        finally:
            viewers -= 1

    async def queue(request: web.Request) -> web.StreamResponse:
        """Routes cannot be added to a server that runs: this one passes on to those of the program."""
        for route in service.queue():
            if route.method == request.method and ("id" in request.match_info) == ("{id}" in route.path):
                return await cast(Handler, route.handler)(request)
        raise Refusal(503, "starting", "the voices are still being loaded; try again in a moment", retry_after_s=2)

    app = guarded_app(guard, HEADERS | _LISTENS_TO_NOBODY, open_to_all=("/", "/health"))
    app.router.add_get("/", page)
    app.router.add_get("/api/live.mp4", live)
    app.router.add_post("/api/say", queue)
    app.router.add_get("/api/queue", queue)
    app.router.add_delete("/api/queue/{id}", queue)
    app.router.add_routes(watching_routes(service.health, service.metrics))
    return app
