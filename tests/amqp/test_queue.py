"""The queue on a real RabbitMQ: order, acknowledgement at the end, dead letters, events, a broker that goes away."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections import Counter

import pytest

from agent.inbox.amqp import Amqp
from agent.inbox.amqp_address import Address
from agent.inbox.inbox import Inbox
from tests.amqp.broker import PASSWORD, Broker, free_port
from tests.amqp.stage import Desk, desk, speaker, until
from tests.doubles.tts import Script

pytestmark = pytest.mark.amqp


@pytest.fixture
def queue() -> str:
    return f"q{uuid.uuid4().hex[:8]}"


async def queued(teller: Desk, queue: str) -> None:
    """As the program declares it, before the program is there."""
    await teller.declare(queue, {"x-max-priority": 9})


async def test_what_waits_is_said_by_priority_and_then_in_order(broker: Broker, queue: str) -> None:
    async with desk(broker.url) as teller:
        await queued(teller, queue)
        for number in range(4):
            await teller.send(queue, f"low{number}", message_id=f"low{number}", priority=0)
        await teller.send(queue, "high", message_id="high", priority=7)
        await teller.send(queue, "own", message_id="own", priority=2, language="en")
        async with speaker(broker.url, queue) as running:
            await until(lambda: len(running.ids("finished")) == 6)
            assert running.ids("started") == ["high", "own", "low0", "low1", "low2", "low3"]
            assert running.words == ["high", "own", "low0", "low1", "low2", "low3"]


async def test_a_priority_in_the_message_itself_overtakes_within_the_prefetch(broker: Broker, queue: str) -> None:
    async with desk(broker.url) as teller, speaker(broker.url, queue) as running:
        await until(lambda: running.amqp.connected)
        await teller.send(queue, "one two three four five six", message_id="a")
        await teller.send(queue, "seven", message_id="b")
        await until(lambda: running.ids("started") == ["a"])
        await teller.send(queue, "eight", message_id="c", timestamp="2030-01-01T00:00:00Z")
        body = {"type": "text", "data": "nine", "id": "d", "priority": 5}
        await teller.raw(queue, json.dumps(body).encode())
        await until(lambda: len(running.ids("finished")) == 4)
        assert running.ids("started") == ["a", "d", "b", "c"]


async def test_it_is_acknowledged_only_when_played_to_the_end(broker: Broker, queue: str) -> None:
    async with desk(broker.url) as teller:
        async with speaker(broker.url, queue) as running:
            await until(lambda: running.amqp.connected)
            await teller.send(queue, "one two three four five six seven eight", message_id="a")
            await until(lambda: running.ids("started") == ["a"])
            await asyncio.sleep(0.5)
        # It crashed in the middle: the message is there again, and said in full by the next one.
        await asyncio.sleep(0.3)
        assert await teller.depth(queue) == 1
        async with speaker(broker.url, queue) as running:
            await until(lambda: running.ids("finished") == ["a"])
            assert running.words == ["one", "two", "three", "four", "five", "six", "seven", "eight"]
            await asyncio.sleep(0.3)
        await asyncio.sleep(0.3)
        assert await teller.depth(queue) == 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"not json", "the message is not JSON"),
        (b'{"type":"song","data":"la"}', "type='song': must be text, audio or control"),
        (b'{"type":"text"}', "data is missing"),
        (b'{"type":"audio","data":"aGVsbG8=","format":"wav"}', "data cannot be read as wav"),
    ],
)
async def test_invalid_ones_go_to_the_dead_letters_with_the_reason(
    broker: Broker, queue: str, body: bytes, reason: str
) -> None:
    async with desk(broker.url) as teller, speaker(broker.url, queue) as running:
        await until(lambda: running.amqp.connected)
        await teller.listen(f"{queue}.events", "#", f"{queue}.told")
        await teller.raw(queue, body, headers={"source": "test"}, message_id="m 1")
        await teller.send(queue, "fine", message_id="after")
        dead = await teller.take(f"{queue}.dead")
        assert dead.body == body
        assert reason in str(dead.headers["reason"])
        assert dead.headers["source"] == "test"
        assert dead.message_id == "m 1"
        told = json.loads((await teller.take(f"{queue}.told")).body)
        assert (told["event"], reason in told["reason"]) == ("failed", True)
        await until(lambda: running.ids("finished") == ["after"])
        assert running.amqp.invalid == 1


async def test_what_nobody_can_say_is_a_dead_letter_too(broker: Broker, queue: str) -> None:
    async with desk(broker.url) as teller, speaker(broker.url, queue, script=Script(fail_after=0)) as running:
        await teller.listen(f"{queue}.events", "#", f"{queue}.told")
        await until(lambda: running.amqp.connected)
        await teller.send(queue, "Hello there.", message_id="a")
        dead = await teller.take(f"{queue}.dead")
        assert "no TTS left" in str(dead.headers["reason"])
        assert json.loads(dead.body)["data"] == "Hello there."


async def test_no_more_than_the_prefetch_is_held(broker: Broker, queue: str) -> None:
    async with desk(broker.url) as teller:
        await queued(teller, queue)
        for number in range(30):
            await teller.send(queue, "one two three", message_id=str(number))
        async with speaker(broker.url, queue, prefetch=5) as running:
            await until(lambda: running.ids("started") != [])
            await asyncio.sleep(0.3)
            held = 30 - await teller.depth(queue) - len(running.ids("finished"))
            assert held == 5
            await until(lambda: running.amqp.ready is not None)
            assert running.amqp.ready is not None
            assert running.amqp.ready >= 20


async def test_a_control_is_not_held_up_by_a_full_prefetch(broker: Broker, queue: str) -> None:
    async with desk(broker.url) as teller, speaker(broker.url, queue, prefetch=2) as running:
        await until(lambda: running.amqp.connected)
        await teller.send(queue, " ".join(f"w{number}" for number in range(60)), message_id="long")
        for number in range(5):
            await teller.send(queue, "short", message_id=str(number))
        await until(lambda: running.ids("started") == ["long"])
        await teller.send(f"{queue}.control", "skip", kind="control")
        await until(lambda: running.ids("skipped") == ["long"], 3)
        await until(lambda: running.ids("finished") == ["0", "1", "2", "3", "4"])


async def test_events_go_to_the_exchange_and_to_whoever_asked(broker: Broker, queue: str) -> None:
    async with desk(broker.url) as teller, speaker(broker.url, queue) as running:
        await until(lambda: running.amqp.connected)
        mine = await teller.listen(f"{queue}.events", "studio.a.*", f"{queue}.mine")
        others = await teller.listen(f"{queue}.events", "elsewhere.#", f"{queue}.others")
        await teller.declare(f"{queue}.replies")
        await teller.send(
            queue, "one two", message_id="a", reply_to=f"{queue}.replies", properties={"correlation_id": "c-7"}
        )
        await teller.send(queue, "three", message_id="b")
        await until(lambda: running.ids("finished") == ["a", "b"])
        await running.amqp.flush()
        told = await teller.drain(mine)
        assert [(each.routing_key, each.type) for each in told] == [
            (f"studio.a.{kind}", kind) for kind in ("accepted", "started", "finished")
        ]
        assert json.loads(told[1].body)["waited_s"] < 1
        assert len({each.message_id for each in told}) == 3
        replies = await teller.drain(f"{queue}.replies")
        assert [(each.type, each.correlation_id) for each in replies] == [
            (kind, "c-7") for kind in ("accepted", "started", "finished")
        ]
        assert await teller.drain(others) == []


async def test_an_orderly_end_leaves_what_was_played_and_gives_back_the_rest(broker: Broker, queue: str) -> None:
    async with desk(broker.url) as teller:
        await queued(teller, queue)
        mine = await teller.listen(f"{queue}.events", "#", f"{queue}.mine")
        for name in ("a", "b", "c"):
            await teller.send(queue, "one two three four", message_id=name)
        async with speaker(broker.url, queue) as running:
            await until(lambda: running.ids("started") == ["a"])
            await running.program.finish(5)
            await running.amqp.flush()
        await asyncio.sleep(0.3)
        assert running.words == ["one", "two", "three", "four"]
        assert await teller.depth(queue) == 2
        told = [(each.type, json.loads(each.body)["id"]) for each in await teller.drain(mine)]
        assert ("finished", "a") in told


async def test_a_queue_that_was_declared_otherwise_is_used_as_it_is(broker: Broker, queue: str) -> None:
    async with desk(broker.url) as teller:
        await teller.declare(queue)
        async with speaker(broker.url, queue) as running:
            await teller.send(queue, "hello", message_id="a")
            await until(lambda: running.ids("finished") == ["a"])


async def test_a_queue_that_is_deleted_is_made_again(broker: Broker, queue: str) -> None:
    async with desk(broker.url) as teller, speaker(broker.url, queue) as running:
        await until(lambda: running.amqp.connected)
        await teller.channel.queue_delete(queue)
        await until(lambda: running.amqp.connections == 2, 15)
        await teller.send(queue, "hello", message_id="a")
        await until(lambda: running.ids("finished") == ["a"])


async def test_no_password_is_ever_logged(broker: Broker, queue: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with speaker(broker.url, queue) as running:
        await until(lambda: running.amqp.connected)
        assert PASSWORD not in json.dumps(running.amqp.status())
    async with speaker(broker.url.replace(PASSWORD, "wrong-one"), queue) as running:
        await asyncio.sleep(2)
        assert not running.amqp.connected
    async with speaker(f"amqp://mien:{PASSWORD}@127.0.0.1:1/", queue):
        await asyncio.sleep(0.5)
    logged = caplog.text
    assert "ACCESS_REFUSED" in logged
    assert PASSWORD not in logged
    assert "wrong-one" not in logged


# -- a broker that goes away


@pytest.mark.timeout(240)
@pytest.mark.parametrize("named", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_a_broker_restarted_three_times_loses_and_doubles_nothing(queue: str, named: bool) -> None:
    """50 messages; the broker is killed twice and stopped once in their midst."""
    with Broker() as own:
        async with desk(own.url) as teller:
            await queued(teller, queue)
            await teller.listen(f"{queue}.events", "#", f"{queue}.told")
            for number in range(50):
                await teller.send(queue, f"m{number} and", message_id=f"m{number}" if named else None)
        async with speaker(own.url, queue) as running:
            for after, end in ((10, own.kill), (25, own.stop), (40, own.kill)):
                await until(lambda after=after: len(running.ids("finished")) >= after, 60)
                await asyncio.to_thread(end)
                await asyncio.sleep(0.7)
                await asyncio.to_thread(own.start)
            await until(lambda: len(running.ids("finished")) >= 50, 60)
            await until(lambda: running.amqp.connected, 10)
            await asyncio.sleep(1.0)  # whatever would come again has come
            assert [word for word in running.words if word != "and"] == [f"m{number}" for number in range(50)]
            assert running.amqp.connections == 4
            await running.amqp.flush()
            async with desk(own.url) as teller:
                told = await teller.drain(f"{queue}.told")
                by_id = {each.message_id: (each.type, json.loads(each.body)["id"]) for each in told}
                assert Counter(kind for kind, _ in by_id.values()) == {"accepted": 50, "started": 50, "finished": 50}
                assert len(told) <= 150 + 3 * 2  # one that was sent and not confirmed may come twice, under one id
                assert await teller.depth(queue) == 0
                assert await teller.drain(f"{queue}.dead") == []


async def test_a_program_that_starts_before_its_broker_waits_for_it(queue: str) -> None:
    with Broker() as own:
        own.kill()
        async with speaker(own.url, queue) as running:
            await asyncio.sleep(1.0)
            assert not running.amqp.connected
            await asyncio.to_thread(own.start)
            await until(lambda: running.amqp.connected, 10)
            async with desk(own.url) as teller:
                await teller.send(queue, "hello", message_id="a")
            await until(lambda: running.ids("finished") == ["a"])


async def test_a_broker_that_hangs_is_left_and_found_again(queue: str) -> None:
    """No error comes: only the missing heartbeat tells."""
    with Broker() as own:
        async with desk(own.url) as teller:
            await queued(teller, queue)
            for number in range(12):
                await teller.send(queue, f"m{number} and", message_id=f"m{number}")
        async with speaker(f"{own.url}?heartbeat=2", queue) as running:
            await until(lambda: len(running.ids("finished")) >= 2)
            own.freeze(True)
            await until(lambda: not running.amqp.connected, 30)
            own.freeze(False)
            await until(lambda: len(running.ids("finished")) >= 12, 40)
            await asyncio.sleep(1.0)
            assert [word for word in running.words if word != "and"] == [f"m{number}" for number in range(12)]
            assert running.amqp.connections >= 2


async def test_a_broker_that_stays_away_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    amqp = Amqp(Inbox(), Address.from_url(f"amqp://127.0.0.1:{free_port()}/"), "mien")
    running = asyncio.create_task(amqp.run())
    await asyncio.sleep(5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    told = [record for record in caplog.records if record.name == "agent.inbox.amqp"]
    assert 2 <= len(told) <= 4
    # The library would tell of every attempt, for ever.
    assert [record for record in caplog.records if record.name.startswith(("aiormq", "aio_pika"))] == []
