"""One room of an avatar worker: a face and a voice for an agent that runs elsewhere.

In: jobs, each on its own thread and event loop, whose metadata says for whom (`Order`); that agent's speech. Out: a
participant that publishes on the agent's behalf, and leaves when the agent does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livekit import rtc
from livekit.agents import JobContext
from livekit.agents.voice.room_io.types import DEFAULT_CLOSE_ON_DISCONNECT_REASONS

from agent.avatar_job_speech import RemoteSpeech
from agent.capacity import Capacity
from agent.face import Face, choose_face
from agent.job import JOIN_S, join
from agent.metrics import Metrics
from agent.persona import load_persona, shipped_personas
from agent.settings import Settings
from agent.watched import WatchedRenderer
from avatar.frames import MienError
from avatar.playout import Finished, Playout, Started
from avatar.renderer import Expression
from rooms.livekit_calls import answering
from rooms.livekit_sink import LiveKitSink
from rooms.livekit_tracks import publish

logger = logging.getLogger(__name__)

COME_S = 30.0
"""How long the avatar waits for its agent at first."""
LINGER_S = 10.0
"""How long it waits for one that was cut off."""
CLOSE_S = 3.0
STATE = "lk.agent.state"
_EXPRESSIONS = {
    "listening": Expression.LISTENING,
    "thinking": Expression.THINKING,
    "speaking": Expression.SPEAKING,
}
_FIELDS = {"identity", "on_behalf_of", "persona", "portrait"}


class OrderError(MienError):
    """An avatar was called for that cannot be had: what is wrong."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the dispatch's metadata says.

    Args:
        identity: the avatar's own in the room.
        on_behalf_of: the agent's.
        persona: a shipped persona's name; None for the worker's own.
        portrait: the name of a folder in MIEN_PORTRAITS; None for the persona's look.
    """

    identity: str
    on_behalf_of: str
    persona: str | None = None
    portrait: str | None = None

    @classmethod
    def parse(cls, metadata: str) -> Order:
        """Raises:
        OrderError: it is not JSON, or a field is missing, unknown or no text.
        """
        try:
            told = json.loads(metadata)
        except (ValueError, RecursionError):
            raise OrderError("the dispatch's metadata is not JSON; livekit-plugins-mien writes it") from None
        if not isinstance(told, dict) or not {"identity", "on_behalf_of"} <= set(told) <= _FIELDS:
            raise OrderError(f"the metadata must hold identity and on_behalf_of, and at most {sorted(_FIELDS)}")
        if not all(isinstance(value, str) and 0 < len(value) <= 200 for value in told.values()):
            raise OrderError("the dispatch's metadata must be texts of 1 to 200 characters")
        return cls(**told)


class Faces:
    """Whom this worker can show. Names come from outside: none of them may reach other files."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._own = choose_face(settings.avatar, load_persona(settings.avatar.persona))

    def warm(self) -> None:
        """Ready the worker's own, so that the first room does not wait."""
        self._own = self._own.warm()

    @property
    def name(self) -> str:
        return self._own.persona.name

    def choose(self, order: Order) -> Face:
        """Raises:
        OrderError: there is no such persona or portrait.
        MienError: the portrait cannot be used.
        """
        if order.persona is None and order.portrait is None:
            return self._own
        settings, persona = self._settings.avatar, self._own.persona
        if order.persona is not None:
            if order.persona not in shipped_personas():
                raise OrderError(f"no persona {order.persona!r}; there are {', '.join(shipped_personas())}")
            persona = load_persona(order.persona)
            settings = settings.model_copy(update={"portrait": None})
        if order.portrait is not None:
            settings = settings.model_copy(update={"portrait": self._portrait(order.portrait)})
        return choose_face(settings, persona)

    def _portrait(self, name: str) -> Path:
        folder = self._settings.livekit.portraits
        known = sorted(one.name for one in folder.iterdir() if one.is_dir()) if folder is not None else []
        if folder is None or name not in known:
            raise OrderError(f"no portrait {name!r} in MIEN_PORTRAITS; there are {', '.join(known) or 'none'}")
        return folder / name


