"""How much memory a process holds, and whether that grows: the reading, and the fit.

In: a process, or samples of its memory over hours. Out: MB; a slope in MB/h. What a program loads and fills once (its
libraries, its caches, the allocator's arenas) is no leak, and takes its time: so the first `WARM_UP_S` are left out, a
length that was stated before anything was measured. The control is a child that leaks at a known rate (streamleak.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.measure import NotMeasured, Slope, slope_with_interval

WARM_UP_S = 600.0
BIN_S = 60.0
"""The fit goes through the medians of whole minutes: neighbouring samples are as good as the same one, and an
interval that took them for many would be too narrow."""


def private_mb(pid: int) -> float:
    """What the process alone holds (shared libraries do not count)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    fields = (each.split() for each in rollup.splitlines()[1:])
    kb = sum(int(field[1]) for field in fields if field[0] in ("Private_Clean:", "Private_Dirty:"))
    return kb / 1024


def children(pid: int) -> list[int]:
    """The processes that it has started and that still run."""
    lists = [tasks.read_text() for tasks in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for found in lists for child in found.split()]


def with_children_mb(pid: int) -> float:
    """The process and its children (a stream's voice is one)."""
    return private_mb(pid) + sum(private_mb(child) for child in children(pid))


def growth(samples: Sequence[tuple[float, float]], *, warm_up_s: float, bin_s: float = BIN_S) -> Slope:
    """How fast the memory grows after the warm-up, in MB/h.

    Args:
        samples: (seconds since the start, MB), in order.

    Raises:
        NotMeasured: fewer than ten bins lie behind the warm-up.
    """
    bins: dict[int, list[float]] = {}
    for at_s, mb in samples:
        if at_s >= warm_up_s:
            bins.setdefault(int((at_s - warm_up_s) // bin_s), []).append(mb)
    if len(bins) < 10:
        raise NotMeasured(f"only {len(bins)} times {bin_s:.0f} s of memory lie behind the warm-up of {warm_up_s:.0f} s")
    hours = [(number + 0.5) * bin_s / 3600 for number in bins]
    return slope_with_interval(hours, [float(np.median(each)) for each in bins.values()])
