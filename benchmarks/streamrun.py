"""Ten minutes on air while the broker and the RTMP server are killed again and again.

In: a real RabbitMQ and a real nginx-rtmp on loopback, both of which this file starts, kills and starts again. Two
children take the same number of messages from queues of their own: the real `mien stream` with the puppet, whose
messages are tones that can be told apart, and the same program with pictures that flash (streamchild.py). Both are read
back by FFmpeg, which comes again whenever the server has gone. Out: bounds on what was heard, seen and missing.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp
import numpy as np
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError

from benchmarks.flash import utterance
from benchmarks.measure import NotMeasured
from benchmarks.onair import health, published, ready, said
from benchmarks.report import Report
from benchmarks.rtmpreader import Follower, Reader, flash_offsets_ms
from benchmarks.rtmpserver import RtmpServer, rtmp_server
from benchmarks.servers import Server, serving
from benchmarks.streamtones import Tone, line, tone, tones
from tests.amqp.broker import Broker

RUN_S, MESSAGES, RESTARTS = 600.0, 50, 3
QUICK_RUN_S, QUICK_MESSAGES, QUICK_RESTARTS = 90.0, 8, 1
DOWN_S = 4.0
"""How long the RTMP server stays away. The broker needs about as long to start."""
RETURN_MS, OFFSET_MS, CLOCK_MS = 3000.0, 40.0, 250.0
TOGETHER = 2
"""Messages that come at once: one is on air, one is prepared and held unacknowledged when the broker dies."""
TONES, FLASHES = "tones", "flashes"
"""The two queues, and the two streams' names."""
_EDGE_MS = 200.0
"""A tone this close to where the client came or went may be cut off."""
_TALKING_S = 30.0


@dataclass(frozen=True, slots=True)
class Down:
    """When the RTMP server was killed and when it listened again, on the monotonic clock."""

    killed_s: float
    back_s: float


async def long_run(report: Report, seconds: float, messages: int, restarts: int) -> None:
    """Messages at even distances, in twos; meanwhile both servers die in turn, the broker always in mid-message."""
    for library in ("aio_pika", "aiormq"):  # they tell of every vain attempt to publish while there is no broker
        logging.getLogger(library).setLevel(logging.CRITICAL)
    with (
        rtmp_server() as rtmp,
        Broker() as broker,
        tempfile.TemporaryDirectory(prefix="mien-stream-") as folder,
    ):
        command = ("agent.cli", "stream", "--rtmp", rtmp.url(TONES), "--port", "0", "--record", folder)
        usual = {"RABBITMQ_URL": broker.url}
        small = {"RTMP_URL": rtmp.url(FLASHES), "RTMP_RESOLUTION": "512x512", "MIEN_SIZE_PX": "512"}
        async with (
            aiohttp.ClientSession() as http,
            serving(*command, environment=usual | {"RABBITMQ_QUEUE": TONES}) as spoken,
            serving("benchmarks.streamchild", environment=usual | small | {"RABBITMQ_QUEUE": FLASHES}) as flashing,
        ):
            for server in (spoken, flashing):
                await ready(http, server)
                await _connected(http, server)
            ears = Follower(rtmp.url(TONES), pictures=False).start()
            eyes = Follower(rtmp.url(FLASHES), pictures=True).start()
            if not all([await asyncio.to_thread(each.there, 20) for each in (ears, eyes)]):
                raise NotMeasured("the client got no pictures within 20 s")
            began = time.monotonic()
            sending = asyncio.create_task(_send(broker, messages, 0.9 * seconds))
            try:
                downs, returns_ms = await _disturb(http, spoken, rtmp, broker, began, seconds, restarts)
                again = await sending
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            for server in (spoken, flashing):
                await said(http, server, messages, 60)
            await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
            told = {TONES: await health(http, spoken), FLASHES: await health(http, flashing)}
            heard, seen = [await asyncio.to_thread(each.stop) for each in (ears, eyes)]
        left = await _left(broker)
        recorded = _recorded(Path(folder))
    report.facts["run"] = {
        "seconds": seconds,
        "messages_in_each_queue": messages,
        "broker_restarts": restarts,
        "rtmp_restarts": restarts,
        "messages_published_again": again,
        "told": told,
    }
    report.samples("returns", [{"back_on_air_ms": round(each, 1)} for each in returns_ms])
    _judge_pictures(report, heard, seen, downs, returns_ms)
    _judge_messages(report, heard, recorded, told, left, messages)


# -- what happens


async def _connected(http: aiohttp.ClientSession, server: Server) -> None:
    until = time.monotonic() + 20
    while not (await health(http, server))["broker"]["connected"]:
        if time.monotonic() > until:
            raise NotMeasured("the stream did not reach the broker within 20 s")
        await asyncio.sleep(0.1)


