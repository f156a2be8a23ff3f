"""The process of `mien stream`: signals in; a stream on a thread of its own, and an exit status.

The stream's clock runs beside the main thread, because livekit-agents' plugins insist on being imported by that one,
which takes it seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import signal
import sys
import threading
from concurrent.futures import Future
from typing import NoReturn

from agent.loop import switch_soon
from agent.settings import Settings
from agent.stream import Stream
from agent.stream_log import log_beside
from agent.stream_speaker import import_voices

STOP_S = 20.0
"""What still holds the process after this is cut."""


def run(settings: Settings) -> NoReturn:
    """Stream until interrupted, then end the process.

    Raises:
        MienError: a setting cannot be met (an address that is none, a clip that is not there, a port in use, …).
    """
    log_beside()
    switch_soon()
    stop = threading.Event()

    def on_signal(*_: object) -> None:
        """First signal: finish the sentence and close. Second: at once."""
        if stop.is_set():
            os._exit(130)
        deadline = threading.Timer(STOP_S, os._exit, (0,))
        deadline.daemon = True
        deadline.start()
        stop.set()
        streaming.interrupt()

    streaming = _Streaming(settings)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, on_signal)
    streaming.start()
    streaming.wait()
    # As in `mien talk`: what remains are threads of the native libraries, and taking the interpreter down around them
    # may end in a crash.
    logging.shutdown()
    os._exit(0)


class _Streaming:
    """The thread with the stream's loop; and what the main thread does for it meanwhile."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._asked: queue.SimpleQueue[Future[None] | None] = queue.SimpleQueue()
        self._stopping: Future[None] = Future()
        self._ended: Future[None] = Future()

    def start(self) -> None:
        threading.Thread(target=self._run, name="clock", daemon=True).start()

    def interrupt(self) -> None:
        self._stopping.set_result(None)

    def wait(self) -> None:
        """On the main thread: import what is asked for, until the stream has ended.

        Raises:
            MienError: what the stream ended with.
        """
        while (asked := self._asked.get()) is not None:
            try:
                import_voices()
                asked.set_result(None)
            except BaseException as error:  # it belongs to whoever waits for it
                asked.set_exception(error)
        self._ended.result()

    def _run(self) -> None:
        try:
            asyncio.run(self._stream())
            self._ended.set_result(None)
        except BaseException as error:  # raised again by ``wait``, on the main thread
            self._ended.set_exception(error)
        finally:
            self._asked.put(None)

    async def _stream(self) -> None:
        stopping = asyncio.wrap_future(self._stopping)
        lines = sys.stdin.fileno() if sys.stdin is not None else None
        async with Stream(self._settings, load=self._load, lines=lines) as stream:
            text = f"Mien is on air; watch it at {stream.url}  (Ctrl-C ends it)"
            threading.Thread(target=_announce, args=(text,), name="announce", daemon=True).start()
            await asyncio.wait([stopping, stream.broken], return_when=asyncio.FIRST_COMPLETED)
            if stream.broken.done():
                stream.broken.result()
            await stream.finish()

    async def _load(self) -> None:
        asked: Future[None] = Future()
        self._asked.put(asked)
        await asyncio.wrap_future(asked)


def _announce(text: str) -> None:
    """On a thread of its own: to a terminal that was stopped, a disk that is full, or a reader that has gone."""
    with contextlib.suppress(OSError):
        print(text, flush=True)
