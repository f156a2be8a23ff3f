"""A thread that asked for short time slices has them, and nobody else."""

from __future__ import annotations

import platform
import sys
import threading
from pathlib import Path

import pytest

from avatar.timeslice import SLICE_S, short_slices

pytestmark = pytest.mark.unit


def slice_s() -> float | None:
    """Of the calling thread, as the kernel tells it."""
    told = Path("/proc/thread-self/sched")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((int(line.split()[-1]) / 1e9 for line in lines if line.startswith("se.slice")), None)


def test_only_the_thread_that_asked_has_short_slices() -> None:
    if slice_s() is None or tuple(map(int, platform.release().split("-")[0].split(".")[:2])) < (6, 12):
        pytest.skip("this system knows no slices of a thread's own, or does not tell them")
    seen: list[float | None] = []

    def asks() -> None:
        seen.append(slice_s())
        seen.append(short_slices())
        seen.append(slice_s())
        started = threading.Thread(target=lambda: seen.append(slice_s()))
        started.start()
        started.join()

    for _ in range(2):  # the second time from the same thread: nobody else's slices became short by the first
        asking = threading.Thread(target=asks)
        asking.start()
        asking.join()
    usual = seen[0]
    assert usual != SLICE_S
    assert seen == 2 * [usual, True, SLICE_S, usual]


def test_where_the_system_is_another_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not short_slices()
