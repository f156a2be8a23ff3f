"""`mien stream` says every line of its standard input: a text, or a message of the inbox as JSON (docs/queue.md).

Lines in; raw messages out.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

LONGEST_LINE = 12 * 2**20
"""A message may hold a recording."""


def speak_lines(said: Callable[[str], None], stream: int) -> bool:
    """Call ``said`` on a thread of its own with each line of the file descriptor that is not empty.

    The thread is a daemon: a read from a pipe cannot be ended from here.

    Returns:
        False when it is a terminal, where nobody would expect that.
    """
    if os.isatty(stream):
        return False

    def read() -> None:
        with os.fdopen(os.dup(stream), encoding="utf-8", errors="replace") as lines:
            while line := lines.readline(LONGEST_LINE):
                if any(letter.isalnum() for letter in line):
                    said(line.strip())

    threading.Thread(target=read, name="lines", daemon=True).start()
    return True
