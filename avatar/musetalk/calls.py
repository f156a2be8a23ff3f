"""When the call into the core began that is going on now: written by the GPU's thread, watched by the engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Calls:
    """Used around every call into the core: ``with calls(): …``"""

    def __init__(self) -> None:
        self.began: float | None = None
        """Of `time.monotonic`; None: the thread is not in the core."""

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self.began = time.monotonic()
        try:
            yield
        finally:
            self.began = None
