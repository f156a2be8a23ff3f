"""The sink of a live stream: composes, encodes once, and hands the packets to every target, recording and viewer.

In: frames from the playout. Out: packets to its outlets, each of which has a thread and a bounded queue of its own: a
slow or dead one harms nobody. Composing and encoding happen on the sink's own thread. When that falls behind, pictures
are left out first (the last one stays) and sound last (silence takes its place, so that everything keeps its time).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import av
import av.error

from avatar.frames import TICK_MS, Frame, Pcm, Picture, SinkClosed
from rooms.canvas import Canvas
from rooms.held import DELAY_MS, HeldFrames, Tick
from rooms.rtmp_address import Address
from rooms.rtmp_encoder import Choice, Encoder, Packet
from rooms.rtmp_target import RtmpTarget, TargetStatus

log = logging.getLogger(__name__)

MAX_PICTURES = 12
"""Pictures waiting to be composed: half a second; at 720² 9 MB."""
MAX_TICKS = 250
"""Ticks of sound waiting: ten seconds, 1 MB."""
FORCED_APART_TICKS = 10
"""A target that comes and goes may not turn everybody's stream into keyframes."""
CLOSE_TIMEOUT_S = 8.0
RESTARTS = 5
"""How often in a row an encoder that fails is replaced before the sink gives up."""


