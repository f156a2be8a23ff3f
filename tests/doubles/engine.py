"""A core for MuseTalk's engine that needs no GPU: stated batch times, pictures made of what was heard, faults on call.

A picture's mouth is a function of all that its segment had said up to its lookahead, of the frame and of nothing else.
It differs from the prepared frame about as much as a mouth that opens.
"""

from __future__ import annotations

import functools
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from avatar.frames import Pcm, Planes
from avatar.musetalk.admission import Vram
from avatar.musetalk.avatars import AvatarFrame, place, planes_of
from avatar.musetalk.config import TINY
from avatar.musetalk.demo import synthetic_frames
from avatar.musetalk.engine import Engine
from avatar.musetalk.guests import Identity
from avatar.musetalk.jobs import CoreError, Job
from avatar.musetalk.renderer import MuseTalkRenderer, Person
from avatar.musetalk.windows import Block, block

QUICK = {1: 0.001, 2: 0.001, 4: 0.0015, 8: 0.002}

Features = npt.NDArray[np.int64]


class StreamDouble:
    """Blocks of one picture; its features are a number made of everything heard until its lookahead."""

    def __init__(self) -> None:
        self._next = 0
        self._heard = np.zeros(0, np.int16)

    @property
    def next_block(self) -> Block:
        return block(self._next, largest=1)

    @property
    def ready(self) -> bool:
        return len(self._heard) >= self.next_block.audio_stop

    def push(self, pcm: Pcm) -> None:
        self._heard = np.concatenate([self._heard, pcm])

    def skip(self) -> None:
        self._next += 1

    def take(self) -> tuple[Block, Features]:
        if not self.ready:
            raise CoreError(f"block {self._next} is not ready")
        taken = self.next_block
        self._next += 1
        return taken, np.array([[zlib.crc32(self._heard[: taken.audio_stop].tobytes())]])


@dataclass(eq=False)
class BatchDouble:
    core: CoreDouble
    jobs: list[Job]
    done_at: float
    read: bool = False

    def done(self) -> bool:
        return time.monotonic() >= self.done_at

    def pictures(self) -> list[Planes | None]:
        time.sleep(max(0.0, self.done_at - time.monotonic()))
        self.read = True
        self.core.reading(self.jobs)
        self.core.unread.remove(self)
        return [self.core.picture(job) for job in self.jobs]


def mouth_of(job: Job) -> Planes:
    """The prepared frame with its patch made lighter or darker in places, as the features say."""
    frame: AvatarFrame = job.avatar[job.frame]  # type: ignore[index]
    chance = np.random.default_rng(int(job.features[0]))
    parts = []
    for plane in planes_of(frame.body, frame.patch):
        waves = 8 * np.sin(np.arange(plane.shape[1]) / 9 + chance.uniform(0, 6))
        parts.append(np.clip(plane + waves[None, :] + chance.uniform(-4, 4), 0, 255).astype(np.uint8).ravel())
    return place(frame.body, frame.patch, np.concatenate(parts))


@dataclass(eq=False)
class CoreDouble:
    """Every fault is a callable that a test replaces, or a list it fills.

    Args:
        batch_s: what a batch of each size takes; batches follow each other.
        on_submit: called with the jobs of each batch; may raise.
        on_read: called with the jobs of each batch when it is read; may raise, or hang.
        on_features: called with the streams; may raise.
        spoil: what becomes of a picture that is made; None: it was not finite.
    """

    batch_s: Mapping[int, float] = field(default_factory=lambda: dict(QUICK))
    on_submit: Callable[[Sequence[Job]], None] = lambda jobs: None
    on_read: Callable[[Sequence[Job]], None] = lambda jobs: None
    on_features: Callable[[Sequence[Any]], None] = lambda streams: None
    on_avatar: Callable[[Sequence[AvatarFrame]], None] = lambda frames: None
    spoil: Callable[[Job, Planes], Planes | None] = lambda job, picture: picture
    memory: Vram | None = None
    submitted: list[list[Job]] = field(default_factory=list)
    encoded: list[int] = field(default_factory=list)
    """How many blocks each call of `features` had."""
    unread: list[BatchDouble] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    _free_at: float = 0.0

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        return tuple(self.batch_s)

    def avatar(self, frames: Sequence[AvatarFrame]) -> Any:
        time.sleep(max(0.0, self._free_at - time.monotonic()))  # it comes after what the device has
        self.on_avatar(frames)
        return list(frames)

    def listen(self) -> StreamDouble:
        return StreamDouble()

    def features(self, streams: Sequence[Any]) -> list[tuple[Block, Any]]:
        self.on_features(streams)
        self.encoded.append(len(streams))
        return [stream.take() for stream in streams]

    def submit(self, jobs: Sequence[Job]) -> BatchDouble:
        self.threads.add(threading.current_thread().name)
        if not 1 <= len(jobs) <= max(self.batch_s):
            raise CoreError(f"{len(jobs)} jobs")
        if len(self.unread) >= 3:
            raise CoreError("3 batches are waiting to be read")
        self.on_submit(jobs)
        self.submitted.append(list(jobs))
        took_s = next(time_s for size, time_s in self.batch_s.items() if size >= len(jobs))
        self._free_at = max(time.monotonic(), self._free_at) + took_s
        batch = BatchDouble(self, list(jobs), self._free_at)
        self.unread.append(batch)
        return batch

    def vram(self) -> Vram | None:
        return self.memory

    def reading(self, jobs: Sequence[Job]) -> None:
        try:
            self.on_read(jobs)
        except Exception:
            self.unread.clear()  # as the real one gives the buffer back
            raise

    def picture(self, job: Job) -> Planes | None:
        return self.spoil(job, mouth_of(job))


@functools.lru_cache(maxsize=4)
def person(seed: int = 1, count: int = 6, side: int = 96) -> Person:
    return Person(synthetic_frames(TINY, count, side, side, seed=seed))


def engine_over(core: CoreDouble, **options: Any) -> Engine:
    """An engine on this core, ready."""
    engine = Engine(lambda: core, Identity(person().identity.frames), **options)
    engine.start()
    assert engine.wait_ready(20.0).state == "ready"
    return engine


class MuseTalkAlone(MuseTalkRenderer):
    """A renderer with an engine of its own, which it closes."""

    def __init__(self, engine: Engine, *, patient: bool = False) -> None:
        super().__init__(engine, person(), patient=patient)
        self._own = engine

    async def aclose(self) -> None:
        await super().aclose()
        self._own.close()


def musetalk_renderer() -> MuseTalkAlone:
    return MuseTalkAlone(engine_over(CoreDouble()))
