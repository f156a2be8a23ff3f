"""A broker for the session, and programs that are quick to speak."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.amqp.broker import Broker


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """Shared: each test has queues of its own."""
    with Broker() as running:
        yield running
