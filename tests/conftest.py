"""Servers that several folders of tests need, started once when the first test asks for one."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.livekit.server import LiveKitServer, livekit_server

BESIDE = ("tests/unit/", "tests/musetalk/")
"""Tests that ask nothing of the clock: with several processes (`scripts/test`) they run beside the others."""
TIMED = (
    "tests/unit/test_cli.py",
    "tests/unit/test_timeslice.py",
    "tests/musetalk/test_engine.py",
    "tests/musetalk/test_renderer.py",
    "tests/musetalk/test_uploads.py",
)
"""Among those, but what these assert depends on how soon something happens, or on a thread's place in the system."""
IN_TURN = "in turn"
BEHIND = "gw0"
"""The process that runs them gets what processor time the others leave."""


class _InTurn(LoadScopeScheduling):  # type: ignore[misc]  # xdist's class is untyped
    """All that stream in real time take turns in one process; of the others, a file at a time goes to any."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0] if _beside(nodeid) else IN_TURN

    def _assign_work_unit(self, node: WorkerController) -> None:
        if _both(self.collection):
            if node.gateway.id != BEHIND:
                scope = next(iter(self.workqueue)) if IN_TURN not in self.workqueue else IN_TURN
            elif (scope := next((scope for scope in self.workqueue if scope != IN_TURN), None)) is None:
                node.shutdown()
                return
            self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    config.option.loadscopereorder = False
    return _InTurn(config, log)


def _beside(nodeid: str) -> bool:
    return nodeid.startswith(BESIDE) and not nodeid.startswith(TIMED)


def _both(nodeids: Iterable[str]) -> bool:
    """Whether there are tests of both kinds."""
    return len({_beside(nodeid) for nodeid in nodeids}) == 2


def pytest_configure() -> None:
    """Children that are ended by Ctrl-C must hear it, even where the tests run in the background of a shell, which has
    all that it starts there ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run what takes the better part of a minute each")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not _beside(item.nodeid))
    if config.getoption("--slow"):
        return
    for item in items:
        if item.get_closest_marker("slow") is not None:
            item.add_marker(pytest.mark.skip(reason="takes the better part of a minute: make test ARGS=--slow"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """All modules are imported now, torch too: they are taken out of the garbage collector's sight, as servers do.

    Each walk through them would hold everything up for longer than a tick, which tests that stream in real time see.
    """
    gc.collect()
    gc.freeze()
    worker = getattr(session.config, "workerinput", {}).get("workerid")
    if worker == BEHIND and _both(item.nodeid for item in session.items):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


@pytest.fixture(scope="session")
def livekit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveKitServer]:
    """A LiveKit server that is shared: use rooms with names of your own."""
    with livekit_server(tmp_path_factory.mktemp("livekit")) as server:
        yield server
