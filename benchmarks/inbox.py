"""Messages on air: how long one waits, what lies between two, and whether one a second is kept up with.

A program with the puppet and espeak, in this process, fed over a real RabbitMQ (scripts/rabbitmq) as fast as stated;
what was released is read off the playout's ticks. Nothing is encoded or sent.

    python -m benchmarks.inbox [--quick]
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import aio_pika

from agent.face import choose_face
from agent.inbox.amqp import Amqp
from agent.inbox.amqp_address import Address
from agent.inbox.inbox import Event, Inbox
from agent.inbox.program import Program
from agent.inbox.voicing import Voicing
from agent.models import Local, choose_models
from agent.persona import load_persona
from agent.settings import Settings
from avatar.frames import SAMPLE_RATE_HZ, TICK_MS, Frame
from avatar.playout import Playout, TickReport
from benchmarks.children import run
from benchmarks.report import Report, arguments
from tests.amqp.broker import Broker

QUEUE = "benchmark"
SINGLES, SINGLES_QUICK = 100, 5
BURST, BURST_QUICK = 60, 6
SUSTAINED_S, SUSTAINED_QUICK_S = 600, 20
ALONE = (
    "Welcome to the stream, it is good to see you.",
    "Thank you for the question about the weather.",
    "The next part begins in a few minutes.",
    "Here is what happened while you were away.",
)
SHORT = ("Yes.", "Hello.", "Thanks.", "Right.", "Good.", "Okay.", "Sure.", "Nice.")
"""About half a second each, and a quarter of a second of pause: what arrives once a second can be said."""


class Nowhere:
    """A sink that holds each frame for 20 ms, as one that sends does, and then forgets it."""

    name = "nowhere"
    delay_ms = 20

    def put(self, frame: Frame) -> None:
        """Nothing is kept."""

    def clear(self, generation: int) -> int:
        return 0

    def unsent(self) -> int:
        return 20 * SAMPLE_RATE_HZ // 1000

    async def aclose(self) -> None:
        """Nothing to close."""


@dataclass
class Seen:
    """What the program did; times of the event loop's clock."""

    started: dict[str, float] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    waits_s: dict[str, float] = field(default_factory=dict)
    segments: list[int | None] = field(default_factory=list)
    """What each tick said."""
    late_ms: list[float] = field(default_factory=list)

    def event(self, event: Event) -> None:
        if event.kind == "started":
            self.started[event.id] = asyncio.get_running_loop().time()
            self.waits_s[event.id] = event.waited_s or 0.0
        elif event.kind != "accepted":
            self.ended[event.id] = event.kind

    def tick(self, report: TickReport) -> None:
        self.late_ms.append(report.late_ms)
        self.segments.append(report.segment)

    def gaps_ms(self) -> list[float]:
        """The ticks with nothing to say between each segment and the next."""
        gaps, last, idle = [], None, 0
        for segment in self.segments:
            if segment is None:
                idle += 1
                continue
            if last is not None and segment != last:
                gaps.append(float(idle * TICK_MS))
            last, idle = segment, 0
        return gaps


async def main() -> int:
    options = arguments("inbox", __doc__ or "").parse_args()
    report = Report("inbox", options.quick, options.out)
    with Broker() as broker:
        await _measure(broker, report)
    return report.finish()


async def _measure(broker: Broker, report: Report) -> None:
    settings = Settings()
    persona = load_persona(settings.avatar.persona)
    local = Local(settings)
    await asyncio.to_thread(local.espeak.start)
    models = choose_models(settings, persona, consented=set(), local=local)
    face = choose_face(settings.avatar, persona)
    renderer = await asyncio.to_thread(face.make, 0)
    inbox = Inbox()
    program = Program(inbox, Voicing(models.tts).speak)
    playout = Playout(renderer, listener=program)
    program.bind(playout)
    playout.attach(Nowhere(), primary=True)
    seen = Seen()
    inbox.listeners.append(seen.event)

    def on_tick(tick: TickReport) -> None:
        program.on_tick(tick)
        seen.tick(tick)

    playout.on_tick = on_tick
    amqp = Amqp(inbox, Address.from_url(broker.url), QUEUE)
    tasks = [asyncio.create_task(each.run()) for each in (playout, program, amqp)]
    link = await aio_pika.connect(broker.url)
    try:
        channel = await link.channel()
        await _until(lambda: amqp.connected, 20)
        await _singles(channel, seen, report)
        await _burst(channel, seen, report)
        await _sustained(channel, seen, report, inbox, amqp)
        report.numbers("ticks late", seen.late_ms, "ms")
    finally:
        await link.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await program.aclose()
        playout.close()
        await renderer.aclose()
        await models.aclose()
        await local.aclose()


