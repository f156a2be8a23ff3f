"""A process that leaks: the control of the soak's memory slope.

In: how many MB an hour. Out: that much more memory, evenly, until it is ended. It grows by whole pages, which it
touches, since only those count.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time

PAGE = 4096
STEP_S = 0.5


async def main(mb_an_hour: float) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    began = time.monotonic()
    leaked: list[bytearray] = []
    print("leaking", flush=True)
    while not stop.is_set():
        due = int((time.monotonic() - began) / 3600 * mb_an_hour * 2**20) // PAGE
        while len(leaked) < due:
            # Not zeros: those the system would give without holding them.
            leaked.append(bytearray(b"\x01") * PAGE)
        try:
            async with asyncio.timeout(STEP_S):
                await stop.wait()
        except TimeoutError:
            continue


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
