"""A log that nobody takes holds nobody up."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from agent.stream_log import LogBeside, log_beside

pytestmark = pytest.mark.unit


class Terminal(io.StringIO):
    """Takes nothing while it is stopped.

    Args:
        refuses: raised at every write, once it goes on.
    """

    def __init__(self, refuses: Callable[[], OSError] | None = None) -> None:
        super().__init__()
        self.going_on = threading.Event()
        self._refuses = refuses

    def write(self, text: str) -> int:
        assert self.going_on.wait(20)
        if self._refuses is not None:
            raise self._refuses()
        return super().write(text)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.Logger("of the test")
    yield made
    for handler in made.handlers:
        handler.close()


def test_what_stalls_holds_nobody_up_and_what_was_lost_is_counted(logger: logging.Logger) -> None:
    terminal = Terminal()
    logger.addHandler(LogBeside(terminal, capacity=3))
    for number in range(10):
        logger.info("line %d", number)
    terminal.going_on.set()
    logger.handlers[0].flush()
    logger.info("line %s", "after it")
    logger.handlers[0].flush()
    lines = terminal.getvalue().splitlines()
    kept = [line for line in lines if line.startswith("line ")]
    # One may have been taken by the thread before it stalled; three wait.
    assert kept[:3] == ["line 0", "line 1", "line 2"]
    assert kept[-1] == "line after it"
    (told,) = [line for line in lines if "were lost" in line]
    assert int(told.split()[0]) + len(kept) - 1 == 10


def test_a_disk_that_is_full_loses_lines_and_nothing_else(logger: logging.Logger) -> None:
    disk = Terminal(lambda: OSError(28, "No space left on device"))
    disk.going_on.set()
    logger.addHandler(LogBeside(disk))
    for _ in range(3):
        logger.info("lost")
        logger.handlers[0].flush()
    assert disk.getvalue() == ""


def test_handlers_of_streams_are_replaced_with_their_format(logger: logging.Logger) -> None:
    terminal = Terminal()
    terminal.going_on.set()
    handler = logging.StreamHandler(terminal)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger.addHandler(handler)
    log_beside(logger)
    logger.warning("one %s", "thing")
    logger.info("broken %d", "text")
    logger.handlers[0].flush()
    assert terminal.getvalue() == "WARNING: one thing\n"
