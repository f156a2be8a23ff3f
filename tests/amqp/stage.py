"""A program on a real broker and the real clock, with a readable voice; and whoever sends to it and reads from it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, FieldValue

from agent.inbox.amqp import PREFETCH, Amqp
from agent.inbox.amqp_address import Address
from agent.inbox.inbox import Event, Inbox
from agent.inbox.program import Program
from agent.inbox.voicing import Voicing
from agent.speech.chain import ChainTTS, Provider
from avatar.playout import Playout
from rooms.memory import MemorySink
from tests.doubles.renderers import ScriptedRenderer
from tests.doubles.tts import LevelTTS, Script, Vocabulary

QUICK = Script(lead_s=0.0, tail_s=0.0)


@dataclass
class Speaker:
    """A running program."""

    amqp: Amqp
    inbox: Inbox
    program: Program
    playout: Playout
    sink: MemorySink
    vocabulary: Vocabulary
    script: Script
    events: list[Event] = field(default_factory=list)

    def ids(self, kind: str) -> list[str]:
        """Whose events of this kind there were, in order."""
        return [event.id for event in self.events if event.kind == kind]

    @property
    def words(self) -> list[str]:
        return self.vocabulary.read(self.sink.sound)


@asynccontextmanager
async def speaker(
    url: str, queue: str, *, prefetch: int = PREFETCH, script: Script = QUICK, remembered: int = 1000
) -> AsyncIterator[Speaker]:
    """At the end it is cut off as a crash would, without flushing."""
    inbox = Inbox(remembered=remembered)
    vocabulary = Vocabulary()
    chain = ChainTTS([Provider("level", False, "l", lambda _: LevelTTS("level", vocabulary, script))], "level:l")
    program = Program(inbox, Voicing(chain).speak)
    playout = Playout(ScriptedRenderer(), listener=program)
    program.bind(playout)
    playout.on_tick = program.on_tick
    sink = MemorySink()
    playout.attach(sink, primary=True)
    amqp = Amqp(inbox, Address.from_url(url), queue, prefetch=prefetch)
    running = Speaker(amqp, inbox, program, playout, sink, vocabulary, script)
    inbox.listeners.append(running.events.append)
    tasks = [asyncio.create_task(each.run()) for each in (playout, program, amqp)]
    try:
        yield running
        for task in tasks:
            assert not task.done(), task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await program.aclose()
        playout.close()


async def until(condition: Any, timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


@dataclass
class Desk:
    """Somebody with a connection to the broker."""

    channel: Any

    async def send(
        self,
        queue: str,
        data: str,
        *,
        message_id: str | None = None,
        kind: str = "text",
        priority: int | None = None,
        reply_to: str | None = None,
        properties: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        body: dict[str, Any] = {"type": kind, "data": data, "session_id": "studio"} | fields
        if message_id is not None:
            body["id"] = message_id
        await self.raw(queue, json.dumps(body).encode(), priority=priority, reply_to=reply_to, **(properties or {}))

    async def raw(self, queue: str, body: bytes, **properties: Any) -> None:
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, **properties)
        await self.channel.default_exchange.publish(message, queue)

    async def declare(self, queue: str, arguments: dict[str, FieldValue] | None = None) -> None:
        await self.channel.declare_queue(queue, durable=True, arguments=arguments)

    async def depth(self, queue: str) -> int:
        """How many wait in the broker, those delivered and not acknowledged not counted."""
        return int((await self.channel.declare_queue(queue, passive=True)).declaration_result.message_count)

    async def take(self, queue: str, timeout_s: float = 10.0) -> AbstractIncomingMessage:
        """The next message of a queue, acknowledged."""
        declared = await self.channel.declare_queue(queue, passive=True)
        async with asyncio.timeout(timeout_s):
            while (message := await declared.get(fail=False)) is None:
                await asyncio.sleep(0.05)
        await message.ack()
        taken: AbstractIncomingMessage = message
        return taken

    async def listen(self, exchange: str, key: str, queue: str) -> str:
        """A durable queue that takes the events of a key."""
        declared = await self.channel.declare_queue(queue, durable=True)
        source = await self.channel.declare_exchange(exchange, aio_pika.ExchangeType.TOPIC, durable=True)
        await declared.bind(source, key)
        return queue

    async def drain(self, queue: str) -> list[AbstractIncomingMessage]:
        declared = await self.channel.declare_queue(queue, passive=True)
        found = []
        while (message := await declared.get(fail=False)) is not None:
            await message.ack()
            found.append(message)
        return found


@asynccontextmanager
async def desk(url: str) -> AsyncIterator[Desk]:
    link = await aio_pika.connect(url)
    try:
        yield Desk(await link.channel())
    finally:
        await link.close()
