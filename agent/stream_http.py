"""The web server of a stream: health, metrics, the page that shows what is on air, and the inbox's own routes.

In: HTTP requests. Out: what the callables of `StreamService` return. It guards as rooms/http.py does.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from rooms.http import Guard, Refusal

log = logging.getLogger(__name__)

WEB = Path(__file__).resolve().parent.parent / "web"
_OPEN = ("/", "/health")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Live = Callable[[], Awaitable[tuple[str, AsyncGenerator[bytes]] | None]]


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


def make_stream_app(service: StreamService, guard: Guard) -> web.Application:
    """The application."""

    async def page(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(WEB / "watch" / "index.html")

    async def health(request: web.Request) -> web.StreamResponse:
        return web.json_response(dict(service.health()))

    async def metrics(request: web.Request) -> web.StreamResponse:
        return web.Response(
            body=service.metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def live(request: web.Request) -> web.StreamResponse:
        opened = await service.live()
        if opened is None:
            raise Refusal(503, "not_on_air", "the stream has no pictures yet; try again in a moment", retry_after_s=1)
        mime, fragments = opened
        response = web.StreamResponse(headers={"Content-Type": mime} | _HEADERS)
        try:
            await response.prepare(request)
            async for fragment in fragments:
                await response.write(fragment)
        except ConnectionError:
            log.debug("a viewer left")
        finally:
            await fragments.aclose()
        return response

    async def queue(request: web.Request) -> web.StreamResponse:
        """Routes cannot be added to a server that runs: this one passes on to those of the program."""
        for route in service.queue():
            if route.method == request.method and ("id" in request.match_info) == ("{id}" in route.path):
                return await cast(Handler, route.handler)(request)
        raise Refusal(503, "starting", "the voices are still being loaded; try again in a moment", retry_after_s=2)

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.path not in _OPEN and not request.path.startswith("/static/"):
                guard.check(request)
            response = await handler(request)
        except Refusal as refusal:
            error: dict[str, Any] = {"code": refusal.code, "message": str(refusal)}
            response = web.json_response({"error": error}, status=refusal.status)
            if refusal.retry_after_s is not None:
                response.headers["Retry-After"] = str(refusal.retry_after_s)
        except web.HTTPException as error:
            code = "not_found" if error.status == 404 else "bad_request"
            message = f"{request.method} {request.path}: {error.reason}"
            response = web.json_response({"error": {"code": code, "message": message}}, status=error.status)
        if not response.prepared:
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
        return response

    app = web.Application(middlewares=[guarded])
    app.router.add_get("/", page)
    app.router.add_get("/health", health)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/api/live.mp4", live)
    app.router.add_post("/api/say", queue)
    app.router.add_get("/api/queue", queue)
    app.router.add_delete("/api/queue/{id}", queue)
    app.router.add_static("/static/", WEB)
    return app
