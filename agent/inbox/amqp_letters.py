"""What a broker is to be told of its deliveries: acknowledgements, one after the other, and dead letters.

In: the outcome of each delivery. Out: to the broker an acknowledgement; what was refused or failed goes to the
exchange of dead letters first, as it came, with the reason in its headers. All of it ends with its connection: the
broker then delivers again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractExchange, AbstractIncomingMessage

from agent.inbox.inbox import Outcome

REMEMBERED = 1000
PUBLISH_S = 10.0


@dataclass(frozen=True, slots=True)
class Letter:
    """Something to be done for a delivery, in its turn: acknowledge it, or first send it to the dead letters."""

    incoming: AbstractIncomingMessage
    message_id: str
    dead: Outcome | None = None


class Letters:
    """One connection's."""

    def __init__(self) -> None:
        self.open = True
        self._letters: asyncio.Queue[Letter] = asyncio.Queue()
        """Bounded by the prefetch: one for each delivery."""

    @property
    def waiting(self) -> int:
        return self._letters.qsize()

    def put(self, letter: Letter) -> None:
        """To be sent; nothing once the connection is gone."""
        if self.open:
            self._letters.put_nowait(letter)

    async def sent(self) -> None:
        """Wait until none waits."""
        await self._letters.join()

    async def send(
        self, exchange: AbstractExchange, queue: str, buried: Buried, acknowledged: Callable[[str], None]
    ) -> None:
        """Acknowledge, one after the other; what is dead only once the dead letters have it. Until cancelled.

        Args:
            queue: from which they came; the routing key of dead letters.
            acknowledged: called with the message's id.
        """
        while True:
            letter = await self._letters.get()
            if letter.dead is not None and letter.message_id not in buried:
                await exchange.publish(_dead(letter, letter.dead, queue), queue, timeout=PUBLISH_S)
                buried.add(letter.message_id)
            await letter.incoming.ack()
            acknowledged(letter.message_id)
            self._letters.task_done()


class Delivery:
    """How a message came by a broker; see `agent.inbox.inbox.Delivery`."""

    def __init__(self, letters: Letters, incoming: AbstractIncomingMessage, message_id: str) -> None:
        self._letters = letters
        self._incoming = incoming
        self._id = message_id

    @property
    def live(self) -> bool:
        return self._letters.open

    def settle(self, outcome: Outcome) -> None:
        self._letters.put(Letter(self._incoming, self._id, outcome if outcome.kind == "failed" else None))


class Buried:
    """Ids that the dead letters have: the acknowledgement of one may have been lost with its connection. The last
    ``REMEMBERED`` are known; one without an id never is."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._ids

    def add(self, message_id: str) -> None:
        if not message_id:
            return
        self._ids[message_id] = None
        while len(self._ids) > REMEMBERED:
            self._ids.popitem(last=False)


def _dead(letter: Letter, outcome: Outcome, queue: str) -> Message:
    """The message as it came, with the reason why it was not said."""
    incoming = letter.incoming
    headers = dict(incoming.headers) | {
        "reason": outcome.reason[:2000],
        "failed-at": datetime.now(UTC).isoformat(),
        "failed-from": queue,
    }
    return Message(
        incoming.body,
        headers=headers,
        content_type=incoming.content_type,
        content_encoding=incoming.content_encoding,
        delivery_mode=DeliveryMode.PERSISTENT,
        priority=incoming.priority,
        correlation_id=incoming.correlation_id,
        reply_to=incoming.reply_to,
        message_id=incoming.message_id or letter.message_id or None,
        timestamp=incoming.timestamp,
        type=incoming.type,
        app_id=incoming.app_id,
    )
