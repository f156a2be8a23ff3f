"""How far a long piece of work is: a bar on a terminal; elsewhere a line for each tenth."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO


class Bar:
    """One piece of work of known length.

    Args:
        what: the line's beginning.
        total: its length, in any unit.
        shown: how an amount is written, for instance ``"3.1 GB"``.
    """

    WIDTH = 30
    EVERY_S = 0.1

    def __init__(self, what: str, total: int, stream: TextIO, shown: Callable[[int], str] = str) -> None:
        self._what, self._total, self._stream, self._amount = what, max(1, total), stream, shown
        self._live = stream.isatty()
        self._shown_s = 0.0
        self._tenths = 0

    def show(self, done: int) -> None:
        """``done`` of the whole is done; cheap enough to be called for every piece."""
        share = min(1.0, done / self._total)
        if not self._live:
            if int(share * 10) > self._tenths:
                self._tenths = int(share * 10)
                self._stream.write(f"{self._what}: {self._tenths * 10}%\n")
                self._stream.flush()
            return
        now = time.monotonic()
        if now - self._shown_s < self.EVERY_S and done < self._total:
            return
        self._shown_s = now
        filled = round(share * self.WIDTH)
        bar = f"[{'#' * filled}{'.' * (self.WIDTH - filled)}] {share:4.0%}"
        self._stream.write(f"\r{self._what} {bar}  {self._amount(done)} of {self._amount(self._total)}\x1b[K")
        self._stream.flush()

    def close(self) -> None:
        """Leave the terminal's line to what comes next."""
        if self._live and self._shown_s:
            self._stream.write("\n")
            self._stream.flush()


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error for ``total`` pictures: what is given is called with how many are done."""
    shown = Bar(f"  {what}", total, sys.stderr)
    try:
        yield shown.show
    finally:
        shown.close()
