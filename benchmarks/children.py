"""A benchmark ends whole: on Ctrl-C or SIGTERM in order, and however it ends without a child left behind.

In: a benchmark's main coroutine, and the children that it starts. Out: its exit status. What would be left, a talking
server or a browser, uses a core of the machine and spoils whatever is measured next.

A browser is not tied here: its driver ends with the pipe that leads to us, and the browser with its driver.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

END_S = 15.0
"""In order, but no longer; what has not ended by then is killed."""


def run(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run a benchmark; returns its status, or 128 and the signal that ended it. A second signal ends it at once."""
    return asyncio.run(_ended_by_signals(main))


async def _ended_by_signals(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    caught: list[signal.Signals] = []
    task = asyncio.ensure_future(main())

    def stop(name: signal.Signals) -> None:
        if caught:
            os._exit(128 + name)
        caught.append(name)
        print(f"{name.name}: ending", file=sys.stderr, flush=True)
        deadline = threading.Timer(END_S, os._exit, (128 + name,))
        deadline.daemon = True
        deadline.start()
        task.cancel()

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(name, stop, name)
    try:
        return await task
    except asyncio.CancelledError:
        if not caught:
            raise
        return 128 + caught[0]


def tied(*command: str) -> list[str]:
    """The command line with which the kernel kills the child when the thread that starts it ends, whatever ends it.

    A ``preexec_fn`` could ask for the same, but Python then copies the whole process to start a child, and holds
    everything up meanwhile: a test that streams in real time would see it. Without util-linux's ``setpriv`` the
    command is left as it is.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *command] if setpriv else list(command)
