"""Who talks to the avatar: lets pages in, each to a conversation of its own, takes them up again, and sees them out.

In: offers (docs/protocol.md). Out: answers; and, while a conversation lasts, its task. A page that was cut off comes
back with its session's secret.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.conversation import Conversation
from agent.metrics import Metrics
from avatar.renderer import Refused
from rooms.embedded import EmbeddedRoom, RoomClosed
from rooms.http import Refusal
from rooms.peer import PeerError

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 5

MakeConversation = Callable[[str, Mapping[str, Any]], Awaitable[Conversation]]
"""Takes the session's id and what the page says of its browser."""


@dataclass(frozen=True, slots=True, eq=False)
class _Guest:
    secret: str
    room: EmbeddedRoom
    task: asyncio.Task[None]


class Lobby:
    """All conversations of this process."""

    def __init__(
        self, make: MakeConversation, *, max_sessions: int, ice_servers: tuple[dict[str, Any], ...], metrics: Metrics
    ) -> None:
        self._make = make
        self._max_sessions = max_sessions
        self._ice_servers = ice_servers
        self._metrics = metrics
        self._guests: dict[str, _Guest] = {}
        self._arriving = 0
        self._closed = False

    @property
    def sessions(self) -> int:
        return len(self._guests) + self._arriving

    async def offer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a page's offer.

        Raises:
            Refusal: 400 for a bad offer, 410 for a session that is gone, 503 when there is no room.
        """
        sdp = request.get("sdp")
        if request.get("type") != "offer" or not isinstance(sdp, str) or not sdp.startswith("v=0"):
            raise Refusal(400, "bad_request", 'expected {"type": "offer", "sdp": "v=0…"}')
        session = request.get("session")
        if session is not None:
            guest = self._known(session, request.get("secret"))
            return await _answered(session, guest.secret, guest.room, sdp, resumed=True)
        if self._closed:
            raise Refusal(503, "shutting_down", "the server is shutting down", retry_after_s=RETRY_AFTER_S)
        if self.sessions >= self._max_sessions:
            self._metrics.refused_total.labels("server_full").inc()
            raise Refusal(
                503,
                "server_full",
                f"all {self._max_sessions} conversations of this server are taken; please try again in a moment",
                retry_after_s=RETRY_AFTER_S,
            )
        self._arriving += 1
        try:
            return await self._welcome(sdp, request)
        finally:
            self._arriving -= 1

    async def aclose(self) -> None:
        """End all conversations, at the same time."""
        self._closed = True
        tasks = [guest.task for guest in self._guests.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _welcome(self, sdp: str, request: Mapping[str, Any]) -> dict[str, Any]:
        session, secret = secrets.token_urlsafe(9), secrets.token_urlsafe(24)
        browser = request.get("browser")
        try:
            conversation = await self._make(session, browser if isinstance(browser, dict) else {})
        except Refused as refused:
            self._metrics.refused_total.labels("server_full").inc()
            wait_s = math.ceil(refused.retry_after_s)
            raise Refusal(503, "server_full", refused.reason, retry_after_s=wait_s) from None
        room = EmbeddedRoom(conversation, ice_servers=self._ice_servers)
        task = asyncio.create_task(self._hold(session, conversation, room), name=f"conversation {session}")
        try:
            answer = await _answered(session, secret, room, sdp, resumed=False)
        except BaseException:
            task.cancel()
            raise
        self._guests[session] = _Guest(secret, room, task)
        return answer

    async def _hold(self, session: str, conversation: Conversation, room: EmbeddedRoom) -> None:
        self._metrics.sessions.inc()
        self._metrics.sessions_total.inc()
        logger.info("conversation %s begins", session)
        reason, text = "left", "The conversation has ended."
        try:
            await conversation.run(room)
        except asyncio.CancelledError:
            reason, text = "shutdown", "The server is shutting down."
            raise
        except Exception:  # one conversation's failure must not reach the others; it is logged and told to its page
            logger.exception("conversation %s failed", session)
            self._metrics.error("conversation")
            reason, text = "error", "Something went wrong in this conversation; the server's log has the reason."
        finally:
            room.send({"type": "bye", "reason": reason, "text": text})
            await room.aclose()
            self._guests.pop(session, None)
            self._metrics.sessions.dec()
            logger.info("conversation %s is over (%s)", session, reason)

    def _known(self, session: object, secret: object) -> _Guest:
        guest = self._guests.get(session) if isinstance(session, str) else None
        # As bytes: of text it compares ASCII only. What JSON can say and UTF-8 cannot is no secret of ours.
        given = secret.encode(errors="replace") if isinstance(secret, str) else b""
        if guest is None or not hmac.compare_digest(guest.secret.encode(), given):
            raise Refusal(410, "session_gone", "this conversation is over; a new one can be started")
        return guest


async def _answered(session: str, secret: str, room: EmbeddedRoom, sdp: str, *, resumed: bool) -> dict[str, Any]:
    try:
        answer = await room.answer(sdp)
    except PeerError as error:
        raise Refusal(400, "bad_request", str(error)) from error
    except RoomClosed as error:
        raise Refusal(410, "session_gone", str(error)) from error
    return {"type": "answer", "sdp": answer, "session": session, "secret": secret, "resumed": resumed}
