"""Servers that several folders of tests need, started once when the first test asks for one."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.livekit.server import LiveKitServer, livekit_server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run what takes the better part of a minute each")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
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
