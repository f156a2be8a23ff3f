"""A warm child process that answers requests in frames over its standard input and output.

In: request payloads (bytes), whole or bit by bit. Out: the frames of each answer, in order, on whichever event loop
asked. Conversations may run on loops of their own in one process and share a child: one thread writes to it, so that a
full pipe holds nobody up, another reads its output and hands frames to the loop that waits for them. A child that dies
fails what it was asked for, and the next request starts a fresh one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import queue
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

from agent.speech.framing import ASK, CANCEL, DONE, FAILED, read_frame, write_frame
from avatar.frames import MienError

logger = logging.getLogger(__name__)

EXIT_TIMEOUT_S = 1.0
START_S = 10.0
"""How long a child may take for its very first frame: a busy machine starts an interpreter slowly."""


class ChildDied(MienError):
    """The child process ended, or was ended because it took too long, before the answer was complete."""


class ChildRefused(MienError):
    """The child could not do what it was asked; the message is its own."""


class _Answer:
    """Where the frames of one request go: a queue on the loop that asked."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.frames: asyncio.Queue[tuple[bytes, bytes] | None] = asyncio.Queue()

    def put(self, frame: tuple[bytes, bytes] | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop that asked has been closed: nobody waits any more
            self._loop.call_soon_threadsafe(self.frames.put_nowait, frame)


class _Running:
    """One life of the child: its process, its reader thread, the requests it has not answered."""

    def __init__(self, module: str) -> None:
        # The package is found from its own root, wherever the parent was started from. A session of its own keeps
        # Ctrl-C in a terminal from reaching it before the parent has said goodbye.
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[2],
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._stdin, self._stdout = self.process.stdin, self.process.stdout
        self._answers: dict[int, _Answer] = {}
        self._lock = threading.Lock()
        self._over = False
        self.answers = False
        """It has sent something, so it has started."""
        self._outgoing: queue.SimpleQueue[tuple[bytes, int, bytes] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name=f"{module} reader", daemon=True)
        self._reader.start()
        threading.Thread(target=self._write, name=f"{module} writer", daemon=True).start()

    @property
    def over(self) -> bool:
        return self._over

    def expect(self, request: int, answer: _Answer) -> None:
        with self._lock:
            if self._over:
                answer.put(None)
            else:
                self._answers[request] = answer

    def forget(self, request: int) -> None:
        with self._lock:
            self._answers.pop(request, None)

    def send(self, kind: bytes, request: int, payload: bytes = b"") -> None:
        """Never blocks: what the pipe does not take yet, waits."""
        self._outgoing.put((kind, request, payload))

    def kill(self) -> None:
        """End it now. It counts as over before its reader has seen the end, so the next request starts another."""
        with self._lock:
            self._over = True
        self.process.kill()

    def close(self) -> None:
        """End it: closing its input asks it to go; a second later it is killed."""
        self._outgoing.put(None)
        try:
            self.process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(EXIT_TIMEOUT_S)

    def _write(self) -> None:
        # A dead child is noticed by the reader, not here.
        with contextlib.suppress(OSError), self._stdin:
            while (frame := self._outgoing.get()) is not None:
                write_frame(self._stdin, *frame)

    def _read(self) -> None:
        with self._stdout:
            while (frame := read_frame(self._stdout)) is not None:
                kind, request, payload = frame
                self.answers = True
                with self._lock:
                    answer = self._answers.get(request)
                if answer is not None:
                    answer.put((kind, payload))
        self.process.wait()
        with self._lock:
            self._over = True
            waiting, self._answers = self._answers, {}
        self._outgoing.put(None)
        for answer in waiting.values():
            answer.put(None)


class Exchange:
    """One request to a child, and its answer. Made by `Child.open`."""

    def __init__(self, running: _Running, request: int, module: str, silence_s: float) -> None:
        self._running = running
        self._request = request
        self._module = module
        self._silence_s = silence_s
        self._answer = _Answer()
        self._over = False
        running.expect(request, self._answer)

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """A part of the request; never blocks. A dead child is noticed by who reads the answer."""
        self._running.send(kind, self._request, payload)

    async def frames(self) -> AsyncGenerator[tuple[bytes, bytes], None]:
        """Yield the (kind, payload) frames of the answer. Leaving the iteration early cancels the request.

        Raises:
            ChildDied: the process ended or fell silent.
            ChildRefused: it answered with an error.
        """
        try:
            while True:
                limit_s = self._silence_s if self._running.answers else max(START_S, self._silence_s)
                try:
                    frame = await asyncio.wait_for(self._answer.frames.get(), limit_s)
                except TimeoutError:
                    self._running.kill()
                    raise ChildDied(f"{self._module} said nothing for {limit_s:g} s and was ended") from None
                if frame is None:
                    self._over = True
                    raise ChildDied(f"{self._module} ended (exit status {self._running.process.returncode})")
                kind, content = frame
                if kind in (DONE, FAILED):
                    self._over = True
                    if kind == FAILED:
                        raise ChildRefused(content.decode("utf-8", "replace"))
                    return
                yield kind, content
        finally:
            self.cancel()

    def cancel(self) -> None:
        """The answer is not wanted; nothing happens when it is complete."""
        self._running.forget(self._request)
        if not self._over:
            self._over = True
            self._running.send(CANCEL, self._request)


class Child:
    """A worker module kept running as a child process.

    Args:
        module: run as ``python -m module``; it speaks this file's frames.
        silence_s: how long it may take for its next frame before it is killed.
    """

    def __init__(self, module: str, *, silence_s: float) -> None:
        self._module = module
        self._silence_s = silence_s
        self._running: _Running | None = None
        self._starting = threading.Lock()
        self._numbers = itertools.count(1)
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process id of the child that runs now, for tests and memory figures."""
        running = self._running
        return None if running is None or running.over else running.process.pid

    def start(self) -> None:
        """Start the child if it is not running. Blocks for the time of a fork.

        Raises:
            ChildDied: it was closed.
        """
        self._current()

    async def ask(self, payload: bytes) -> AsyncGenerator[tuple[bytes, bytes], None]:
        """Send a whole request and yield its answer: see `Exchange.frames`."""
        exchange = await self.open()
        exchange.send(ASK, payload)
        async with contextlib.aclosing(exchange.frames()) as frames:
            async for frame in frames:
                yield frame

    async def open(self) -> Exchange:
        """Begin a request; its parts are sent with it. Starts the child if it is not running.

        Raises:
            ChildDied: it was closed.
        """
        return self.open_now() or self._exchange(await asyncio.to_thread(self._current))

    def open_now(self) -> Exchange | None:
        """The same without waiting; None while no child runs."""
        running = self._running
        return None if running is None or running.over else self._exchange(running)

    async def aclose(self) -> None:
        """End the child; at most about two seconds."""
        self._closed = True
        if self._running is not None:
            await asyncio.to_thread(self._running.close)

    def _exchange(self, running: _Running) -> Exchange:
        return Exchange(running, next(self._numbers), self._module, self._silence_s)

    def _current(self) -> _Running:
        with self._starting:
            if self._closed:
                raise ChildDied(f"{self._module} was closed")
            if self._running is None or self._running.over:
                if self._running is not None:
                    logger.warning(
                        "%s ended (exit status %s); starting it again", self._module, self._running.process.poll()
                    )
                self._running = _Running(self._module)
            return self._running
