"""A warm child process that answers requests in frames over its standard input and output.

In: request payloads (bytes). Out: the frames of each answer, in order, on whichever event loop asked. Conversations
may run on loops of their own in one process and share a child: a thread reads its output and hands frames to the loop
that waits for them. A child that dies fails what it was asked for, and the next request starts a fresh one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

from agent.speech.framing import ASK, CANCEL, DONE, FAILED, read_frame, write_frame
from avatar.frames import MienError

logger = logging.getLogger(__name__)

INLINE_WRITE_BYTES = 16_384
"""A request up to this size fits an empty pipe and is written where it is made; a larger one, on a thread."""
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
        self._reader = threading.Thread(target=self._read, name=f"{module} reader", daemon=True)
        self._reader.start()

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

    def write(self, kind: bytes, request: int, payload: bytes = b"") -> None:
        """Blocks while the pipe is full. A dead child is noticed by the reader, not here."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            write_frame(self._stdin, kind, request, payload)

    def kill(self) -> None:
        """End it now. It counts as over before its reader has seen the end, so the next request starts another."""
        with self._lock:
            self._over = True
        self.process.kill()

    def close(self) -> None:
        """End it: closing its input asks it to go; a second later it is killed."""
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self.process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(EXIT_TIMEOUT_S)

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
        with contextlib.suppress(OSError):
            self._stdin.close()
        for answer in waiting.values():
            answer.put(None)


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
        """Yield the (kind, payload) frames of the answer. Leaving the iteration early cancels the request.

        Raises:
            ChildDied: the process ended or fell silent.
            ChildRefused: it answered with an error.
        """
        running = self._running
        if running is None or running.over:
            running = await asyncio.to_thread(self._current)
        request = next(self._numbers)
        answer = _Answer()
        running.expect(request, answer)
        if len(payload) <= INLINE_WRITE_BYTES:
            running.write(ASK, request, payload)
        else:
            await asyncio.to_thread(running.write, ASK, request, payload)
        complete = False
        try:
            while True:
                limit_s = self._silence_s if running.answers else max(START_S, self._silence_s)
                try:
                    frame = await asyncio.wait_for(answer.frames.get(), limit_s)
                except TimeoutError:
                    running.kill()
                    raise ChildDied(f"{self._module} said nothing for {limit_s:g} s and was ended") from None
                if frame is None:
                    complete = True
                    raise ChildDied(f"{self._module} ended (exit status {running.process.returncode})")
                kind, content = frame
                if kind in (DONE, FAILED):
                    complete = True
                    if kind == FAILED:
                        raise ChildRefused(content.decode("utf-8", "replace"))
                    return
                yield kind, content
        finally:
            running.forget(request)
            if not complete:
                running.write(CANCEL, request)

    async def aclose(self) -> None:
        """End the child; at most about two seconds."""
        self._closed = True
        if self._running is not None:
            await asyncio.to_thread(self._running.close)

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