class AvatarJobs:
    """All of a process.

    Args:
        avatar: the kind of avatar that comes; an observer passes its own.
    """

    def __init__(self, faces: Faces, metrics: Metrics, capacity: Capacity, avatar: type[Avatar] | None = None) -> None:
        self._avatar = avatar or Avatar
        self._faces = faces
        self._metrics = metrics
        self._capacity = capacity
        self._lock = threading.Lock()
        self._ending: dict[str, Callable[[], object]] = {}
        """How to end each job from another thread."""

    async def hold(self, context: JobContext) -> None:
        """The entry point of livekit-agents."""
        job, loop = context.job.id, asyncio.get_running_loop()
        ended = asyncio.Event()
        self._capacity.begin(job)
        with self._lock:
            self._ending[job] = lambda: loop.call_soon_threadsafe(ended.set)
        self._metrics.sessions.inc()
        self._metrics.sessions_total.inc()
        logger.info("avatar %s comes to room %s", job, context.room.name)
        reason = "error"
        try:
            reason = await self._stand_in(context, ended)
        except MienError as error:
            logger.error("avatar %s: %s", job, error)
            self._metrics.error("avatar")
        except Exception:  # one room's failure must not reach the others
            logger.exception("avatar %s failed", job)
            self._metrics.error("avatar")
        finally:
            with self._lock:
                self._ending.pop(job, None)
            self._capacity.end(job)
            self._metrics.sessions.dec()
            logger.info("avatar %s is gone (%s)", job, reason)
            context.shutdown(reason)

    def end_all(self) -> None:
        """Have all avatars leave; from any thread."""
        with self._lock:
            for end in self._ending.values():
                end()

    async def _stand_in(self, context: JobContext, ended: asyncio.Event) -> str:
        order = Order.parse(context.job.metadata)
        face = self._faces.choose(order)
        # Static layers are drawn, which takes a while.
        drawing = asyncio.create_task(asyncio.to_thread(face.make, hash(context.job.id) & 0xFFFF))
        try:
            async with asyncio.timeout(JOIN_S):
                await join(context)
        except BaseException:
            await (await drawing).aclose()
            raise
        renderer = WatchedRenderer(await drawing)
        avatar = self._avatar(context.room, order.on_behalf_of, renderer, self._metrics)
        running = asyncio.create_task(avatar.run(), name=f"avatar {context.job.id}")
        ending = asyncio.create_task(ended.wait())
        try:
            await asyncio.wait([running, ending], return_when=asyncio.FIRST_COMPLETED)
            return running.result() if running.done() else "shutdown"
        finally:
            for task in (running, ending):
                task.cancel()
            await asyncio.wait([running, ending])


class Avatar:
    """In one room. Call `run` once; it returns why it left."""

    def __init__(self, room: rtc.Room, agent: str, renderer: WatchedRenderer, metrics: Metrics) -> None:
        self.on_sent: Callable[[int, float], None] | None = None
        """Called with each tick that has left, and when that was."""
        self._room = room
        self._agent = agent
        self._renderer = renderer
        self._metrics = metrics
        self._speech = RemoteSpeech(room, agent)
        self._playout = Playout(renderer, listener=self)
        self._playout.on_tick = metrics.tick
        self._left: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting: asyncio.TimerHandle | None = None

    async def run(self) -> str:
        with answering(self._room, self._speech.methods):
            return await self._stay()

    async def _stay(self) -> str:
        room, sink = self._room, LiveKitSink(self._renderer.width, self._renderer.height)
        sink.watched = False
        sink.on_sent = self.on_sent

        def watched(on: bool) -> None:
            self._renderer.watched = sink.watched = on

        clock = asyncio.create_task(self._playout.run(), name="playout")
        watching: asyncio.Task[None] | None = None
        try:
            self._speech.begin(self._playout)
            self._playout.attach(sink, primary=True)
            room.on("participant_connected", self._came)
            room.on("participant_disconnected", self._gone)
            room.on("participant_attributes_changed", self._changed)
            room.on("disconnected", lambda reason: self._leave("disconnected"))
            _, picture = await publish(room, sink, self._renderer.width, self._renderer.height)
            watching = asyncio.create_task(picture.watch(watched))
            self._wait(COME_S)
            for participant in list(room.remote_participants.values()):
                self._came(participant)
            waited: list[asyncio.Future[Any]] = [clock, watching, self._left]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for failed in (clock, watching):
                if failed.done():
                    failed.result()
            return self._left.result()
        finally:
            if self._waiting is not None:
                self._waiting.cancel()
            for task in (clock, watching):
                if task is not None:
                    task.cancel()
            self._playout.close()
            await self._speech.aclose()
            await sink.aclose()
            await self._renderer.aclose()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await room.disconnect()

    # -- the playout

    def on_started(self, event: Started) -> None:
        self._speech.on_started(event)

    def on_finished(self, event: Finished) -> None:
        if event.interrupted:
            self._metrics.interrupted()
        self._speech.on_finished(event)

    # -- the agent

    def _came(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity != self._agent:
            return
        logger.info("standing in for %s", self._agent)
        if self._waiting is not None:
            self._waiting.cancel()
        self._changed([], participant)

    def _gone(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity != self._agent:
            return
        self._playout.clear()
        self._playout.resume()
        self._playout.express(Expression.IDLE)
        if participant.disconnect_reason in DEFAULT_CLOSE_ON_DISCONNECT_REASONS:
            self._leave("agent left")
        else:
            self._wait(LINGER_S)

    def _changed(self, _: object, participant: rtc.Participant) -> None:
        if participant.identity == self._agent:
            self._playout.express(_EXPRESSIONS.get(participant.attributes.get(STATE, ""), Expression.IDLE))

    def _wait(self, seconds: float) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = asyncio.get_running_loop().call_later(seconds, self._leave, "no agent")

    def _leave(self, reason: str) -> None:
        if not self._left.done():
            self._left.set_result(reason)
