"""How fast a core is: measured at start as the engine will use it. In: a core, a portrait. Out: its speeds."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence

from avatar.musetalk.avatars import AvatarFrame
from avatar.musetalk.demo import synthetic_speech
from avatar.musetalk.jobs import Job, PictureCore, Stream
from avatar.musetalk.scheduler import Speeds

ROUNDS = 5
ALONE_ROUNDS = 3
SIZE_LIMIT_S = 10.0
"""A size is not measured longer; on a GPU a round takes milliseconds."""
ENCODED = 4
HOST_S = 0.004
"""From a thread to an event loop that has other things to do."""


def calibrate(
    core: PictureCore, frames: Sequence[AvatarFrame], clock: Callable[[], float] = time.perf_counter
) -> Speeds:
    """Run batches of each size with the next always waiting, and the speech encoder.

    Args:
        frames: of the identity most used; its first frame is rendered.
    """
    avatar = core.avatar(frames[:1])
    speech = synthetic_speech(0.6)
    streams = [core.listen() for _ in range(ENCODED)]
    for stream in streams:
        stream.push(speech)
    features = core.features(streams[:1])[0][1][0]
    job = Job(features, avatar, 0)
    core.submit([job]).pictures()
    batch_s = {}
    for size in core.batch_sizes:
        batch_s[size] = _interval_s(core, [job] * size, clock)
    encode_s = max(0.0, _alone_s(core, job, clock, streams) - _alone_s(core, job, clock, ())) / ENCODED
    waiting = core.submit([job] * max(batch_s))
    deadline = clock() + max(batch_s.values()) * 2
    while not waiting.done() and clock() < deadline:
        time.sleep(0.001)
    began = clock()
    waiting.pictures()
    return Speeds(batch_s, encode_s, clock() - began + HOST_S)


def _alone_s(core: PictureCore, job: Job, clock: Callable[[], float], streams: Sequence[Stream]) -> float:
    """Median time of one picture with nothing else going on, after a block of each of these streams."""
    times = []
    for _ in range(ALONE_ROUNDS):
        began = clock()
        if streams:
            core.features(streams)
        core.submit([job]).pictures()
        times.append(clock() - began)
    return statistics.median(times)


def _interval_s(core: PictureCore, jobs: list[Job], clock: Callable[[], float]) -> float:
    """Median time from one batch's pictures to the next's."""
    began = clock()
    waiting = core.submit(jobs)
    times = [clock()]
    for _ in range(ROUNDS):
        following = core.submit(jobs)
        waiting.pictures()
        times.append(clock())
        waiting = following
        if clock() - began > SIZE_LIMIT_S:
            break
    waiting.pictures()
    times.append(clock())
    intervals = [later - earlier for earlier, later in itertools.pairwise(times[1:])]
    return max(1e-6, statistics.median(intervals))
