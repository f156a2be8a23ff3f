"""The child's side of servers.py: lines in on standard input, events out as JSON lines on standard output."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any


async def told() -> asyncio.StreamReader:
    """What `Server.tell` sends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def emit(what: str, **detail: Any) -> None:
    """An event of `Server.events`, now."""
    print(json.dumps({"e": what, "at": time.monotonic(), **detail}), flush=True)
