"""A real nginx-rtmp for each test that asks, on ports of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.rtmpserver import RtmpServer, nginx, rtmp_server


@pytest.fixture(scope="session")
def program() -> str:
    try:
        return nginx()
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture
def server(program: str) -> Iterator[RtmpServer]:
    with rtmp_server() as running:
        yield running


@pytest.fixture
def other_server(program: str) -> Iterator[RtmpServer]:
    with rtmp_server() as running:
        yield running
