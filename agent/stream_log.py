"""A stream's log, written beside it: records in, lines on a stream that may stall, out.

A terminal that was stopped with Ctrl-S, a pager, a collector that hangs: whoever writes to them waits, and with it
everything that logs. Here that is a thread which nobody waits for; what does not fit its queue meanwhile is counted.
A disk that is full loses lines, and nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from typing import IO, Any

CAPACITY = 5000
"""Lines that wait."""
FLUSH_S = 1.0


class LogBeside(logging.Handler):
    """Args:
    out: where the lines go.
    capacity: how many may wait.
    """

    def __init__(self, out: IO[str], *, capacity: int = CAPACITY) -> None:
        super().__init__()
        self._out = out
        self._lines: queue.Queue[str] = queue.Queue(capacity)
        self._lost = 0
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            if self._lost:
                self._lines.put_nowait(f"{self._lost} lines of the log were lost here: nobody took them")
                self._lost = 0
            self._lines.put_nowait(line)
        except queue.Full:
            self._lost += 1
        except Exception:  # as logging does it: a message that cannot be formatted breaks nothing
            self.handleError(record)

    def flush(self) -> None:
        """Wait until all is written; at most for a moment."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, FLUSH_S)

    def _run(self) -> None:
        while True:
            line = self._lines.get()
            with contextlib.suppress(OSError, ValueError):  # a full disk, a reader that has gone
                self._out.write(f"{line}\n")
                self._out.flush()
            self._lines.task_done()


def log_beside(logger: logging.Logger | None = None) -> None:
    """Have the handlers of a logger, by default of all, write to their streams on threads of their own."""
    logger = logger or logging.getLogger()
    for handler in list(logger.handlers):
        if type(handler) is logging.StreamHandler:
            stream: Any = handler
            beside = LogBeside(stream.stream)
            beside.setFormatter(handler.formatter)
            beside.setLevel(handler.level)
            logger.removeHandler(handler)
            logger.addHandler(beside)
