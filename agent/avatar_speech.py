"""Speech that another agent sends into the room, as livekit-agents' avatars get it.

In: byte streams on the topic `lk.audio_stream` from one participant, one a segment, and its calls `lk.clear_buffer`,
`mien.pause` and `mien.resume`. Out: the samples in the playout at 48 kHz; and back, as calls `lk.playback_started` and,
exactly once for each stream whatever happens, `lk.playback_finished` with how much of it was really sent.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from dataclasses import dataclass

import numpy as np
from livekit import rtc

from avatar.frames import SAMPLE_RATE_HZ, MienError, Pcm
from avatar.playout import Finished, Playout, Started
from rooms.livekit_calls import Answer

logger = logging.getLogger(__name__)

TOPIC = "lk.audio_stream"
CLEAR = "lk.clear_buffer"
STARTED = "lk.playback_started"
FINISHED = "lk.playback_finished"
PAUSE = "mien.pause"
RESUME = "mien.resume"
ALIVE = "mien.alive"
"""Calls of livekit-plugins-mien; livekit-agents' avatars know no pause, and are not asked whether they live."""
AHEAD_S = 6.0
"""How much of what came is handed to the playout before it is due."""
IDLE_S = 10.0
"""A stream that brings nothing for this long has lost its end."""
SUPERSEDED_S = 1.0
"""The same where the next one has begun already: its sender never has two open."""
RATES_HZ = range(8_000, 192_001)
CHANNELS = (1, 2)
_TRIES = 3
_AGAIN_S = 0.1


class StreamRefused(MienError):
    """A stream says no format of sound that can be played, or brings none: which, or for how long."""


@dataclass(eq=False, slots=True)
class _Utterance:
    """One stream."""

    reader: rtc.ByteStreamReader
    segment: int | None = None
    """Its number in the playout, once that has some of it."""


