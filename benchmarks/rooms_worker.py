"""`mien agent` that collects Python's cycles when asked, and tells how many of asyncio's tasks are left.

In: the settings of the environment; ``collect`` on stdin. Out: the line that says it is ready, and for each question a
JSON line with how many tasks are not done, those of every thread's loop together.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading

from agent.settings import load_settings
from agent.worker import run
from benchmarks.child import emit


def _answer() -> None:
    for line in sys.stdin:
        if line.strip() == "collect":
            gc.collect()
            emit("collected", tasks=sum(isinstance(one, asyncio.Task) and not one.done() for one in gc.get_objects()))


if __name__ == "__main__":
    threading.Thread(target=_answer, name="collects", daemon=True).start()
    run(load_settings(os.environ), dev=True)
