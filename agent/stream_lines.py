"""`mien stream` says every line of its standard input. Lines in; messages for the inbox out."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

LONGEST_LINE = 16_384


def speak_lines(said: Callable[[str], None], stream: int | None = None) -> bool:
    """Call ``said`` on a thread of its own with each line that is not empty, until there are no more.

    The thread is a daemon: a read from a pipe cannot be ended from here.

    Returns:
        False when nobody sends lines: standard input is a terminal, or there is none.
    """
    number = sys.stdin.fileno() if stream is None and sys.stdin is not None else stream
    if number is None or os.isatty(number):
        return False

    def read() -> None:
        with os.fdopen(os.dup(number), encoding="utf-8", errors="replace") as lines:
            while line := lines.readline(LONGEST_LINE):
                if any(letter.isalnum() for letter in line):
                    said(line.strip())

    threading.Thread(target=read, name="lines", daemon=True).start()
    return True
