"""Servers that several folders of tests need, started once when the first test asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.livekit.server import LiveKitServer, livekit_server


@pytest.fixture(scope="session")
def livekit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveKitServer]:
    """A LiveKit server that is shared: use rooms with names of your own."""
    with livekit_server(tmp_path_factory.mktemp("livekit")) as server:
        yield server