async def _send(channel: Any, message_id: str, text: str) -> float:
    """Returns when it was handed to the client library."""
    now = asyncio.get_running_loop().time()
    body = {"type": "text", "data": text, "id": message_id, "session_id": "benchmark"}
    message = aio_pika.Message(json.dumps(body).encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await channel.default_exchange.publish(message, QUEUE)
    return now


async def _singles(channel: Any, seen: Seen, report: Report) -> None:
    """One message into silence, again and again: published → its first sound released."""
    wanted = SINGLES_QUICK if report.quick else SINGLES
    rows: list[dict[str, Any]] = []
    values: list[float] = []
    for number in range(wanted):
        message_id = f"single{number}"
        sent = await _send(channel, message_id, ALONE[number % len(ALONE)])
        await _until(lambda message_id=message_id: message_id in seen.ended, 30)  # type: ignore[misc]
        values.append((seen.started[message_id] - sent) * 1000)
        rows.append({"id": message_id, "ms": round(values[-1], 1)})
        await asyncio.sleep(0.5 + number % 7 * 0.013)  # not always at the same place of a tick
    report.samples("singles", rows)
    described = report.numbers("published → first sound, idle before", values, "ms", stated_n=SINGLES)
    report.bound("published → first sound, p95", described["p95"], 1000, "ms", n=len(values), stated_n=SINGLES)


async def _sustained(channel: Any, seen: Seen, report: Report, inbox: Inbox, amqp: Amqp) -> None:
    """One short message a second."""
    wanted = SUSTAINED_QUICK_S if report.quick else SUSTAINED_S
    first = asyncio.get_running_loop().time()
    rows: list[dict[str, Any]] = []
    for number in range(wanted):
        await asyncio.sleep(max(0.0, first + number - asyncio.get_running_loop().time()))
        await _send(channel, f"s{number}", SHORT[number % len(SHORT)])
        rows.append({"second": number, "backlog": inbox.backlog, "in_broker": amqp.ready})
    ids = [f"s{number}" for number in range(wanted)]
    await _until(lambda: all(message_id in seen.ended for message_id in ids), 120)
    took_s = asyncio.get_running_loop().time() - first
    report.samples("sustained", [row | {"wait_s": round(seen.waits_s[f"s{row['second']}"], 3)} for row in rows])
    waits_ms = [seen.waits_s[message_id] * 1000 for message_id in ids]
    report.numbers("one a second: arrival → first sound", waits_ms, "ms", stated_n=SUSTAINED_S)
    report.numbers("one a second: backlog", [float(row["backlog"]) for row in rows], "messages", stated_n=SUSTAINED_S)
    lost = sum(seen.ended[message_id] != "finished" for message_id in ids)
    order = sorted(ids, key=lambda message_id: seen.started[message_id])
    report.bound("one a second: not played", lost, 0, "messages", n=wanted, stated_n=SUSTAINED_S)
    report.bound("one a second: out of order", sum(a != b for a, b in zip(order, ids, strict=True)), 0, "messages")
    report.bound("one a second: behind at the end", took_s - wanted, 5, "s")
    report.facts["took_s"] = round(took_s, 1)
    report.facts["tick_ms"] = TICK_MS


async def _burst(channel: Any, seen: Seen, report: Report) -> None:
    """Many at once: what lies between two of them."""
    wanted = BURST_QUICK if report.quick else BURST
    seen.segments.clear()
    for number in range(wanted):
        await _send(channel, f"burst{number}", ALONE[number % len(ALONE)])
    await _until(lambda: all(f"burst{number}" in seen.ended for number in range(wanted)), wanted * 6)
    gaps_ms = seen.gaps_ms()
    report.samples("burst", [{"gap_ms": gap} for gap in gaps_ms])
    report.numbers("idle between two queued messages", gaps_ms, "ms", stated_n=BURST - 1)
    worst = max(gaps_ms) if gaps_ms else None
    report.bound("idle between two queued messages, worst", worst, 300, "ms", n=len(gaps_ms), stated_n=BURST - 1)


async def _until(condition: Any, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"what was waited for did not come within {timeout_s:.0f} s")
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    sys.exit(run(main))
