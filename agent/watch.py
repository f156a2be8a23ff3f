"""`mien watch`: calls the avatar back into rooms where its worker died.

In: a LiveKit server. Out: dispatches. Self-hosted LiveKit does not dispatch again when a worker dies, and goes on
showing its participant for 20 s. So every avatar is asked each second, by a call through the server (`PerformRpc`),
whether it lives; one that has answered before and does not any more is removed, and called anew.

Why asked: a heartbeat in the avatar's attributes would go to everybody in the room each time; the worker's own health
tells nothing of one conversation, and is not reachable from everywhere; the connection of a worker that hangs stays up.
Only a call goes all the way to the conversation's own loop. Its answers carry what was said so far, which is kept
here, in memory, for as long as the room lasts, and given to the next avatar: the person's side need not keep it, any
client has it, and nobody else in the room sees it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import aiohttp
from livekit import api

from agent.serving import check
from agent.settings import Settings
from agent.watch_history import FIELD, METHOD, Said, parse

logger = logging.getLogger(__name__)

EVERY_S = 1.0
ANSWER_S = 1.0
"""How long an answer may take."""
MISSED = 3
"""So many calls without an answer, and it is dead."""
COME_S = 15.0
"""How long one may take until its first answer."""
AGAIN_S = 1.5
"""When no worker took the call, it is made again."""
GIVE_UP_S = 300.0
_AT_ONCE = 16
_ATTRIBUTE = "lk.agent.name"
_RUNNING = (api.JobStatus.JS_PENDING, api.JobStatus.JS_RUNNING)


def run(settings: Settings) -> None:
    """Watch until interrupted.

    Raises:
        MienError: LiveKit is not configured, or refuses the key.
    """
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    url, key, secret = settings.livekit.credentials()
    await check(url, key, secret)
    async with Watch(url, key, secret, settings.livekit.agent_name) as watch:
        print(f"watching the rooms of {url} that call {settings.livekit.agent_name!r}  (Ctrl-C ends it)", flush=True)
        watching = asyncio.create_task(watch.run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([watching, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in (watching, stopping):
            task.cancel()
        if watching.done() and not watching.cancelled():
            watching.result()


@dataclass
class _Avatar:
    since: float
    answered: bool = False
    missed: int = 0


@dataclass
class _Room:
    avatars: dict[str, _Avatar] = field(default_factory=dict)
    said: tuple[Said, ...] = ()
    tag: str = ""
    called_at: float | None = None
    """When the avatar was first called back, until it is there."""
    again_at: float = 0.0
    metadata: str = ""
    """Of the first dispatch."""


class Watch:
    """A context manager. All times are the loop's.

    Args:
        agent: the name by which rooms call for it.
    """

    def __init__(self, url: str, key: str, secret: str, agent: str) -> None:
        self._url = url.replace("ws", "http", 1) if url.startswith("ws") else url
        self._credentials = (key, secret)
        self._agent = agent
        self._rooms: dict[str, _Room] = {}
        self._few = asyncio.Semaphore(_AT_ONCE)
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Watch:
        timeout = aiohttp.ClientTimeout(total=5)
        self._http = await self._stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        self._api = await self._stack.enter_async_context(api.LiveKitAPI(self._url, *self._credentials))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def run(self) -> None:
        """For ever."""
        loop, answers = asyncio.get_running_loop(), True
        while True:
            began = loop.time()
            try:
                await self._look()
                answers = True
            except (aiohttp.ClientError, api.TwirpError, TimeoutError, OSError) as error:
                logger.log(logging.WARNING if answers else logging.DEBUG, "no answer of the server: %s", error)
                answers = False
            await asyncio.sleep(max(0.1, began + EVERY_S - loop.time()))

    async def _look(self) -> None:
        rooms = (await self._api.room.list_rooms(api.ListRoomsRequest())).rooms
        names = {room.name for room in rooms if room.num_participants}
        for gone in self._rooms.keys() - names:
            del self._rooms[gone]
        await self._all(partial(self._look_into, name) for name in names)

    async def _all(self, work: Iterable[Callable[[], Awaitable[None]]]) -> None:
        """One room's trouble is not the others'."""

        async def one(do: Callable[[], Awaitable[None]]) -> None:
            async with self._few:
                try:
                    await do()
                except (aiohttp.ClientError, api.TwirpError, TimeoutError, OSError) as error:
                    logger.warning("a room could not be looked into: %s", error or "time-out")

        await asyncio.gather(*(one(do) for do in work))

    async def _look_into(self, name: str) -> None:
        there = (await self._api.room.list_participants(api.ListParticipantsRequest(room=name))).participants
        ours = {one.identity for one in there if one.attributes.get(_ATTRIBUTE) == self._agent}
        people = any(one.kind != api.ParticipantInfo.Kind.AGENT for one in there)
        if not ours and name not in self._rooms:
            return
        room, now = self._rooms.setdefault(name, _Room()), asyncio.get_running_loop().time()
        room.avatars = {identity: room.avatars.get(identity) or _Avatar(now) for identity in ours}
        await asyncio.gather(*(self._ask(name, room, identity) for identity in ours))
        for identity, avatar in list(room.avatars.items()):
            if avatar.answered:
                room.called_at = None
            if avatar.missed >= MISSED and (avatar.answered or now - avatar.since > COME_S):
                await self._replace(name, room, identity)
        if room.called_at is not None and people and not room.avatars and now >= room.again_at:
            await self._again(name, room)

    async def _ask(self, name: str, room: _Room, identity: str) -> None:
        avatar = room.avatars[identity]
        try:
            told = json.loads(await self._call(name, identity, room.tag))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError) as error:
            avatar.missed += 1
            logger.debug("%s in %s does not answer: %s", identity, name, error)
            return
        avatar.missed, avatar.answered = 0, True
        if isinstance(told, dict) and "said" in told:
            room.said, room.tag = parse(told["said"]), str(told.get("tag", ""))

    async def _call(self, room: str, identity: str, payload: str) -> str:
        """`PerformRpc`, which livekit-api 1.2.2 has no method for.

        Raises:
            ValueError: it is refused.
        """
        grants = api.VideoGrants(room_admin=True, room=room)
        token = api.AccessToken(*self._credentials).with_grants(grants).to_jwt()
        body = {"room": room, "destination_identity": identity, "method": METHOD, "payload": payload}
        async with self._http.post(
            f"{self._url}/twirp/livekit.RoomService/PerformRpc",
            json=body | {"response_timeout_ms": round(ANSWER_S * 1000)},
            headers={"Authorization": f"Bearer {token}"},
            timeout=aiohttp.ClientTimeout(total=ANSWER_S + 0.5),
        ) as response:
            answer = await response.json()
            if response.status != 200:
                raise ValueError(answer.get("msg", response.status))
            return str(answer.get("payload", ""))

    async def _replace(self, name: str, room: _Room, identity: str) -> None:
        logger.warning("%s in room %s is dead; another is called", identity, name)
        room.avatars.pop(identity)
        room.called_at = asyncio.get_running_loop().time()
        dispatches = await self._api.agent_dispatch.list_dispatch(name)
        room.metadata = next((one.metadata for one in dispatches if one.agent_name == self._agent), room.metadata)
        try:
            await self._api.room.remove_participant(api.RoomParticipantIdentity(room=name, identity=identity))
        except api.TwirpError as error:
            logger.info("%s had gone already: %s", identity, error.message)
        await self._dispatch(name, room, dispatches)

    async def _again(self, name: str, room: _Room) -> None:
        """Nobody took the call, it seems."""
        assert room.called_at is not None
        if asyncio.get_running_loop().time() - room.called_at > GIVE_UP_S:
            logger.error("no worker took room %s within %.0f s; it is given up", name, GIVE_UP_S)
            del self._rooms[name]
            return
        dispatches = await self._api.agent_dispatch.list_dispatch(name)
        mine = [one for one in dispatches if one.agent_name == self._agent]
        on_its_way = [job for one in mine for job in one.state.jobs if job.state.status in _RUNNING]
        if not on_its_way or asyncio.get_running_loop().time() - room.called_at > COME_S:
            await self._dispatch(name, room, dispatches)

    async def _dispatch(self, name: str, room: _Room, before: Iterable[api.AgentDispatch]) -> None:
        """In place of the dispatches before."""
        room.again_at = asyncio.get_running_loop().time() + AGAIN_S
        for one in before:
            if one.agent_name == self._agent:
                await self._api.agent_dispatch.delete_dispatch(one.id, name)
        await self._api.agent_dispatch.create_dispatch(
            api.CreateAgentDispatchRequest(agent_name=self._agent, room=name, metadata=_metadata(room))
        )


def _metadata(room: _Room) -> str:
    """What the first dispatch said, and what was said since."""
    try:
        told = json.loads(room.metadata) if room.metadata else {}
    except (ValueError, RecursionError):
        told = {}
    return json.dumps((told if isinstance(told, dict) else {}) | {FIELD: list(room.said)}, ensure_ascii=False)
