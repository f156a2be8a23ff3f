"""Servers that several folders of tests need, started once when the first test asks for one."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.livekit.server import LiveKitServer, livekit_server

BESIDE = {"unit", "musetalk"}
"""Folders of tests that ask nothing of the clock: they may run beside others, at a lower priority."""
_HERE = Path(__file__).parent
_NICE = 10


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run what takes the better part of a minute each")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        # With several processes (`scripts/test`): all that stream in real time take turns in one of them.
        item.add_marker(pytest.mark.xdist_group(str(item.path) if _beside(item) else "in turn"))
    if config.getoption("--slow"):
        return
    for item in items:
        if item.get_closest_marker("slow") is not None:
            item.add_marker(pytest.mark.skip(reason="takes the better part of a minute: make test ARGS=--slow"))


def _beside(item: pytest.Item) -> bool:
    return item.path.relative_to(_HERE).parts[0] in BESIDE and item.get_closest_marker("timed") is None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ and _beside(item) and os.nice(0) < _NICE:
        os.nice(_NICE)


def pytest_collection_finish() -> None:
    """All modules are imported now, torch too: they are taken out of the garbage collector's sight, as servers do.

    Each walk through them would hold everything up for longer than a tick, which tests that stream in real time see.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def livekit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveKitServer]:
    """A LiveKit server that is shared: use rooms with names of your own."""
    with livekit_server(tmp_path_factory.mktemp("livekit")) as server:
        yield server
