"""Asking a stream that runs, and the RTMP server that it publishes to, how far it is.

In: a stream's address. Out: what it tells, or `NotMeasured` when what was waited for did not come.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp

from benchmarks.measure import NotMeasured
from benchmarks.rtmpserver import RtmpServer
from benchmarks.servers import Server

READY_S = 90.0


async def health(http: aiohttp.ClientSession, server: Server) -> dict[str, Any]:
    async with http.get(f"{server.url}health") as answer:
        told: dict[str, Any] = json.loads(await answer.text())
        return told


async def ready(http: aiohttp.ClientSession, server: Server) -> None:
    """Wait until it can speak."""
    until = time.monotonic() + READY_S
    while (await health(http, server))["status"] == "starting":
        if time.monotonic() > until:
            raise NotMeasured(f"not ready to speak within {READY_S:.0f} s")
        await asyncio.sleep(0.1)


async def said(http: aiohttp.ClientSession, server: Server, messages: int, timeout_s: float) -> None:
    """Wait until it has said so many messages since its start."""
    until = time.monotonic() + timeout_s
    while (played := (await health(http, server))["queue"]["settled"]["played"]) < messages:
        if time.monotonic() > until:
            raise NotMeasured(f"only {played} of {messages} messages were said within {timeout_s:.0f} s")
        await asyncio.sleep(0.1)


async def published(rtmp: RtmpServer, name: str, since: float, timeout_s: float) -> float:
    """How long after ``since`` (on the monotonic clock) the stream was at the server, in ms."""
    while name not in await asyncio.to_thread(rtmp.publishers):
        if time.monotonic() - since > timeout_s:
            raise NotMeasured(f"not on air within {timeout_s:.0f} s")
        await asyncio.sleep(0.01)
    return (time.monotonic() - since) * 1000
