"""One dispatched room of a LiveKit worker: joins it, holds the conversation, leaves when the person does.

In: jobs, each on its own thread and event loop. Out: conversations. What they share (models, metrics, capacity) is safe
from any thread; everything else is made here, on the conversation's own loop.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from livekit import rtc
from livekit.agents import JobContext

from agent.capacity import Capacity
from agent.conversation import Conversation
from agent.face import Face
from agent.metrics import Metrics
from agent.models import Local, choose_models
from agent.persona import Persona
from agent.settings import Settings
from agent.smalltalk import SmallTalk
from agent.watch_history import METHOD, answer, away
from avatar.frames import MienError
from avatar.timeslice import short_slices
from rooms.livekit import LiveKitRoom, connect
from rooms.livekit_calls import Answer, answering

logger = logging.getLogger(__name__)

JOIN_S = 15.0
BACK = "Sorry, I was away for a moment. I'm back, and I still know what we said."
"""In place of a language model's own words."""


class Jobs:
    """All of a process."""

    def __init__(
        self,
        settings: Settings,
        persona: Persona,
        face: Face,
        local: Local,
        metrics: Metrics,
        capacity: Capacity,
        conversation: type[Conversation],
    ) -> None:
        self._settings = settings
        self._persona = persona
        self.face = face
        """What conversations that begin get."""
        self._local = local
        self._metrics = metrics
        self._capacity = capacity
        self._kind = conversation
        self._lock = threading.Lock()
        self._ending: dict[str, Callable[[], None]] = {}
        """How to end each job from another thread."""

    async def hold(self, context: JobContext) -> None:
        """The entry point of livekit-agents, on a thread of the job's own."""
        short_slices()
        job, loop = context.job.id, asyncio.get_running_loop()
        ended = asyncio.Event()
        self._capacity.begin(job)
        with self._lock:
            self._ending[job] = lambda: loop.call_soon_threadsafe(ended.set)  # type: ignore[assignment]
        self._metrics.sessions.inc()
        self._metrics.sessions_total.inc()
        logger.info("conversation %s begins in room %s", job, context.room.name)
        reason = "error"
        try:
            reason = await self._converse(context, ended)
        except MienError as error:
            logger.error("conversation %s: %s", job, error)
            self._metrics.error("conversation")
        except Exception:  # one conversation's failure must not reach the others; it is logged and told to its room
            logger.exception("conversation %s failed", job)
            self._metrics.error("conversation")
        finally:
            with self._lock:
                self._ending.pop(job, None)
            self._capacity.end(job)
            self._metrics.sessions.dec()
            logger.info("conversation %s is over (%s)", job, reason)
            context.shutdown(reason)

    def end_all(self) -> None:
        """Have all conversations say goodbye; from any thread."""
        with self._lock:
            for end in self._ending.values():
                end()

    async def _converse(self, context: JobContext, ended: asyncio.Event) -> str:
        joining = asyncio.create_task(join(context))
        try:
            conversation, size = await self._make(context)
            try:
                async with asyncio.timeout(JOIN_S):
                    await joining
            except BaseException:
                await conversation.discard()
                raise
        except BaseException:
            joining.cancel()
            raise
        with answering(context.room, {METHOD: _alive(context.room, conversation)}):
            return await self._run(context, conversation, size, ended)

    async def _run(
        self, context: JobContext, conversation: Conversation, size: tuple[int, int], ended: asyncio.Event
    ) -> str:
        room = LiveKitRoom(conversation, context.room, width=size[0], height=size[1])
        running = asyncio.create_task(conversation.run(room), name=f"conversation {context.job.id}")
        ending = asyncio.create_task(ended.wait())
        reason, text = "error", "Something went wrong in this conversation; the server's log has the reason."
        try:
            await asyncio.wait([running, ending], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
                reason, text = "left", "The conversation has ended."
            else:
                reason, text = "shutdown", "The server is shutting down."
                running.cancel()
                await asyncio.wait([running])
        finally:
            ending.cancel()
            if not running.done():
                running.cancel()
            room.send({"type": "bye", "reason": reason, "text": text})
            await room.aclose()
        return reason

    async def _make(self, context: JobContext) -> tuple[Conversation, tuple[int, int]]:
        job = context.job
        told = _told(job.metadata)
        timezone, before = told.get("timezone"), away(told)
        models = choose_models(
            self._settings,
            self._persona,
            consented=set(),
            local=self._local,
            timezone=timezone if isinstance(timezone, str) else None,
        )
        try:
            # Static layers are drawn, which takes a while.
            renderer = await asyncio.to_thread(self.face.make, hash(job.id) & 0xFFFF)
        except BaseException:
            await models.aclose()
            raise
        if before is not None and isinstance(models.llm, SmallTalk):
            before = replace(before, words=BACK)
        conversation = self._kind(
            persona=self._persona,
            models=models,
            renderer=renderer,
            turn=self._settings.turn,
            metrics=self._metrics,
            face={"part": "renderer", "name": self.face.backend, "why": self.face.why, "online": False},
            about={"session": job.id, "version": importlib.metadata.version("mien")},
            away=before,
        )
        return conversation, (renderer.width, renderer.height)


async def join(context: JobContext) -> None:
    """What `JobContext.connect` does, but with dynacast, for which it has no option. The version is pinned."""
    info = context._info
    await connect(context.room, info.url, info.token)
    context._connected = True
    context._on_connect()


def _alive(room: rtc.Room, conversation: Conversation) -> Answer:
    """Tells `mien watch` that this conversation lives, and what was said; others in the room learn the former only."""

    def alive(call: rtc.RpcInvocationData) -> str:
        if call.caller_identity in room.remote_participants:
            return "ok"
        return answer(conversation.said, call.payload)

    return alive


def _told(metadata: str) -> dict[str, Any]:
    """What whoever called us says of the person: JSON, for instance ``{"timezone": "Europe/Berlin"}``."""
    try:
        told = json.loads(metadata) if metadata else {}
    except (ValueError, RecursionError):
        told = {}
    return told if isinstance(told, dict) else {}
