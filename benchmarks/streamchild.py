"""`mien stream` with pictures that flash when their sound beeps, for measuring one against the other.

In: settings by environment, messages as JSON lines. Out: the same stream, program and inbox; only what draws is
another.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from agent.settings import load_settings
from agent.stream import Stream
from benchmarks.flash import FlashRenderer


async def main() -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    settings = load_settings(os.environ)
    async with Stream(settings, make_renderer=FlashRenderer, lines=sys.stdin.fileno()) as stream:
        print(f"on air; {stream.url}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
    sys.stdout.flush()
    os._exit(0)
