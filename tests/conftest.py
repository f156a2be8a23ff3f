"""Servers that several folders of tests need, started once when the first test asks for one."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.livekit.server import LiveKitServer, livekit_server

BESIDE = ("tests/unit/", "tests/musetalk/")
"""Tests that ask nothing of the clock: with several processes (`scripts/test`) they run side by side, and first."""
TIMED = ("tests/unit/test_cli.py",)
"""Among those, but what these assert depends on how soon something happens."""


class _InTurn(LoadScopeScheduling):  # type: ignore[misc]  # xdist's class is untyped
    """All that stream in real time take turns in one process; of the others, a file at a time goes to any."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0] if _beside(nodeid) else "in turn"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    config.option.loadscopereorder = False  # the many that take turns come last, when nothing else runs any more
    return _InTurn(config, log)


def _beside(nodeid: str) -> bool:
    return nodeid.startswith(BESIDE) and not nodeid.startswith(TIMED)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run what takes the better part of a minute each")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not _beside(item.nodeid))
    if config.getoption("--slow"):
        return
    for item in items:
        if item.get_closest_marker("slow") is not None:
            item.add_marker(pytest.mark.skip(reason="takes the better part of a minute: make test ARGS=--slow"))


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