async def _send(broker: Broker, messages: int, seconds: float) -> int:
    """All messages to both queues, evenly over so many seconds; returns how often one had to be published again."""
    began, again = time.monotonic(), 0
    for number in range(messages):
        turn = number // TOGETHER * TOGETHER
        await asyncio.sleep(max(0.0, began + seconds * turn / messages - time.monotonic()))
        for queue, sound in ((TONES, tone(number)), (FLASHES, utterance())):
            again += await _publish(broker.url, queue, line(sound, f"{queue}-{number}").encode())
    return again


async def _publish(url: str, queue: str, body: bytes) -> int:
    """Until the broker has confirmed it; returns the number of vain attempts."""
    message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    vain = 0
    while True:
        try:
            async with asyncio.timeout(5), await aio_pika.connect(url, timeout=3) as link:
                channel = await link.channel()
                await channel.default_exchange.publish(message, queue)
                return vain
        except (AMQPError, ChannelInvalidStateError, OSError, TimeoutError):
            vain += 1
        except asyncio.CancelledError:  # aiormq cancels its own futures when a connection breaks
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            vain += 1
        await asyncio.sleep(0.2)


async def _disturb(
    http: aiohttp.ClientSession,
    server: Server,
    rtmp: RtmpServer,
    broker: Broker,
    began: float,
    seconds: float,
    restarts: int,
) -> tuple[list[Down], list[float]]:
    """Broker and RTMP server in turn, at even distances; returns when the latter was down, and after how many ms the
    stream was there again."""
    downs: list[Down] = []
    returns_ms: list[float] = []
    for number in range(2 * restarts):
        await asyncio.sleep(max(0.0, began + seconds * (number + 1) / (2 * restarts + 1) - time.monotonic()))
        if number % 2 == 0:
            await _talking(http, server)
            await asyncio.to_thread(broker.kill if number % 4 == 0 else broker.stop)
            await asyncio.to_thread(broker.start)
            continue
        killed = time.monotonic()
        await asyncio.to_thread(rtmp.kill)
        await asyncio.sleep(DOWN_S)
        await asyncio.to_thread(rtmp.start)
        downs.append(Down(killed, time.monotonic()))
        returns_ms += [await published(rtmp, name, downs[-1].back_s, 20) for name in (TONES, FLASHES)]
    return downs, returns_ms


async def _talking(http: aiohttp.ClientSession, server: Server) -> None:
    """Wait until a message is on air: that is the worst moment for a broker to die."""
    until = time.monotonic() + _TALKING_S
    while (await health(http, server))["state"] != "talking":
        if time.monotonic() > until:
            raise NotMeasured(f"nothing was said within {_TALKING_S:.0f} s, so that no broker could be killed in it")
        await asyncio.sleep(0.02)


async def _left(broker: Broker) -> int:
    """Messages in the broker once nobody holds any: those never acknowledged, and dead letters."""
    async with await aio_pika.connect(broker.url) as link:
        channel = await link.channel()
        counts = []
        for name in (TONES, f"{TONES}.dead", FLASHES, f"{FLASHES}.dead"):
            declared = await channel.declare_queue(name, passive=True)
            counts.append(declared.declaration_result.message_count or 0)
    return sum(counts)


# -- what became of it


def _judge_pictures(
    report: Report, heard: Sequence[Reader], seen: Sequence[Reader], downs: Sequence[Down], returns_ms: list[float]
) -> None:
    report.bound("the server's return to being back on air", max(returns_ms), RETURN_MS, "ms", n=len(returns_ms))
    for name, visits in ((TONES, heard), (FLASHES, seen)):
        steps = np.concatenate([visit.steps_ms("video") for visit in visits])
        sound_steps = np.concatenate([visit.steps_ms("audio") for visit in visits])
        uneven = int(np.count_nonzero(np.round(steps) != 40))
        odd = int(np.count_nonzero((np.round(sound_steps) != 21) & (np.round(sound_steps) != 22)))
        report.bound(f"{name}: steps between pictures that are not 40 ms", uneven, 0, "", n=steps.size)
        report.bound(f"{name}: steps between pieces of sound other than 21 or 22 ms", odd, 0, "", n=sound_steps.size)
        extra = len(visits) - 1 - len(downs)
        report.bound(f"{name}: interruptions besides the server's own", abs(extra), 0, "", n=len(visits))
        beyond = gaps_beyond_ms(visits, downs)
        worst = max(beyond, default=None)
        report.bound(f"{name}: gap beyond the server's down time", worst, RETURN_MS, "ms", n=len(beyond))
        shifts = [abs(clock_ms(visit) - clock_ms(visits[0])) for visit in visits[1:]]
        worst = max(shifts, default=None)
        report.bound(f"{name}: media time against the clock after restarts", worst, CLOCK_MS, "ms", n=len(shifts))
    offsets = [each for visit in seen for each in flash_offsets_ms(visit)]
    report.samples("run_flashes", [{"sound_after_picture_ms": round(each, 2)} for each in offsets])
    worst = max(map(abs, offsets), default=None)
    report.bound("sound against picture, the worst", worst, OFFSET_MS, "ms", n=len(offsets))


