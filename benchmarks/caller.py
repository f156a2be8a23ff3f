"""A visitor without a browser, in a process of its own: joins the address given and listens until interrupted.

In: an address. Out: ``joined`` on stdout; at the end a JSON line with how often it heard sound begin.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

import aiohttp
import numpy as np

from avatar.frames import SAMPLE_RATE_HZ
from benchmarks.measure import onsets
from rooms.peer import offer_media_on
from tests.doubles.page import Page

BLOCK = SAMPLE_RATE_HZ // 100
LOUD = 500
QUIET_BLOCKS = 10


async def call(url: str) -> int:
    """Returns how often sound began after at least 100 ms of silence."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    offer_media_on(["127.0.0.1"])
    page = Page()

    async def answered(sdp: str) -> str:
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{url}api/offer", json={"sdp": sdp, "type": "offer"}) as response,
        ):
            answer: str = (await response.json())["sdp"]
            return answer

    await page.join(answered)
    print("joined", flush=True)
    while not stop.is_set():
        page.pictures.clear()  # nobody looks at them, and they are large
        try:
            await asyncio.wait_for(stop.wait(), 0.5)
        except TimeoutError:
            continue
    heard = page.heard()
    await page.aclose()
    blocks = np.abs(heard[: heard.size // BLOCK * BLOCK].astype(np.int32)).reshape(-1, BLOCK).max(axis=1)
    return len(onsets(blocks.astype(np.float64), threshold=LOUD, quiet=QUIET_BLOCKS))


if __name__ == "__main__":
    print(json.dumps({"e": "heard", "at": 0, "onsets": asyncio.run(call(sys.argv[1]))}), flush=True)
    os._exit(0)  # a decoder thread must not hold the process
