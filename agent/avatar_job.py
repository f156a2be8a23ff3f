"""The jobs of an avatar worker: who is called for, whom it can show, and one avatar for each job.

In: jobs, each on its own thread and event loop, whose metadata says for whom (`Order`). Out: an avatar in each of their
rooms (agent/avatar_room.py).
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from livekit.agents import JobContext

from agent.avatar_room import Avatar
from agent.capacity import Capacity
from agent.face import Face, choose_face
from agent.job import JOIN_S, join
from agent.metrics import Metrics
from agent.persona import load_persona, shipped_personas
from agent.settings import Settings
from agent.watched import WatchedRenderer
from avatar.frames import MienError
from avatar.timeslice import short_slices

logger = logging.getLogger(__name__)

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

    def __init__(self, faces: Faces, metrics: Metrics, capacity: Capacity, avatar: type[Avatar] = Avatar) -> None:
        self._avatar = avatar
        self._faces = faces
        self._metrics = metrics
        self._capacity = capacity
        self._lock = threading.Lock()
        self._ending: dict[str, Callable[[], object]] = {}
        """How to end each job from another thread."""

    async def hold(self, context: JobContext) -> None:
        """The entry point of livekit-agents, on a thread of the job's own."""
        short_slices()
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
