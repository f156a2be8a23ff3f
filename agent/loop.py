"""What keeps a server's event loops punctual: libuv's loop where there is one, with a clock that is exact, and threads
that give the interpreter back soon.

A conversation is some 250 small wake-ups a second (packets in, packets out, timers); on libuv's loop they cost a
quarter less than on Python's own.
"""

from __future__ import annotations

import asyncio
import sys
import time

SWITCH_S = 0.0001
"""How long a thread may keep the interpreter from another that wants it: one that draws, encodes or detects voices from
a loop that owes somebody a packet every 20 ms, and a loop that takes in speech from the one that draws. Python's own
5 ms makes one tick in forty late with two conversations; a tenth of it, none. But a picture is many short calls outside
the interpreter lock, and after each of them the lock is waited for: in a LiveKit worker beside its listener, on two
cores, a picture of 4.1 ms of work was there after 8.1 ms with 0.5 ms, after 5.8 ms with this (means of 1,680)."""


def switch_soon() -> None:
    """Set `SWITCH_S`; once in a process."""
    sys.setswitchinterval(SWITCH_S)


if sys.platform == "win32":
    new_event_loop = asyncio.new_event_loop
else:
    import uvloop

    class ExactLoop(uvloop.Loop):
        """libuv's own time is the iteration's start, in whole milliseconds: what is late would look punctual."""

        def time(self) -> float:
            return time.monotonic()

    def new_event_loop() -> asyncio.AbstractEventLoop:
        return ExactLoop()