class Outlet(Protocol):
    """Takes packets; from the encoder's thread, and returns at once."""

    def offer(self, packet: Packet) -> None: ...

    def close(self) -> None:
        """Send what is queued and end; bounded. Blocks."""


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """For health and metrics; it holds no key."""

    encoder: str | None
    targets: tuple[TargetStatus, ...]
    ticks: int
    pictures_dropped: int
    ticks_dropped: int
    encoder_restarts: int
    compose_ms: float
    """Mean of the last second or so."""
    encode_ms: float


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Args:
    fps: 25 or 30.
    maker: named in the stream's metadata.
    """

    targets: tuple[Address, ...]
    fps: int = 25
    video_bit_rate: int = 2_500_000
    encoder: Choice = "auto"
    maker: str = "Mien"


class _Waiting(NamedTuple):
    tick: int
    picture: Picture | None
    sound: Pcm


class StreamSink:
    """One stream with all its targets. It is made and called on one event loop; ``add`` and ``remove`` from any thread.

    Args:
        canvas: used by the sink's thread from now on, and closed with it.
        width, height: px, of the canvas.
    """

    def __init__(
        self, canvas: Canvas, width: int, height: int, settings: StreamSettings, *, outlets: Sequence[Outlet] = ()
    ) -> None:
        self._canvas = canvas
        self._size = (width, height)
        self._settings = settings
        self._held = HeldFrames()
        self._changed = threading.Condition()
        self._queue: deque[_Waiting] = deque()
        self._pictures_waiting = 0
        self._closing = False
        self._failure: str | None = None
        self._outlets: list[Outlet] = list(outlets)
        self._targets: list[RtmpTarget] = []
        self._key_wanted = False
        self._ticks = self._pictures_dropped = self._ticks_dropped = self._restarts = 0
        self._compose_ms = self._encode_ms = 0.0
        self._encoder_name: str | None = None
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        return "stream"

    @property
    def delay_ms(self) -> int:
        return DELAY_MS

    def put(self, frame: Frame) -> None:
        with self._changed:
            self._raise_if_closed()
        if (held := self._held.push(frame)) is not None:
            self._commit(held)

    def clear(self, generation: int) -> int:
        return self._held.clear(generation)

    def unsent(self) -> int:
        return self._held.unsent()

    def add(self, outlet: Outlet) -> None:
        """Feed this one too, from the next packet on."""
        with self._changed:
            self._outlets.append(outlet)

    def remove(self, outlet: Outlet) -> None:
        with self._changed:
            if outlet in self._outlets:
                self._outlets.remove(outlet)

    def want_keyframe(self) -> None:
        """Somebody new would like to begin soon."""
        with self._changed:
            self._key_wanted = True

    def status(self) -> StreamStatus:
        with self._changed:
            return StreamStatus(
                self._encoder_name,
                tuple(target.status() for target in self._targets),
                self._ticks,
                self._pictures_dropped,
                self._ticks_dropped,
                self._restarts,
                self._compose_ms,
                self._encode_ms,
            )

    async def aclose(self) -> None:
        """Encode and send what is left, then say goodbye to every target; bounded."""
        with self._changed:
            first_call = not self._closing
        if first_call and (held := self._held.flush()) is not None:
            self._commit(held)
        with self._changed:
            self._closing = True
            self._changed.notify()
        _, late = await asyncio.wait({self._done}, timeout=CLOSE_TIMEOUT_S)
        if late:
            log.warning("the stream did not close within %g s", CLOSE_TIMEOUT_S)

    def _raise_if_closed(self) -> None:
        if self._failure is not None:
            raise SinkClosed(self._failure)
        if self._closing:
            raise SinkClosed("the stream is closed")

    def _commit(self, held: Tick) -> None:
        picture: Picture | None = held.picture
        with self._changed:
            if len(self._queue) >= MAX_TICKS:
                self._ticks_dropped += 1
                return
            if self._pictures_waiting >= MAX_PICTURES:
                self._pictures_dropped += 1
                picture = None
            else:
                self._pictures_waiting += 1
            self._queue.append(_Waiting(held.tick, picture, held.sound))
            self._changed.notify()

    # -- the thread

    def _run(self) -> None:
        try:
            self._stream()
        except Exception as error:  # a thread has no caller: the playout is told by ``put``
            log.exception("the stream failed")
            with self._changed:
                self._failure = f"the stream failed: {error!r}"
                self._queue.clear()
        closing = [threading.Thread(target=outlet.close, daemon=True) for outlet in self._outlets]
        for each in closing:
            each.start()
        for each in closing:
            each.join()
        self._canvas.close()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is waiting any more
            self._loop.call_soon_threadsafe(lambda: None if self._done.done() else self._done.set_result(None))

    def _stream(self) -> None:
        """Encode until closed; an encoder that fails is replaced."""
        choice, failures, encoder = self._settings.encoder, 0, self._make(self._settings.encoder)
        form = encoder.format
        for address in self._settings.targets:
            target = RtmpTarget(address, form, self._settings.maker, self.want_keyframe)
            with self._changed:
                self._targets.append(target)
                self._outlets.append(target)
        forced_at = 0
        while (taken := self._take()) is not None:
            with self._changed:
                outlets = list(self._outlets)
                wanted = self._key_wanted and taken.picture is not None
                wanted = wanted and taken.tick - forced_at >= FORCED_APART_TICKS
                if wanted:
                    self._key_wanted = False
            if wanted:
                forced_at = taken.tick
                encoder.force_keyframe()
            try:
                packets = self._encoded(encoder, taken)
                failures = 0
            except av.error.FFmpegError as error:
                failures += 1
                if failures > RESTARTS:
                    raise
                log.error("the encoder %s failed and is replaced: %s", encoder.name, error)
                choice = "x264" if encoder.name == "nvenc" else choice
                encoder = self._make(choice)
                with self._changed:
                    self._restarts += 1
                continue
            _hand_out(packets, outlets)
        with contextlib.suppress(av.error.FFmpegError):  # it ends anyway; what is whole has been sent
            _hand_out(encoder.flush(), self._outlets)

    def _make(self, choice: Choice) -> Encoder:
        encoder = Encoder(*self._size, self._settings.fps, self._settings.video_bit_rate, choice)
        with self._changed:
            self._encoder_name = encoder.name
        return encoder

    def _encoded(self, encoder: Encoder, taken: _Waiting) -> list[Packet]:
        began = time.perf_counter()
        if taken.picture is not None:
            picture: av.VideoFrame | None = self._canvas.compose(taken.picture, taken.tick * TICK_MS)
        else:
            picture = self._canvas.again()  # costs next to nothing to encode, and keeps the steps even
        composed = time.perf_counter()
        packets = encoder.encode(taken.tick, picture, taken.sound)
        ended = time.perf_counter()
        with self._changed:
            self._ticks += 1
            self._compose_ms += 0.04 * ((composed - began) * 1000 - self._compose_ms)
            self._encode_ms += 0.04 * ((ended - composed) * 1000 - self._encode_ms)
        return packets

    def _take(self) -> _Waiting | None:
        """The next tick; None when the stream is being closed and all is encoded."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            if not self._queue:
                return None
            taken = self._queue.popleft()
            if taken.picture is not None:
                self._pictures_waiting -= 1
            return taken


def _hand_out(packets: Sequence[Packet], outlets: Sequence[Outlet]) -> None:
    for packet in packets:
        for outlet in outlets:
            outlet.offer(packet)
