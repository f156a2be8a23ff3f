"""Where the agent's speech leaves for the avatar.

In: the session's audio frames. Out: livekit-agents' byte streams to the avatar's participant, and calls for pause and
resume, which its protocol lacks; and back to the session the avatar's own starts and ends. Where the avatar is gone,
every utterance ends all the same: a missing end would hang the session for ever.
"""

from __future__ import annotations

import asyncio
import logging

from livekit import rtc
from livekit.agents.voice.avatar import DataStreamAudioOutput
from livekit.agents.voice.io import AudioOutput, AudioOutputCapabilities

logger = logging.getLogger("livekit.plugins.mien")

RATE_HZ = 24_000
"""Of the speech on its way; the avatar's own voice has 48,000."""
PAUSE = "mien.pause"
RESUME = "mien.resume"
CLEAR_TIMEOUT_S = 2.0
OPEN_TIMEOUT_S = 1.0
"""For a stream's beginning to leave, once the utterance is cut."""


class MienAudioOutput(DataStreamAudioOutput):
    """The end of the session's audio chain.

    Args:
        identity: the avatar's in the room.
        join_timeout_s: how long an utterance waits for the avatar; after that it counts as not heard.
    """

    def __init__(self, room: rtc.Room, identity: str, *, join_timeout_s: float) -> None:
        super().__init__(
            room,
            destination_identity=identity,
            sample_rate=RATE_HZ,
            wait_remote_track=rtc.TrackKind.KIND_VIDEO,
            clear_buffer_timeout=CLEAR_TIMEOUT_S,
            wait_playback_start=True,
        )
        self._capabilities = AudioOutputCapabilities(pause=True)
        self._join_timeout_s = join_timeout_s
        self._skipping = False
        """The rest of this utterance has nowhere to go."""
        self._pausing: asyncio.Queue[str] = asyncio.Queue()
        self._pauser: asyncio.Task[None] | None = None
        self._paused = False

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        if self._skipping:
            return
        if not self._started and not await self._avatar_there():
            logger.error("no avatar came within %.0f s; an utterance is not heard", self._join_timeout_s)
            await AudioOutput.capture_frame(self, frame)
            self._skipping = True
            self.on_playback_finished(playback_position=0.0, interrupted=True)
            return
        await self._capture(frame)
        if self._skipping:  # the avatar went away meanwhile
            self._stream_writer = None

    def flush(self) -> None:
        super().flush()
        self._skipping = False

    def pause(self) -> None:
        self._hold(PAUSE)

    def resume(self) -> None:
        self._hold(RESUME)

    def lost(self) -> None:
        """The avatar is gone: what it was saying has ended, and what comes next waits for it."""
        if self._started:
            self._started = False
            self._start_atask = asyncio.create_task(self._start_task())
        self._paused = False
        self._skipping = self._stream_writer is not None
        self._stream_writer = None
        for _ in range(self._pending_playback_count):
            self.on_playback_finished(playback_position=0.0, interrupted=True)

    async def aclose(self) -> None:
        """Nothing is sent any more; every utterance has ended."""
        for task in (self._pauser, self._start_atask):
            if task is not None:
                task.cancel()
        self._room.off("connection_state_changed", self._handle_connection_state_changed)
        # livekit-agents keeps them by the avatar's identity, for the life of the process.
        self._playback_finished_handlers.pop(self._destination_identity, None)
        self._playback_started_handlers.pop(self._destination_identity, None)
        for _ in range(self._pending_playback_count):
            self.on_playback_finished(playback_position=0.0, interrupted=True)

    async def _avatar_there(self) -> bool:
        if self._start_atask is None or self._start_atask.done():
            self._start_atask = asyncio.create_task(self._start_task())
        done, _ = await asyncio.wait([self._start_atask], timeout=self._join_timeout_s)
        return bool(done)

    async def _capture(self, frame: rtc.AudioFrame) -> None:
        """livekit-agents' own, but that a stream is opened to the end even if the session cuts the utterance meanwhile.

        Else its beginning is on its way and nobody knows of it: no end follows, and the avatar waits for one.
        """
        capturing = asyncio.create_task(super().capture_frame(frame))
        try:
            await asyncio.shield(capturing)
        except asyncio.CancelledError:
            if self._clear_buffer_atask is not None and not self._clear_buffer_atask.done():
                capturing.cancel()  # it still waits for the end of the one before; nothing is open
            done, _ = await asyncio.wait([capturing], timeout=OPEN_TIMEOUT_S)
            if not done:
                capturing.cancel()
            elif not capturing.cancelled() and (error := capturing.exception()) is not None:
                logger.warning("an utterance that was cut could not be sent either: %s", error)
            raise

    # -- pause and resume, in order

    def _hold(self, method: str) -> None:
        # The session resumes before every utterance, paused or not.
        if (method == PAUSE) == self._paused or not self.can_pause or not self._started:
            return
        self._paused = method == PAUSE
        self._pausing.put_nowait(method)
        if self._pauser is None:
            self._pauser = asyncio.create_task(self._call())

    async def _call(self) -> None:
        while True:
            method = await self._pausing.get()
            try:
                await self._room.local_participant.perform_rpc(
                    destination_identity=self._destination_identity, method=method, payload=""
                )
            except rtc.RpcError as error:
                if error.code == rtc.RpcError.ErrorCode.UNSUPPORTED_METHOD:
                    logger.warning("the avatar cannot pause: a false interruption is not resumed from now on")
                    self._capabilities = AudioOutputCapabilities(pause=False)
                else:
                    logger.warning("the avatar did not get %s: %s", method, error)
