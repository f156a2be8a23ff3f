"""The real engine thread and a real event loop over a core double of stated batch times, in real time.

Run: ``python -m benchmarks.capacity_engine``, on a machine that does nothing else. In: speeds. Out: how late pictures
of strict talkers were, and how long a new utterance's first one took. Pictures are small and the double makes them on
this machine's processors, so a busy machine makes them late: what is measured is the engine's own overhead, not a GPU.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from dataclasses import dataclass, field

from avatar.musetalk.guests import Outcome
from avatar.musetalk.scheduler import Speeds
from benchmarks.capacity import DEVICES
from benchmarks.capacity_talker import LEAD_TICKS, TICK_S
from benchmarks.report import Report, arguments
from tests.conformance.conftest import babble
from tests.doubles.engine import CoreDouble, engine_over, person

SPEECH_S = 4.0
TALKERS = 12


@dataclass(eq=False)
class Talked:
    pictures: int = 0
    late: int = 0
    worst_ms: float = 0.0
    first_ms: list[float] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)

    @property
    def first_p95_ms(self) -> float:
        return statistics.quantiles(self.first_ms, n=20)[-1] if len(self.first_ms) > 1 else float("nan")


def talk(speeds: Speeds, talkers: int, seconds: float) -> Talked:
    return asyncio.run(_talk(speeds, talkers, seconds))


async def _talk(speeds: Speeds, talkers: int, seconds: float) -> Talked:
    core = CoreDouble(dict(speeds.batch_s))
    engine = engine_over(core, check=None)
    core.submitted.clear()
    out = Talked()
    chance = random.Random(1)
    identity = person().identity
    sessions = [engine.open(identity) for _ in range(talkers)]
    speech = babble(SPEECH_S)
    stop_at = time.monotonic() + seconds

    async def strict(number: int) -> None:
        """25 pictures a second, asked for five ticks ahead, in segments of a few seconds back to back."""
        session, segment = sessions[number], 0
        session.push(segment, speech)
        origin = time.monotonic() + chance.random() * TICK_S
        n = tick = 0
        while (due_s := origin + (tick + LEAD_TICKS) * TICK_S) < stop_at:
            if n >= SPEECH_S * 25 - 4:
                segment, n = segment + 1, 0
                session.push(segment, speech)
                session.forget(before=segment)

            def came(outcome: Outcome, due_s: float = due_s) -> None:
                late_s = time.monotonic() - due_s
                out.pictures += 1
                out.late += late_s > 0 or isinstance(outcome, Exception)
                out.worst_ms = max(out.worst_ms, 1000 * late_s)

            session.ask(segment, n, tick % 6, due_s, came)
            n += 1
            tick += 1
            await asyncio.sleep(max(0.0, origin + tick * TICK_S - time.monotonic()))

    async def newcomer() -> None:
        """A new utterance about once a second; its first picture is asked for three ticks ahead."""
        session, segment = engine.open(identity), 0
        loop = asyncio.get_running_loop()
        while time.monotonic() < stop_at - 1.0:
            await asyncio.sleep(chance.uniform(0.5, 1.2))
            segment += 1
            began = time.monotonic()
            answered: asyncio.Future[float] = loop.create_future()

            def first(outcome: Outcome, answered: asyncio.Future[float] = answered) -> None:
                loop.call_soon_threadsafe(lambda: answered.set_result(time.monotonic()))

            session.push(segment, speech[:8000])
            session.forget(before=segment)
            for n in range(3):
                due_s = began + (3 + n) * TICK_S
                session.ask(segment, n, n, due_s, first if n == 0 else lambda outcome: None, opening=n < 2)
            out.first_ms.append(1000 * (await answered - began))

    await asyncio.gather(newcomer(), *(strict(number) for number in range(talkers)))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(engine.close)
    sizes = [len(batch) for batch in core.submitted]
    out.facts = {
        "talkers": talkers,
        "seconds": seconds,
        "pictures": out.pictures,
        "latest_ms": round(out.worst_ms, 1),
        "batches": len(sizes),
        "mean_batch": round(statistics.mean(sizes), 2),
    }
    return out


def main() -> int:
    parser = arguments("capacity_engine", "the real engine thread over a core double of stated batch times")
    options = parser.parse_args()
    report = Report("capacity_engine", options.quick, options.out)
    device = DEVICES["H200 goal"]
    report.facts["device"] = f"{device.name}; {device.source}"
    engine = talk(device.speeds, talkers=TALKERS, seconds=8.0 if options.quick else 60.0)
    report.facts["run"] = engine.facts
    what = f"first lip picture, {TALKERS} talkers"
    report.numbers(what, engine.first_ms, "ms", stated_n=30)
    report.bound(f"{what}, p95", engine.first_p95_ms, 120, "ms", n=len(engine.first_ms), stated_n=30)
    report.bound(f"late pictures of {TALKERS} talkers", engine.late, 0, "", n=engine.pictures)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