class RemoteSpeech:
    """A playout's `Listener`. Make it, then the playout, then `begin` in a room that was joined.

    Args:
        speaker: the identity of the agent; nobody else is listened to.
    """

    def __init__(self, room: rtc.Room, speaker: str) -> None:
        self._room = room
        self._speaker = speaker
        self._playout: Playout | None = None
        self._waiting: deque[_Utterance] = deque()
        """Those of which the playout has nothing yet or not all; the first is being read."""
        self._open: dict[int, _Utterance] = {}
        """By their segment: those of which the playout has not told the end."""
        self._came = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._calls: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, playout: Playout) -> None:
        self._playout = playout
        self._room.register_byte_stream_handler(TOPIC, self._stream)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._read_all()), loop.create_task(self._call_all())]

    @property
    def methods(self) -> dict[str, Answer]:
        """What the agent calls it for; nobody must before `begin`."""
        return {CLEAR: self._clear, PAUSE: self._pause, RESUME: self._resume, ALIVE: lambda call: "ok"}

    async def aclose(self) -> None:
        """Nothing is read or told any more."""
        if not self._tasks:
            return
        self._room.unregister_byte_stream_handler(TOPIC)
        tasks, self._tasks = self._tasks, []
        if self._reading is not None:
            tasks.append(self._reading)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for utterance in self._waiting:
            utterance.reader.close()
        self._waiting.clear()

    # -- the playout's listener

    def on_started(self, event: Started) -> None:
        if event.segment in self._open:
            self._calls.put_nowait((STARTED, ""))

    def on_finished(self, event: Finished) -> None:
        if self._open.pop(event.segment, None) is not None:
            self._finished(event.position_s, interrupted=event.interrupted)

    def _finished(self, position_s: float, *, interrupted: bool) -> None:
        payload = {"playback_position": round(position_s, 6), "interrupted": interrupted}
        self._calls.put_nowait((FINISHED, json.dumps(payload)))

    # -- what the agent asks for

    def _clear(self, call: rtc.RpcInvocationData) -> str:
        """Streams and calls come in order: what is known now was sent before, and is over."""
        self._check(call)
        stale = list(self._waiting)
        self._waiting.clear()
        if self._reading is not None:
            self._reading.cancel()
        self.playout.clear()
        for utterance in stale:
            utterance.reader.close()
            if utterance.segment is None:
                self._finished(0.0, interrupted=True)
        return "ok"

    def _pause(self, call: rtc.RpcInvocationData) -> str:
        self._check(call)
        self.playout.pause()
        return "ok"

    def _resume(self, call: rtc.RpcInvocationData) -> str:
        self._check(call)
        self.playout.resume()
        return "ok"

    def _check(self, call: rtc.RpcInvocationData) -> None:
        if call.caller_identity != self._speaker:
            logger.warning("%s is not the agent and called us; it is refused", call.caller_identity)
            raise rtc.RpcError(
                rtc.RpcError.ErrorCode.APPLICATION_ERROR, "only the agent that this avatar stands in for"
            )

    @property
    def playout(self) -> Playout:
        assert self._playout is not None, "begin() comes first"
        return self._playout

    # -- its speech

    def _stream(self, reader: rtc.ByteStreamReader, identity: str) -> None:
        if identity != self._speaker:
            logger.warning("%s is not the agent and sent speech; it is ignored", identity)
            reader.close()
            return
        self._waiting.append(_Utterance(reader))
        self._came.set()

    async def _read_all(self) -> None:
        while True:
            while not self._waiting:
                self._came.clear()
                await self._came.wait()
            utterance = self._waiting[0]
            self._reading = asyncio.create_task(self._read(utterance))
            await asyncio.wait([self._reading])
            error = None if self._reading.cancelled() else self._reading.exception()
            if error is not None:
                logger.warning("speech of %s broke off: %s", self._speaker, error)
            if self._waiting and self._waiting[0] is utterance:  # else it was cleared, and all is told
                self._waiting.popleft()
                utterance.reader.close()
                if utterance.segment is None:
                    self._finished(0.0, interrupted=error is not None)
                else:
                    self.playout.end()

    async def _read(self, utterance: _Utterance) -> None:
        """Raises:
        StreamRefused: it says no format, or brings nothing.
        rtc.StreamError: it broke off.
        """
        rate_hz, channels = _format(utterance.reader.info.attributes or {})
        resampler = rtc.AudioResampler(rate_hz, SAMPLE_RATE_HZ) if rate_hz != SAMPLE_RATE_HZ else None
        rest = b""
        while (chunk := await self._next(utterance)) is not None:
            rest += chunk
            whole = len(rest) - len(rest) % (2 * channels)
            pcm, rest = _mono(rest[:whole], channels), rest[whole:]
            if resampler is not None and pcm.size:
                pcm = _samples(resampler.push(rtc.AudioFrame(pcm.tobytes(), rate_hz, 1, pcm.size)))
            await self._push(utterance, pcm)
        if resampler is not None:
            await self._push(utterance, _samples(resampler.flush()))

    async def _push(self, utterance: _Utterance, pcm: Pcm) -> None:
        if not pcm.size:
            return
        await self.playout.room(AHEAD_S)
        utterance.segment = self.playout.push(pcm)
        self._open[utterance.segment] = utterance

    async def _next(self, utterance: _Utterance) -> bytes | None:
        """The next bytes, or None at the end, also one that was lost.

        Raises:
            StreamRefused: nothing has come at all.
        """
        patience_s = IDLE_S if len(self._waiting) == 1 else SUPERSEDED_S
        try:
            async with asyncio.timeout(patience_s):
                return await utterance.reader.__anext__()
        except StopAsyncIteration:
            return None
        except TimeoutError:
            if utterance.segment is None:
                raise StreamRefused(f"nothing came for {patience_s:.0f} s") from None
            logger.warning(
                "a stream of %s brought nothing for %.0f s; it counts as complete", self._speaker, patience_s
            )
            return None

    # -- what it is told

    async def _call_all(self) -> None:
        while True:
            method, payload = await self._calls.get()
            for left in reversed(range(_TRIES)):
                try:
                    await self._room.local_participant.perform_rpc(
                        destination_identity=self._speaker, method=method, payload=payload
                    )
                    break
                except rtc.RpcError as error:
                    if error.code == rtc.RpcError.ErrorCode.UNSUPPORTED_METHOD:
                        logger.debug("%s has no use for %s", self._speaker, method)
                        break
                    logger.log(
                        logging.INFO if left else logging.WARNING, "%s did not get %s: %s", self._speaker, method, error
                    )
                    await asyncio.sleep(_AGAIN_S)


def _format(attributes: dict[str, str]) -> tuple[int, int]:
    try:
        rate_hz, channels = int(attributes["sample_rate"]), int(attributes["num_channels"])
    except (KeyError, ValueError):
        raise StreamRefused(f"a stream needs the attributes sample_rate and num_channels, not {attributes}") from None
    if rate_hz not in RATES_HZ or channels not in CHANNELS:
        raise StreamRefused(f"a stream of {rate_hz} Hz and {channels} channels; accepted are 8 to 192 kHz, 1 or 2")
    return rate_hz, channels


def _mono(data: bytes, channels: int) -> Pcm:
    pcm: Pcm = np.frombuffer(data, np.int16)
    if channels > 1:
        pcm = pcm.reshape(-1, channels).mean(axis=1).astype(np.int16)
    return pcm


def _samples(frames: list[rtc.AudioFrame]) -> Pcm:
    return np.concatenate([np.zeros(0, np.int16), *(np.frombuffer(frame.data, np.int16) for frame in frames)])
