"""A worker and a token endpoint that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.livekit.server import LiveKitServer
from tests.livekit.worker import Worker, working


@pytest.fixture(scope="session")
def worker(livekit: LiveKitServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with working(livekit, tmp_path_factory.mktemp("worker"), "mien") as running:
        yield running
