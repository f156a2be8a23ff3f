"""One conversation: a person in a room, an `AgentSession` that listens and answers, a playout that gives it a face.

In: a room's sound and messages (`Presence`). Out: frames to the room's sink, messages to its page. livekit-agents finds
turns, asks the LLM and feeds the TTS; this file connects it with the room and the playout, and nothing more.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from livekit.agents import NOT_GIVEN, Agent, AgentSession, FlushSentinel, llm, stt
from livekit.agents.voice import (
    AgentStateChangedEvent,
    ConversationItemAddedEvent,
    ErrorEvent,
    ModelSettings,
    UserInputTranscribedEvent,
    UserStateChangedEvent,
)
from livekit.agents.voice.agent_session import SessionConnectOptions

from agent.amusement import Amusement
from agent.metrics import Metrics
from agent.models import Models
from agent.output import AHEAD_S, PlayoutOutput
from agent.persona import Persona
from agent.settings import TurnSettings
from agent.transcript import Captions
from agent.turns import Turn, TurnClock
from agent.watch_history import Away, Said, context, said
from agent.watched import WatchedRenderer
from avatar.frames import MienError, Sink
from avatar.playout import Finished, Playout, Started, TickReport
from avatar.renderer import Renderer
from rooms.room import Message, Room

logger = logging.getLogger(__name__)

CLOSE_S = 3.0
CHAT_LIMIT = 4000
BACK = (
    "You were cut off from this conversation and are back now. In one short sentence and your own words, in the "
    "language spoken so far, say that you were away for a moment; if a question was left open, answer it."
)


class Conversation:
    """A `Presence` for its room. Call `run` once; it returns when the person has left.

    Args:
        models: this conversation's own parts.
        renderer: this conversation's own; closed at the end.
        face: the renderer's line among the parts that `hello` lists.
        about: what `hello` tells besides: session, version.
        away: what it takes up again, if it was here before.
    """

    def __init__(
        self,
        *,
        persona: Persona,
        models: Models,
        renderer: Renderer,
        turn: TurnSettings,
        metrics: Metrics,
        face: dict[str, Any],
        about: dict[str, Any],
        away: Away | None = None,
    ) -> None:
        self._persona = persona
        self._models = models
        self._renderer = WatchedRenderer(renderer)
        self._metrics = metrics
        self._face = face
        self._about = about
        self._away = away
        self._room: Room | None = None
        self._captions = Captions(self._send)
        self._output = PlayoutOutput(self._captions)
        self._playout = Playout(self._renderer, listener=self)
        self._output.bind(self._playout)
        self._playout.on_tick = self._ticked
        self._amusement = Amusement(self._playout.express)
        self._turns = TurnClock(self._turn_measured)
        self._session = _make_session(models, turn)
        self._left = asyncio.Event()
        self._greeted = False
        self._muted = False
        self._half_duplex = False
        self._started = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, room: Room) -> None:
        """Hold the conversation until the person leaves or the task is cancelled; then close everything."""
        self._room = room
        room.on_sent = self._turns.sent
        clock = asyncio.create_task(self._playout.run(), name="playout")
        leaving = asyncio.create_task(self._left.wait())
        try:
            await self._start_session(room)
            await asyncio.wait([clock, leaving], return_when=asyncio.FIRST_COMPLETED)
            if clock.done():
                clock.result()
        finally:
            leaving.cancel()
            await self._close(clock)

    async def discard(self) -> None:
        """In place of `run`, where nobody can be met."""
        self._playout.close()
        await self._models.aclose()
        await self._renderer.aclose()

    async def _start_session(self, room: Room) -> None:
        session = self._session
        session.output.audio = self._output
        session.on("agent_state_changed", self._agent_state_changed)
        session.on("user_state_changed", self._user_state_changed)
        session.on("user_input_transcribed", self._user_transcribed)
        session.on("conversation_item_added", self._item_added)
        session.on("error", self._error)
        session.on("close", lambda _: self._left.set())
        self._models.notify(self._part_changed)
        # Synthesis keeps about as far ahead as the output takes; so a voice that is picked speaks the next sentence.
        self._models.tts.ahead_s = AHEAD_S
        before = context(self._away.said if self._away is not None else ())
        session.history.insert(before.items)
        agent = _MienAgent(self._persona.instructions, self._turns, before)
        await room.begin(session, agent, listen=self._models.stt is not None)
        # Only now, because a room may have put an output of its own there. It gets our captions by `send`, in step with
        # the voice.
        session.output.transcription = self._captions
        self._started = True
        self._greet()

    async def _close(self, clock: asyncio.Task[None]) -> None:
        for task in self._tasks:
            task.cancel()
        self._amusement.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._session.aclose()
        except TimeoutError:
            logger.warning("the session did not close within %.0f s", CLOSE_S)
        clock.cancel()
        await self.discard()

    @property
    def said(self) -> list[Said]:
        """So far, oldest first; what is being said just now is not in it."""
        return said(self._session.history)

    # -- the room (Presence)

    def on_joined(self, sink: Sink) -> None:
        self._renderer.watched = True
        self._playout.attach(sink, primary=True)
        self._output.hold(False)
        self._greet()

    def on_watched(self, watched: bool) -> None:
        self._renderer.watched = watched

    def on_lost(self, sink: Sink) -> None:
        self._renderer.watched = False
        self._playout.detach(sink)
        # What is being said waits for the person to come back.
        self._output.hold(True)

    def on_left(self) -> None:
        self._left.set()

    def on_page(self) -> None:
        self._hello()
        self._send({"type": "state", "state": self._session.agent_state})

    def on_message(self, message: Message) -> None:
        match message:
            case {"type": "chat", "text": str(text)}:
                self._chat(str(message.get("id", "")), text)
            case {"type": "interrupt"}:
                self._interrupt()
            case {"type": "mute", "muted": bool(muted)}:
                self._muted = muted
                self._hold_microphone()
            case {"type": "half_duplex", "on": bool(on)}:
                self._half_duplex = on
                self._hold_microphone()
            case {"type": "voice", "voice": str(voice)}:
                self._choose_voice(voice)
            case {"type": "consent", "offer": str(offer), "granted": bool(granted)}:
                self._task(self._consented(offer, granted))
            case {"type": "ping"}:
                self._send({"type": "pong", "t": message.get("t")})
            case _:
                logger.debug("ignored message of type %s", message.get("type"))

    # -- what the person does

    def _greet(self) -> None:
        """Say the greeting once, when both the session and the person are there."""
        if self._greeted or self._output.held or not self._started:
            return
        self._greeted = True
        if self._away is not None and self._away.words is None:
            self._session.generate_reply(instructions=BACK)
        elif words := self._away.words if self._away is not None else self._persona.greeting:
            self._session.say(words)

    def _chat(self, number: str, text: str) -> None:
        text = text.strip()
        if not text:
            return
        if len(text) > CHAT_LIMIT:
            self._notice("warning", "chat_too_long", f"A message holds at most {CHAT_LIMIT} characters; yours was cut.")
            text = text[:CHAT_LIMIT]
        if not self._started:
            self._notice("warning", "not_ready", "The conversation is still starting; please send it again.")
            return
        self._send({"type": "caption", "role": "user", "id": number, "text": text, "final": True})
        self._interrupt()
        now = _now()
        self._turns.begin(now)
        self._turns.mark("transcript", now)
        self._session.generate_reply(user_input=text)

    def _interrupt(self) -> None:
        if self._started:
            self._session.interrupt(force=True)

    def _choose_voice(self, voice: str) -> None:
        try:
            self._models.set_voice(voice)
        except MienError as error:
            self._notice("warning", "no_such_voice", str(error))
        self._hello()

    async def _consented(self, offer: str, granted: bool) -> None:
        """A download was agreed to (or not): fetch it with its progress, then use it."""

        def progress(done: int, total: int | None) -> None:
            self._send({"type": "progress", "offer": offer, "done": done, "total": total})

        try:
            await self._models.accept(offer, granted, progress)
        except MienError as error:
            self._notice("error", "offer_failed", str(error))
        self._hello()

    def _hold_microphone(self) -> None:
        speaking = self._session.agent_state == "speaking"
        if self._room is not None:
            self._room.hold_microphone(self._muted or (self._half_duplex and speaking))

    # -- what the session does

    def _agent_state_changed(self, event: AgentStateChangedEvent) -> None:
        self._send({"type": "state", "state": event.new_state})
        self._amusement.state(event.new_state)
        self._hold_microphone()

    def _user_state_changed(self, event: UserStateChangedEvent) -> None:
        self._send({"type": "user_state", "state": event.new_state})

    def _user_transcribed(self, event: UserInputTranscribedEvent) -> None:
        if event.is_final:
            self._turns.mark("transcript", _now())

    def _item_added(self, event: ConversationItemAddedEvent) -> None:
        item = event.item
        if not isinstance(item, llm.ChatMessage):
            return
        if not item.interrupted:
            self._amusement.said(item.text_content or "")
        stopped_at = item.metrics.get("stopped_speaking_at")
        if item.role == "user" and stopped_at is not None:
            self._turns.begin(_now() - (time.time() - stopped_at))
            text = item.text_content or ""
            self._send({"type": "caption", "role": "user", "id": item.id, "text": text, "final": True})

    def _error(self, event: ErrorEvent) -> None:
        self._metrics.error(type(event.source).__name__)
        error = getattr(event.error, "error", event.error)
        logger.error("%s: %s", type(event.source).__name__, error)
        if getattr(event.error, "recoverable", True):
            return
        if isinstance(event.source, stt.STT):
            text = f"What you said was not understood ({error}). Please say it again, or write."
            self._notice("warning", "not_understood", text)
        else:
            self._notice("error", "part_failed", f"{type(event.source).__name__} failed: {error}")

    def _part_changed(self, code: str, text: str) -> None:
        self._metrics.error(code)
        self._notice("warning", code, text)
        self._hello()

    # -- the playout

    def on_started(self, event: Started) -> None:
        self._turns.released(event.tick, event.pushed_at, event.released_at)
        self._output.on_started(event)

    def _ticked(self, report: TickReport) -> None:
        self._metrics.tick(report)
        if report.segment is not None:
            self._captions.reached(report.position_s)

    def on_finished(self, event: Finished) -> None:
        if event.interrupted:
            self._metrics.interrupted()
        self._output.on_finished(event)

    # -- what the page is told

    def _hello(self) -> None:
        models = self._models.describe()
        self._send(
            {"type": "hello", "persona": {"name": self._persona.name}, "history": self.said}
            | self._about
            | models
            | {"parts": [self._face, *models["parts"]]}
        )

    def _turn_measured(self, turn: Turn) -> None:
        self._metrics.turn(turn)
        stages = [{"name": name, "ms": round(ms, 1)} for name, ms in turn.stages]
        self._send({"type": "turn", "id": turn.number, "stages": stages, "total_ms": round(turn.total_ms, 1)})

    def _notice(self, level: str, code: str, text: str) -> None:
        self._send({"type": "notice", "level": level, "code": code, "text": text})

    def _send(self, message: dict[str, Any]) -> None:
        if self._room is not None:
            self._room.send(message)

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _MienAgent(Agent):
    """The persona, with the moment of the waterfall that only its LLM node sees."""

    def __init__(self, instructions: str, turns: TurnClock, before: llm.ChatContext) -> None:
        super().__init__(instructions=instructions, chat_ctx=before)
        self._turns = turns

    async def llm_node(
        self, chat_ctx: llm.ChatContext, tools: list[llm.Tool], model_settings: ModelSettings
    ) -> AsyncGenerator[llm.ChatChunk | str | FlushSentinel, None]:
        first = True
        async for chunk in Agent.default.llm_node(self, chat_ctx, tools, model_settings):
            if first:
                self._turns.mark("llm_first_token", _now())
                first = False
            yield chunk


def _make_session(models: Models, turn: TurnSettings) -> AgentSession[None]:
    """Everything that decides about turns is named, and is local: nothing calls a cloud that was not asked for."""
    return AgentSession(
        stt=models.stt or NOT_GIVEN,
        llm=models.llm,
        tts=models.tts,
        vad=models.vad,
        turn_handling={
            "turn_detection": models.turn_detection,
            "endpointing": {"min_delay": turn.min_endpointing_s, "max_delay": turn.max_endpointing_s},
            "interruption": {
                "mode": "vad",
                "min_duration": turn.min_interruption_s,
                "resume_false_interruption": True,
                "false_interruption_timeout": 1.0,
            },
            "preemptive_generation": {"enabled": True, "preemptive_tts": True},
        },
        use_tts_aligned_transcript=True,
        # After the fourth in a row the session would end. A part that fails is told of each time; whoever was not
        # understood may still write, and it may work again.
        conn_options=SessionConnectOptions(max_unrecoverable_errors=sys.maxsize),
        # Echo is cancelled by the browser, and its rest kept out before the session hears it (rooms/microphone.py).
        aec_warmup_duration=None,
        # What is still being recognized when the person has left is of no use.
        session_close_transcript_timeout=0.0,
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