def _judge_messages(
    report: Report,
    heard: Sequence[Reader],
    recorded: Sequence[Tone],
    told: dict[str, dict[str, Any]],
    left: int,
    messages: int,
) -> None:
    order = [each.number for each in recorded]
    report.samples("run_recorded", [{"tone": each.number, "at_ms": round(each.start_ms)} for each in recorded])
    report.bound("messages not said once and in their place", misplaced(order, messages), 0, "", n=messages)
    missing, strange, whole = 0, 0, 0
    for number, visit in enumerate(heard):
        pictures, pieces = visit.of("video"), visit.of("audio")
        there_ms = max(pictures[0].time_ms, pieces[0].time_ms), min(pictures[-1].time_ms, pieces[-1].time_ms)
        first_ms, sound = visit.sound()
        found = tones(sound, first_ms)
        report.samples(
            "run_heard", [{"visit": number, "tone": each.number, "at_ms": round(each.start_ms)} for each in found]
        )
        compared = compare(recorded, found, there_ms)
        missing, strange, whole = missing + compared[0], strange + compared[1], whole + compared[2]
    report.bound("tones that the client missed while it was there", missing, 0, "", n=whole)
    report.bound("tones that the client heard and nobody said", strange, 0, "", n=whole)
    for name in (TONES, FLASHES):
        settled = told[name]["queue"]["settled"]
        report.bound(f"{name}: played, other than once each", abs(settled["played"] - messages), 0, "", n=messages)
        report.bound(f"{name}: failed or skipped", settled["failed"] + settled["skipped"], 0, "", n=messages)
    report.bound("left in the broker, dead letters included", left, 0, "messages", n=2 * messages)


def gaps_beyond_ms(visits: Sequence[Reader], downs: Sequence[Down]) -> list[float]:
    """How much more media time is missing between two visits than the server was down."""
    ends = zip(visits, visits[1:], downs, strict=False)
    return [
        after.of("video")[0].time_ms - before.of("video")[-1].time_ms - (down.back_s - down.killed_s) * 1000
        for before, after, down in ends
    ]


def clock_ms(reader: Reader) -> float:
    """How far the stream's media time is behind the clock, at its most punctual picture."""
    return min(packet.at_s * 1000 - packet.time_ms for packet in reader.of("video"))


def misplaced(order: Sequence[int], messages: int) -> int:
    """How many of the messages 0, 1, 2 … were not heard at their place, and how many were heard beside them."""
    wrong = sum(1 for number in range(messages) if list(order[number : number + 1]) != [number])
    return wrong + max(0, len(order) - messages)


def compare(
    recorded: Sequence[Tone], heard: Sequence[Tone], there_ms: tuple[float, float], tolerance_ms: float = 100.0
) -> tuple[int, int, int]:
    """A client's tones against the recording's, which misses none.

    Args:
        there_ms: the media time from which and until which the client was there.

    Returns:
        How many it should have heard whole and did not; how many it heard whole that are not in the recording; how many
        it should have heard whole.
    """

    def whole(each: Tone) -> bool:
        return there_ms[0] + _EDGE_MS <= each.start_ms and each.end_ms <= there_ms[1] - _EDGE_MS

    def known(each: Tone, among: Sequence[Tone]) -> bool:
        return any(
            each.number == other.number and abs(each.start_ms - other.start_ms) <= tolerance_ms for other in among
        )

    due = [each for each in recorded if whole(each)]
    missing = sum(not known(each, heard) for each in due)
    strange = sum(whole(each) and not known(each, recorded) for each in heard)
    return missing, strange, len(due)


def _recorded(folder: Path) -> list[Tone]:
    """The tones in the recording, which hears what no server heard; its time begins with the stream's."""
    found: list[Tone] = []
    for file in sorted(folder.glob("*.mp4"), key=lambda each: each.stat().st_mtime):
        first_ms, sound = Reader(str(file), decode=True, pictures=False).start().finished().sound()
        found += tones(sound, first_ms)
    return found
