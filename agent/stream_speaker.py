"""What a stream speaks with: its program, inbox, voices and front ends, once they are loaded.

In: settings; what the playout tells, from its first tick on; lines. Out: speech as segments of that playout; states
and captions, as they change; the inbox's HTTP routes. Nothing of livekit-agents or aio-pika is imported before
`start`: a stream is on air before it can speak.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from agent.persona import Persona
from agent.settings import Settings, STTSettings
from agent.stream_lines import speak_lines
from avatar.playout import Finished, Playout, Started, TickReport

if TYPE_CHECKING:
    from aiohttp import web
    from prometheus_client import CollectorRegistry

    from agent.inbox.amqp import Amqp
    from agent.inbox.inbox import Inbox
    from agent.inbox.program import Program, State

logger = logging.getLogger(__name__)

FINISH_S = 8.0
"""How long what is being said may go on after SIGTERM."""
FULL_S = 0.2
"""How often it is looked whether there is room for the next line."""
Work = tuple[Coroutine[Any, Any, None], str]
"""A task's coroutine and its name."""


class Speaker:
    """One stream's, and the listener of its playout.

    Attributes:
        on_state: called with each new state and the id of the message that it is about.
        on_caption: called with a message's id, its text so far as the voice reaches it, and whether that is the end.
        voice: the one in use.
        routes: of the inbox (agent/inbox/http.py); none as long as it cannot speak.
    """

    def __init__(self, settings: Settings, persona: Persona) -> None:
        self.on_state: Callable[[State, str | None], None] = lambda state, message_id: None
        self.on_caption: Callable[[str, str, bool], None] = lambda message_id, text, final: None
        self.voice = "none yet"
        self.routes: list[web.RouteDef] = []
        self._settings = settings
        self._persona = persona
        self._program: Program | None = None
        self._inbox: Inbox | None = None
        self._amqp: Amqp | None = None
        self._voices = AsyncExitStack()

    async def start(self, playout: Playout, registry: CollectorRegistry, lines: int | None) -> list[Work]:
        """Load the voices, make the program.

        Args:
            lines: a file descriptor of which every line is said, unless it is a terminal.

        Returns:
            What has to run from now on.
        """
        from agent.inbox.amqp import Amqp
        from agent.inbox.amqp_address import Address
        from agent.inbox.http import queue_routes
        from agent.inbox.inbox import Inbox
        from agent.inbox.metrics import InboxMetrics
        from agent.inbox.program import Program
        from agent.inbox.voicing import Voicing
        from agent.models import Local, choose_models

        # Nobody is listened to.
        settings = self._settings.model_copy(update={"stt": STTSettings(provider="none")})
        local = Local(settings)
        self._voices.push_async_callback(local.aclose)
        await asyncio.to_thread(_warm, local)
        models = choose_models(settings, self._persona, consented=set(), local=local)
        self._voices.push_async_callback(models.aclose)
        models.notify(lambda code, text: logger.warning("%s: %s", code, text))
        self.voice = models.tts.voice
        inbox = Inbox()
        program = Program(inbox, Voicing(models.tts).speak)
        program.bind(playout)
        program.on_state = self.on_state
        program.on_caption = self.on_caption
        broker = Address.from_settings(settings.broker)
        if broker is not None:
            self._amqp = Amqp(inbox, broker, settings.broker.queue)
        InboxMetrics(program, registry, self._amqp)
        self.routes = queue_routes(program, self._amqp.status if self._amqp is not None else None)
        self._inbox, self._program = inbox, program
        if lines is not None:
            self._read(lines)
        return [(program.run(), "program"), *([(self._amqp.run(), "broker")] if self._amqp is not None else [])]

    def _read(self, lines: int) -> None:
        loop = asyncio.get_running_loop()

        def said(line: str) -> None:
            # The next line is read when this one has been taken: they stay in their order, and a pipe that holds a
            # book is read as fast as it is said. At the end of the stream the rest of it is not.
            with contextlib.suppress(CancelledError):
                asyncio.run_coroutine_threadsafe(self.say(line), loop).result()

        speak_lines(said, lines)

    async def say(self, line: str) -> None:
        """Take one line in, as a message of its own; waits while the inbox is full."""
        from agent.inbox.inbox import Handed, InboxFull
        from agent.inbox.messages import InvalidMessage, TextMessage
        from agent.inbox.reading import read

        assert self._inbox is not None, "start() comes first"
        try:
            message = await read(line.encode()) if line.startswith("{") else TextMessage(type="text", data=line)
        except InvalidMessage as error:
            logger.warning("a line was not taken: %s", error)
            return
        while True:
            try:
                self._inbox.put(message, Handed())
                return
            except InboxFull:
                await asyncio.sleep(FULL_S)

    # -- what the playout tells; there may be no program yet

    def on_tick(self, report: TickReport) -> None:
        if self._program is not None:
            self._program.on_tick(report)

    def on_started(self, event: Started) -> None:
        if self._program is not None:
            self._program.on_started(event)

    def on_finished(self, event: Finished) -> None:
        if self._program is not None:
            self._program.on_finished(event)

    # -- for whoever asks

    @property
    def talking(self) -> bool:
        return self._program is not None and self._program.state.value == "talking"

    def queue(self) -> Mapping[str, Any] | None:
        """What is going on, as JSON (docs/queue.md); None as long as it cannot speak."""
        return self._program.status() if self._program is not None else None

    def broker(self) -> Mapping[str, Any] | None:
        return self._amqp.status() if self._amqp is not None else None

    # -- the end

    async def finish(self) -> None:
        """Begin nothing new, and wait until the sentence on air has ended (bounded)."""
        if self._program is not None:
            await self._program.finish(FINISH_S)
        if self._amqp is not None:
            await self._amqp.flush()

    async def stop(self) -> None:
        """Be silent; after what runs was cancelled, before the playout is closed."""
        if self._program is not None:
            await self._program.aclose()

    async def aclose(self) -> None:
        """Let the voices go."""
        await self._voices.aclose()


def import_voices() -> None:
    """Import what `Speaker.start` needs; on the main thread, as livekit-agents' plugins insist."""
    import agent.inbox.amqp
    import agent.inbox.program
    import agent.inbox.voicing
    import agent.models  # noqa: F401


def _warm(local: Any) -> None:
    """Load now what would otherwise be loaded within the first message."""
    from agent.speech.espeak_worker import RATE_HZ
    from agent.speech.sentences import SentenceCutter
    from agent.speech.shaping import Shaper

    local.espeak.start()
    Shaper(RATE_HZ, lead_ms=0, tail_ms=0)
    SentenceCutter().push("Load the tokenizer now, please. Thank you.")
