"""The inbox's way to a RabbitMQ: a durable queue in, acknowledgements, dead letters and events out.

In: messages from ``QUEUE`` (by the broker's priority) and from ``QUEUE.control``, so that a `skip` need not wait behind
what it is to skip. Out: to the broker an acknowledgement when a message was played to its end; what cannot be taken or
said goes to ``QUEUE.dead`` with the reason in its headers; events go to the topic exchange ``QUEUE.events``.

A connection that breaks is made again, for ever. What was not acknowledged is delivered again by the broker, and known
again by the inbox. aio-pika's own robust connection is not used: it restores channels one by one and silently keeps
deliveries of the old ones; here everything of a connection ends with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import re
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import aio_pika
from aio_pika import ExchangeType
from aio_pika.abc import (
    AbstractChannel,
    AbstractConnection,
    AbstractIncomingMessage,
    AbstractQueue,
    FieldValue,
)
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, ChannelPreconditionFailed

from agent.inbox.amqp_address import Address
from agent.inbox.amqp_events import Events
from agent.inbox.amqp_letters import Buried, Delivery, Letter, Letters
from agent.inbox.amqp_nameless import Nameless
from agent.inbox.inbox import Event, Inbox, Outcome
from agent.inbox.messages import MAX_PRIORITY, InvalidMessage
from agent.inbox.reading import read

logger = logging.getLogger(__name__)

PREFETCH = 8
"""Messages held unacknowledged: one on air, one prepared, and some that a higher priority may overtake here."""
CONNECT_S = 5.0
DECLARE_S = 10.0
FIRST_RETRY_S, LONGEST_RETRY_S = 0.25, 4.0
WATCH_S = 5.0
CLOSE_S = 2.0
_ID = re.compile(r"[A-Za-z0-9._:@+=~-]{1,128}")


class _Lost(Exception):
    """The connection, a channel or the consumer is gone."""


class Amqp:
    """One program's front end on a broker. `run` it beside the program. At the end: ``await program.finish(…)``,
    ``await amqp.flush()``, cancel both, ``await program.aclose()``.

    Args:
        queue: the name; the others are made of it.
        prefetch: how many messages are held unacknowledged.

    Attributes:
        on_connected: called with whether there is a broker, whenever that changes.
        connections: how often a connection was made.
        ready: how many messages wait in the broker; None as long as that is not known.
    """

    def __init__(self, inbox: Inbox, address: Address, queue: str, *, prefetch: int = PREFETCH) -> None:
        self.events = Events()
        self.connected = False
        self.connections = 0
        self.ready: int | None = None
        self.invalid = 0
        self.on_connected: Callable[[bool], None] = lambda connected: None
        self._inbox = inbox
        self._address = address
        self._queue = queue
        self._prefetch = prefetch
        self._nameless = Nameless()
        self._buried = Buried()
        self._letters: Letters | None = None
        """While there is a connection."""
        inbox.listeners.append(self.events.heard)

    def status(self) -> dict[str, Any]:
        """For /health."""
        return {
            "broker": self._address.shown,
            "queue": self._queue,
            "connected": self.connected,
            "connections": self.connections,
            "ready": self.ready,
            "invalid": self.invalid,
            "events": {
                "published": self.events.published,
                "waiting": self.events.waiting,
                "dropped": self.events.dropped,
            },
        }

    async def run(self) -> None:
        """Consume, and connect again whenever the connection is lost, until cancelled."""
        # It logs every vain attempt, for ever, with what is raised here anyway: a broker that is away for a night would
        # fill the disk.
        logging.getLogger("aiormq").setLevel(logging.CRITICAL)
        failures = 0
        while True:
            made = self.connections
            try:
                await self._attempt()
            except* (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, _Lost) as group:
                reasons = {self._address.hide(_reason(error)) for error in _leaves(group)}
                failures = 0 if self.connections > made else failures + 1
                if failures in (0, 1, 2, 4) or not failures % 32:  # a broker that stays away does not fill the log
                    logger.warning("broker %s: %s; trying again", self._address.shown, "; ".join(sorted(reasons)))
            except* Exception as group:  # a library's own surprise: the stream goes on, and so does this
                logger.error("broker %s: %s; trying again", self._address.shown, type(group.exceptions[0]).__name__)
                logger.debug("it was raised here", exc_info=group)
                failures += 1
            delay_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** min(failures, 8))
            await asyncio.sleep(delay_s * random.uniform(0.75, 1.25))  # noqa: S311 - not all at once

    async def flush(self) -> None:
        """Wait until the broker has what is settled and what has happened; at most some seconds. Before `run` is
        cancelled, at the end."""
        if self.connected:
            await self.events.flushed(CLOSE_S)
            letters = self._letters
            if letters is not None:
                try:
                    async with asyncio.timeout(CLOSE_S):
                        await letters.sent()
                except TimeoutError:
                    logger.warning("%d acknowledgements were not sent", letters.waiting)

    # -- one connection

    async def _attempt(self) -> None:
        try:
            await self._once()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # aiormq cancels its own futures, on which we wait, when the connection breaks in between.
            raise _Lost("the connection broke") from None

    async def _once(self) -> None:
        """From connecting to the loss of it."""
        letters = Letters()
        async with AsyncExitStack() as stack:
            link = await aio_pika.connect(self._address.url, timeout=CONNECT_S)
            stack.push_async_callback(_close, link)
            async with asyncio.timeout(DECLARE_S):
                work, control, out = [await self._channel(link, count) for count in (self._prefetch, 16, 0)]
                work, queue = await self._declare(link, work)
                steering = await control.declare_queue(f"{self._queue}.control", durable=True)
                dead = await out.declare_exchange(f"{self._queue}.dead", ExchangeType.FANOUT, durable=True)
                await (await out.declare_queue(f"{self._queue}.dead", durable=True)).bind(dead)
                events = await out.declare_exchange(f"{self._queue}.events", ExchangeType.TOPIC, durable=True)
                # Both consume before anything else begins: whoever watches would not find us among the consumers.
                said, steered = await _consumed(queue), await _consumed(steering)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_lost(link, work, control, out))
                    tasks.create_task(letters.send(dead, self._queue, self._buried, self._acknowledged))
                    tasks.create_task(self.events.publish(events, out.default_exchange))
                    tasks.create_task(self._take(letters, said))
                    tasks.create_task(self._take(letters, steered))
                    tasks.create_task(self._watch(out))
                    self._letters = letters
                    self.connections += 1
                    self._tell_connected(True)
            finally:
                letters.open = False
                self._letters = None
                self._nameless.lost(asyncio.get_running_loop().time())
                self._tell_connected(False)

    def _tell_connected(self, connected: bool) -> None:
        self.connected = connected
        if connected:
            logger.info("broker %s: taking messages from %s", self._address.shown, self._queue)
        self.on_connected(connected)

    async def _channel(self, link: AbstractConnection, prefetch: int) -> AbstractChannel:
        channel = await link.channel(publisher_confirms=True, on_return_raises=True)
        if prefetch:
            await channel.set_qos(prefetch_count=prefetch)
        return channel

    async def _declare(
        self, link: AbstractConnection, channel: AbstractChannel
    ) -> tuple[AbstractChannel, AbstractQueue]:
        """The queue, by priority; one that exists otherwise is taken as it is."""
        try:
            arguments: dict[str, FieldValue] = {"x-max-priority": MAX_PRIORITY}
            return channel, await channel.declare_queue(self._queue, durable=True, arguments=arguments)
        except ChannelPreconditionFailed as error:
            logger.warning(
                "the queue %s was declared otherwise (%s): it is used as it is, perhaps without priorities",
                self._queue,
                _reason(error),
            )
        channel = await self._channel(link, self._prefetch)
        return channel, await channel.declare_queue(self._queue, passive=True)

    async def _take(self, letters: Letters, arrived: asyncio.Queue[AbstractIncomingMessage]) -> None:
        """Hand one delivery after the other to the inbox; a big recording may not be overtaken while it is checked."""
        while True:
            await self._receive(letters, await arrived.get())

    async def _receive(self, letters: Letters, incoming: AbstractIncomingMessage) -> None:
        given = _given_id(incoming)
        known = self._nameless.again(incoming.body) if given is None and incoming.redelivered else None
        fallback = given or known or uuid.uuid4().hex
        try:
            message = await read(incoming.body, {"id": fallback, "priority": min(incoming.priority or 0, MAX_PRIORITY)})
        except InvalidMessage as error:
            self._refuse(letters, incoming, given or "", str(error))
            return
        except Exception as error:  # whatever a decoder does with strange bytes: one message, not the program
            logger.exception("a message could not be read")
            self._refuse(letters, incoming, given or "", f"it could not be read: {type(error).__name__}")
            return
        if given is None and message.id == fallback:
            self._nameless.came(incoming.body, message.id)
        if incoming.reply_to:
            self.events.asked(message.id, incoming.reply_to, incoming.correlation_id)
        self._inbox.put(message, Delivery(letters, incoming, message.id), bounded=False)

    def _refuse(self, letters: Letters, incoming: AbstractIncomingMessage, message_id: str, reason: str) -> None:
        self.invalid += 1
        logger.warning("message %s refused: %s", message_id or "without id", reason)
        if incoming.reply_to and message_id:
            self.events.asked(message_id, incoming.reply_to, incoming.correlation_id)
        self.events.heard(Event("failed", message_id, "", datetime.now(UTC).timestamp(), reason))
        letters.put(Letter(incoming, "", Outcome("failed", reason)))

    def _acknowledged(self, message_id: str) -> None:
        self._nameless.settled(message_id, asyncio.get_running_loop().time())

    async def _watch(self, channel: AbstractChannel) -> None:
        """How many wait in the broker; and that it still knows us as a consumer. A queue that is not there any more
        closes the channel, and with it the connection."""
        while True:
            declared = (await channel.declare_queue(self._queue, passive=True)).declaration_result
            self.ready = declared.message_count
            if declared.consumer_count == 0:
                raise _Lost("the queue was deleted and made again, without us")
            await asyncio.sleep(WATCH_S)


async def _lost(link: AbstractConnection, *channels: AbstractChannel) -> None:
    """Ends with an error when the first of them is closed."""
    closed: asyncio.Queue[BaseException | None] = asyncio.Queue()

    def tell(_: object, error: BaseException | None = None) -> None:
        closed.put_nowait(error)

    ends: list[AbstractConnection | AbstractChannel] = [link, *channels]
    for each in ends:
        each.close_callbacks.add(tell)
        if each.is_closed:
            closed.put_nowait(None)
    error = await closed.get()
    raise _Lost(_reason(error) if error is not None else "the connection was closed")


async def _consumed(queue: AbstractQueue) -> asyncio.Queue[AbstractIncomingMessage]:
    """What a queue delivers from now on."""
    arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()

    async def came(incoming: AbstractIncomingMessage) -> None:
        arrived.put_nowait(incoming)

    await queue.consume(came)
    return arrived


async def _close(link: AbstractConnection) -> None:
    try:
        async with asyncio.timeout(CLOSE_S):
            await link.close()
    except (AMQPError, OSError, TimeoutError):
        pass  # it is gone already


def _given_id(incoming: AbstractIncomingMessage) -> str | None:
    """The broker's id of a message as one of ours; what does not look like one is hashed."""
    given = incoming.message_id
    if not given:
        return None
    return given if _ID.fullmatch(given) else hashlib.sha256(given.encode()).hexdigest()[:32]


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
