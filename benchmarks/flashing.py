"""A stage that flashes and beeps, in a process of its own: nothing else may hold its clock.

In, on stdin: ``flash`` for one utterance, ``early`` for one of the control, ``tell`` for what its playout has counted.
Out, on stdout: its address; then JSON lines, ``{"e": "playout", "at": …, …}``.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys

from benchmarks.child import emit, told
from benchmarks.flash import FlashRenderer, utterance
from benchmarks.stage import Stage, staged

COUNTED = ("ticks", "late", "repeated", "stalls")


def say(stage: Stage, renderer: FlashRenderer, *, early: bool) -> None:
    """One utterance; its first sample decides its number."""
    sound = utterance()
    segment = stage.playout.push(sound[:1])
    if early:
        renderer.early.add(segment)
    stage.playout.push(sound[1:])
    stage.playout.end()


async def serve() -> None:
    """Until interrupted, or until stdin ends."""
    loop = asyncio.get_running_loop()
    reader = await told()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, stopped.set)
    renderer = FlashRenderer()
    async with staged(renderer) as stage:
        gc.freeze()  # as `mien talk` does
        print(f"flashing at {stage.url}", flush=True)
        obeying = asyncio.create_task(_obey(reader, stage, renderer))
        await asyncio.wait([obeying, asyncio.create_task(stopped.wait())], return_when=asyncio.FIRST_COMPLETED)
        obeying.cancel()


async def _obey(reader: asyncio.StreamReader, stage: Stage, renderer: FlashRenderer) -> None:
    while line := (await reader.readline()).decode().strip():
        match line:
            case "flash" | "early":
                say(stage, renderer, early=line == "early")
            case "tell":
                emit("playout", **{name: getattr(stage.playout.stats, name) for name in COUNTED})
            case _:
                raise SystemExit(f"flashing: {line!r} is none of flash, early, tell")


if __name__ == "__main__":
    asyncio.run(serve())
    sys.stdout.flush()
    os._exit(0)  # a peer's decoder thread must not hold the process
