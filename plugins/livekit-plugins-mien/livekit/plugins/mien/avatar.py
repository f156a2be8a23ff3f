"""`AvatarSession`: calls for an avatar by LiveKit's own dispatch, routes the speech to it, and keeps it there.

In: a user's `AgentSession` and room. Out: a participant of that room that publishes on the agent's behalf.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from livekit import api, rtc
from livekit.agents import AgentSession, get_job_context, utils
from livekit.agents.voice.avatar import AvatarSession as BaseAvatarSession
from livekit.plugins.mien.output import MienAudioOutput

logger = logging.getLogger("livekit.plugins.mien")

AVATAR_NAME = "mien-avatar"
ATTEMPT_S = 10.0
"""How long one call may take to bring an avatar before it is called again."""
AGAIN_S = 1.0
TAKEN_S = 2.0
"""A call that no worker has taken by then is lost: LiveKit does not keep it for one that comes later."""
ALIVE = "mien.alive"
ALIVE_S = 1.0
"""How often a worker is asked whether it lives, and how long its answer may take besides the way."""
WAY_S = 1.5
DEAD_AFTER = 3
"""Unanswered questions. LiveKit itself keeps the participant of a process that died for 20 s and more."""


class MienException(Exception):
    """The avatar cannot be called for: why."""


class AvatarSession(BaseAvatarSession[str]):
    """One avatar for one `AgentSession`.

    Args:
        avatar_name: the name that the avatar worker goes by.
        persona: a persona that Mien ships; None for the worker's own.
        portrait: the name of a portrait that the worker has; None for the persona's look.
        identity: of the avatar's participant; None for a new one.
        join_timeout_s: how long an utterance waits for an avatar that is not there.
        livekit_url, livekit_api_key, livekit_api_secret: of the server; by default those of the environment.
    """

    def __init__(
        self,
        *,
        avatar_name: str = AVATAR_NAME,
        persona: str | None = None,
        portrait: str | None = None,
        identity: str | None = None,
        join_timeout_s: float = 30.0,
        livekit_url: str | None = None,
        livekit_api_key: str | None = None,
        livekit_api_secret: str | None = None,
    ) -> None:
        super().__init__()
        self._name = avatar_name
        self._look = {key: value for key, value in (("persona", persona), ("portrait", portrait)) if value is not None}
        self._identity = identity or f"{avatar_name}-{utils.shortuuid('')}"
        self._join_timeout_s = join_timeout_s
        self._server = (
            livekit_url or os.environ.get("LIVEKIT_URL"),
            livekit_api_key or os.environ.get("LIVEKIT_API_KEY"),
            livekit_api_secret or os.environ.get("LIVEKIT_API_SECRET"),
        )
        self._output: MienAudioOutput | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()
        self._room_name = ""
        self._dispatch: str | None = None

    @property
    def avatar_identity(self) -> str:
        return self._identity

    @property
    def provider(self) -> str:
        return "mien"

    async def start(self, agent_session: AgentSession[Any], room: rtc.Room) -> None:
        """Call for the avatar and send it the session's speech; before `agent_session.start` or after it.

        Raises:
            MienException: it was started before, there is no room to come to, or the server does not take the call.
        """
        if self._keeping is not None:
            raise MienException("an AvatarSession starts once: make another for another avatar")
        if not all(self._server):
            raise MienException("set LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET, or pass them")
        job = get_job_context(required=False)
        if job is not None:
            self._room_name, agent = job.job.room.name, job.local_participant_identity
        elif room.isconnected():
            self._room_name, agent = room.name, room.local_participant.identity
        else:
            raise MienException("outside a job the room must be connected before the avatar is called")
        self._metadata = json.dumps({"identity": self._identity, "on_behalf_of": agent} | self._look)
        await super().start(agent_session, room)
        try:
            await self._call()
        except (api.TwirpError, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise MienException(f"the LiveKit server does not take the call for {self._name!r}: {error}") from error
        room.on("participant_disconnected", self._participant_gone)
        self._output = MienAudioOutput(room, self._identity, join_timeout_s=self._join_timeout_s)
        agent_session.output.replace_audio_tail(self._output)
        self._keeping = asyncio.create_task(self._keep(room), name="mien avatar")

    async def aclose(self) -> None:
        """Have the avatar leave."""
        room = self._room
        if self._keeping is not None:
            await utils.aio.cancel_and_wait(self._keeping)
        if room is not None:
            room.off("participant_disconnected", self._participant_gone)
        await self._call_off()
        if self._output is not None:
            await self._output.aclose()
        await super().aclose()

    # -- keeping it there

    async def _keep(self, room: rtc.Room) -> None:
        """Call again whenever it is gone, until it is back."""
        complained = False
        while True:
            if await self._there(room):
                complained = False
                await self._until_gone(room)
                logger.warning("the avatar left the room; calling it again")
                await asyncio.sleep(AGAIN_S)  # after a reconnection of our own it is still there
                if self._identity in room.remote_participants:
                    continue
            elif not complained:
                complained = True
                logger.warning(
                    "no avatar has come yet; it is called until one does. Is a worker `mien avatar` of this server "
                    "running as %r, with room for one more?",
                    self._name,
                )
            try:
                await self._call_off()
                await self._call()
            except (api.TwirpError, aiohttp.ClientError, TimeoutError, OSError) as error:
                logger.warning("the avatar cannot be called: %s", error)
                await asyncio.sleep(AGAIN_S)

    async def _there(self, room: rtc.Room) -> bool:
        """Wait until it is, for as long as a call may take."""
        while not room.isconnected():  # noqa: ASYNC110 - the session connects it, in its own time
            await asyncio.sleep(AGAIN_S / 4)
        self._gone.clear()
        arriving = asyncio.create_task(utils.wait_for_participant(room=room, identity=self._identity))
        try:
            done, _ = await asyncio.wait([arriving], timeout=TAKEN_S)
            if not done and await self._taken():
                done, _ = await asyncio.wait([arriving], timeout=ATTEMPT_S - TAKEN_S)
            # The exception: our own connection broke meanwhile.
            return bool(done) and arriving.exception() is None
        finally:
            arriving.cancel()

    async def _until_gone(self, room: rtc.Room) -> None:
        """Wait until it has left; one whose process does not answer any more is removed."""
        unanswered = 0
        while not self._gone.is_set():
            try:
                async with asyncio.timeout(ALIVE_S):
                    await self._gone.wait()
            except TimeoutError:
                pass
            else:
                return
            try:
                await room.local_participant.perform_rpc(
                    destination_identity=self._identity,
                    method=ALIVE,
                    payload="",
                    response_timeout=ALIVE_S + WAY_S,
                    max_round_trip_latency=WAY_S,
                )
                unanswered = 0
            except rtc.RpcError as error:
                if error.code == rtc.RpcError.ErrorCode.UNSUPPORTED_METHOD:
                    await self._gone.wait()
                    return
                unanswered += room.isconnected()
            if unanswered == DEAD_AFTER:
                logger.warning("the avatar does not answer any more and is removed")
                await self._remove()

    def _participant_gone(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity == self._identity:
            self._gone.set()
            if self._output is not None:
                self._output.lost()

    # -- LiveKit's dispatch

    async def _call(self) -> None:
        request = api.CreateAgentDispatchRequest(agent_name=self._name, room=self._room_name, metadata=self._metadata)
        async with self._service() as service:
            self._dispatch = (await service.agent_dispatch.create_dispatch(request)).id

    async def _taken(self) -> bool:
        """Whether a worker has taken the call."""
        if self._dispatch is None:
            return False
        try:
            async with self._service() as service:
                dispatch = await service.agent_dispatch.get_dispatch(self._dispatch, self._room_name)
        except (api.TwirpError, aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.debug("the server does not tell about the dispatch: %s", error)
            return False
        return dispatch is not None and bool(dispatch.state.jobs)

    async def _remove(self) -> None:
        try:
            async with self._service() as service:
                await service.room.remove_participant(
                    api.RoomParticipantIdentity(room=self._room_name, identity=self._identity)
                )
        except (api.TwirpError, aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.warning("the avatar that does not answer cannot be removed: %s", error)

    async def _call_off(self) -> None:
        dispatch, self._dispatch = self._dispatch, None
        if dispatch is None:
            return
        try:
            async with self._service() as service:
                await service.agent_dispatch.delete_dispatch(dispatch, self._room_name)
        except (api.TwirpError, aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.debug("the dispatch was gone already: %s", error)

    @asynccontextmanager
    async def _service(self) -> AsyncIterator[api.LiveKitAPI]:
        url, key, secret = self._server
        async with api.LiveKitAPI(url, key, secret) as service:
            yield service
