"""Timing on a device: events on CUDA, the wall clock elsewhere. Out: milliseconds, medians of several runs."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence

import torch


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def wait(cuda: bool) -> None:
    if cuda:
        torch.cuda.synchronize()


def median_ms(run: Callable[[], object], cuda: bool, repeats: int) -> float:
    """One call's time on the current stream, the median of ``repeats`` after two warm-ups."""
    for _ in range(2):
        run()
    wait(cuda)
    if not cuda:
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            run()
            times.append((time.perf_counter() - start) * 1000)
        return statistics.median(times)
    pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for first, second in pairs:
        first.record()
        run()
        second.record()
    wait(cuda)
    return statistics.median(first.elapsed_time(second) for first, second in pairs)


class StageMarks:
    """Given to `Core.submit` as ``mark``: collects the time between one stage and the next."""

    def __init__(self, cuda: bool) -> None:
        self._cuda = cuda
        self._batches: list[list[tuple[str, object]]] = []

    def __call__(self, stage: str) -> None:
        if stage == "start":
            self._batches.append([])
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._batches[-1].append((stage, event))
        else:
            self._batches[-1].append((stage, time.perf_counter()))

    def medians_ms(self) -> dict[str, float]:
        """Each stage's time, the median over the batches."""
        wait(self._cuda)
        stages: dict[str, list[float]] = {}
        for batch in self._batches:
            for (_, before), (stage, after) in itertools.pairwise(batch):
                stages.setdefault(stage, []).append(_between_ms(before, after))
        return {stage: round(statistics.median(times), 4) for stage, times in stages.items()}


def _between_ms(before: object, after: object) -> float:
    if isinstance(before, torch.cuda.Event) and isinstance(after, torch.cuda.Event):
        return before.elapsed_time(after)
    assert isinstance(before, float)
    assert isinstance(after, float)
    return (after - before) * 1000
