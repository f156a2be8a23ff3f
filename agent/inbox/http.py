"""The inbox over HTTP, for those with no broker: routes for the service in rooms/http.py, which guards them.

``POST /api/say`` takes one message as the queue does, ``GET /api/queue`` tells what is going on,
``DELETE /api/queue/{id}`` takes a message out. docs/queue.md describes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from agent.inbox.inbox import Handed, InboxFull
from agent.inbox.messages import MAX_BODY_BYTES, InvalidMessage
from agent.inbox.program import Program
from agent.inbox.reading import read
from rooms.http import Refusal

RETRY_S = 10


def queue_routes(program: Program, broker: Callable[[], Mapping[str, Any]] | None = None) -> list[web.RouteDef]:
    """Routes for `make_app`.

    Args:
        broker: what to tell of the broker beside the program, where there is one.
    """

    async def say(request: web.Request) -> web.StreamResponse:
        try:
            message = await read(await _body(request))
            receipt = program.inbox.put(message, Handed())
        except InvalidMessage as error:
            raise Refusal(400, "invalid_message", str(error)) from None
        except InboxFull as error:
            raise Refusal(503, "inbox_full", str(error), retry_after_s=RETRY_S) from None
        status = 202 if receipt == "accepted" else 200
        return web.json_response(
            {"id": message.id, "receipt": receipt, "backlog": program.inbox.backlog}, status=status
        )

    async def queue(request: web.Request) -> web.StreamResponse:
        return web.json_response(program.status() | ({"broker": dict(broker())} if broker is not None else {}))

    async def remove(request: web.Request) -> web.StreamResponse:
        message_id = request.match_info["id"]
        if not program.remove(message_id):
            raise Refusal(404, "not_found", f"no message {message_id[:128]!r} waits or is being said")
        return web.json_response({"id": message_id, "receipt": "removed"})

    return [web.post("/api/say", say), web.get("/api/queue", queue), web.delete("/api/queue/{id}", remove)]


async def _body(request: web.Request) -> bytes:
    """All of it, up to the inbox's own bound: a recording is bigger than what the service takes elsewhere."""
    body = bytearray()
    async for piece in request.content.iter_chunked(64 * 1024):
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise Refusal(413, "too_large", f"a message holds at most {MAX_BODY_BYTES} bytes")
    return bytes(body)
