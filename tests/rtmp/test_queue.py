"""A stream told what to say by a real RabbitMQ, which is killed and comes back: nothing is lost, nothing said twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import aio_pika
import pytest

from benchmarks.rtmpreader import Reader
from benchmarks.rtmpserver import RtmpServer
from benchmarks.streamtones import heard, line, tone
from tests.amqp.broker import Broker
from tests.rtmp.air import eventually
from tests.rtmp.test_command import streaming

pytestmark = [pytest.mark.rtmp, pytest.mark.amqp, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    try:
        running = Broker()
    except RuntimeError as error:
        pytest.skip(str(error))
    with running:
        yield running


async def send(broker: Broker, numbers: range) -> None:
    connection = await aio_pika.connect(broker.url)
    async with connection:
        channel = await connection.channel()
        for number in numbers:
            body = line(tone(number), f"tone-{number}").encode()
            message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, "mien")


async def test_every_message_is_heard_once_and_in_order_through_both_servers_restarts(
    server: RtmpServer, broker: Broker, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    options = ("--rtmp", server.url("a"), "--amqp", broker.url, "--record", str(made))
    async with streaming(tmp_path, *options) as command:
        await command.served()
        await command.ready()
        await eventually(lambda: command.health()["broker"]["connected"], 20, "the broker")
        await send(broker, range(4))
        await eventually(lambda: command.health()["queue"]["settled"]["played"] >= 1, 20, "the first message")
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(broker.start)
        await asyncio.to_thread(server.start)
        await eventually(lambda: command.health()["broker"]["connected"], 30, "the broker's return")
        await send(broker, range(4, 7))
        await eventually(lambda: command.health()["queue"]["settled"]["played"] == 7, 60, "all messages")
        await eventually(lambda: command.health()["status"] == "ok", 10, "being well")
        await asyncio.sleep(1)
        told = json.dumps(command.health())
        command.process.terminate()
        assert await asyncio.wait_for(command.process.wait(), 20) == 0
    assert broker.url not in told + command.log.read_text()
    (file,) = made.glob("*.mp4")
    reader = Reader(str(file), decode=True, pictures=False).start().finished()
    assert heard(reader.sound()[1]) == list(range(7))
