"""What happened to messages, told on the broker: events in; publications on a topic exchange and to whoever asked out.

While there is no broker they wait, in order, up to a bound; beyond it the oldest are dropped and counted. One that was
sent and not confirmed is sent again: each has a ``message_id`` of its own by which a consumer knows it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import OrderedDict, deque
from datetime import UTC, datetime

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractExchange

from agent.inbox.inbox import Event

logger = logging.getLogger(__name__)

WAITING = 2000
ASKERS = 10_000
LAST = ("finished", "failed", "skipped")
CONFIRM_S = 10.0


class Events:
    """One program's; `heard` is a listener of its inbox."""

    def __init__(self) -> None:
        self.published = 0
        self.dropped = 0
        self._waiting: deque[tuple[Event, tuple[str, str | None] | None]] = deque()
        self._askers: OrderedDict[str, tuple[str, str | None]] = OrderedDict()
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def asked(self, message_id: str, reply_to: str, correlation_id: str | None) -> None:
        """Tell this queue too what happens to the message."""
        self._askers[message_id] = reply_to, correlation_id
        while len(self._askers) > ASKERS:
            self._askers.popitem(last=False)

    def heard(self, event: Event) -> None:
        """To be published; never blocks."""
        asker = self._askers.get(event.id)
        if event.kind in LAST:
            self._askers.pop(event.id, None)
        self._waiting.append((event, asker))
        while len(self._waiting) > WAITING:
            self._waiting.popleft()
            self.dropped += 1
            if self.dropped in (1, 10, 100) or not self.dropped % 1000:
                logger.warning("no broker takes the events: %d of them were dropped", self.dropped)
        self._filled.set()
        self._empty.clear()

    async def publish(self, exchange: AbstractExchange, replies: AbstractExchange) -> None:
        """Publish one after the other, each confirmed, until cancelled or the connection breaks.

        Args:
            exchange: the topic exchange for all events.
            replies: the default exchange, for ``reply_to``.
        """
        while True:
            while not self._waiting:
                self._empty.set()
                self._filled.clear()
                await self._filled.wait()
            event, asker = waiting = self._waiting[0]
            await exchange.publish(_message(event, None), routing_key(event), mandatory=False, timeout=CONFIRM_S)
            if asker is not None:
                await replies.publish(_message(event, asker[1]), asker[0], mandatory=False, timeout=CONFIRM_S)
            if self._waiting and self._waiting[0] is waiting:  # else it was dropped meanwhile
                self._waiting.popleft()
            self.published += 1

    async def flushed(self, timeout_s: float) -> None:
        """Wait until all is published, but no longer than that."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            logger.warning("%d events were not published before the end", len(self._waiting))


def routing_key(event: Event) -> str:
    """``session.id.event``; what a topic cannot hold is an underscore, and nothing at all a hyphen."""
    parts = (event.session_id, event.id)
    words = [re.sub(r"[^A-Za-z0-9_:@+=~-]", "_", part)[:100] or "-" for part in parts]
    return ".".join([*words, event.kind])


def _message(event: Event, correlation_id: str | None) -> Message:
    at = datetime.fromtimestamp(event.at, UTC)
    told = {"event": event.kind, "id": event.id, "session_id": event.session_id, "at": at.isoformat()}
    if event.reason:
        told["reason"] = event.reason
    waited = {} if event.waited_s is None else {"waited_s": round(event.waited_s, 3)}
    return Message(
        json.dumps(told | waited, ensure_ascii=False).encode(),
        content_type="application/json",
        delivery_mode=DeliveryMode.PERSISTENT,
        correlation_id=correlation_id or event.id or None,
        message_id=f"{event.id}:{event.kind}:{event.at:.6f}",
        timestamp=at,
        type=event.kind,
    )
