"""`mien talk`: the page, the conversations behind it, and an end to both that takes at most two seconds.

In: settings. Out: a web server until Ctrl-C or SIGTERM. Everything that loads slowly is loaded once, for all
conversations, while the page is already served.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import logging
import os
import signal
import sys
import threading
import webbrowser
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, NoReturn

from agent.conversation import Conversation
from agent.face import Face, choose_face, paint_ahead, png
from agent.lobby import Lobby
from agent.loop import new_event_loop, switch_soon
from agent.metrics import Metrics
from agent.models import Local, Models, choose_models
from agent.persona import Persona, load_persona
from agent.settings import Settings
from avatar.frames import Picture
from avatar.timeslice import short_slices
from rooms.http import Guard, Service, make_app, serve
from rooms.peer import offer_media_on

logger = logging.getLogger(__name__)

STOP_S = 1.9
DISCLOSURE = "You are talking to an AI avatar."


def version() -> str:
    return importlib.metadata.version("mien")


def run(
    settings: Settings,
    *,
    open_browser: bool,
    still: Future[Picture] | None = None,
    conversation: type[Conversation] = Conversation,
) -> NoReturn:
    """Serve until interrupted, then end the process.

    Args:
        still: the face at rest, if it is being painted already.
        conversation: the kind of conversation to hold; an observer passes its own.

    Raises:
        MienError: a setting cannot be met (an address in use, a persona that is not there, …).
    """
    switch_soon()
    short_slices()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_run(settings, open_browser, still, conversation))
    # Everything is closed. What remains are threads of the native libraries; taking the interpreter down around them
    # ends in `terminate called` one time in three.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


async def _run(
    settings: Settings,
    open_browser: bool,
    still: Future[Picture] | None,
    conversation: type[Conversation],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(*_: object) -> None:
        """First signal: close in order, and whatever still holds the interpreter after that is cut. Second: at once."""
        if stop.is_set():
            os._exit(130)
        deadline = threading.Timer(STOP_S, os._exit, (0,))
        deadline.daemon = True
        deadline.start()
        loop.call_soon_threadsafe(stop.set)

    # Not the loop's own handlers: they would wait for whatever holds the loop, such as imports while warming up.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, on_signal)
    async with Talk(settings, still=still, conversation=conversation) as talk:
        print(f"Mien is at {talk.url}  (Ctrl-C ends it)", flush=True)
        for part in talk.parts:
            logger.info("%s: %s (%s)", part["part"], part["name"], part["why"])
        if open_browser:
            threading.Thread(target=webbrowser.open, args=(talk.url,), daemon=True).start()
        await stop.wait()


class Talk:
    """The running server; an async context manager."""

    def __init__(
        self,
        settings: Settings,
        *,
        still: Future[Picture] | None = None,
        conversation: type[Conversation] = Conversation,
    ) -> None:
        self.url = ""
        self._kind = conversation
        self._settings = settings
        self._persona: Persona = load_persona(settings.avatar.persona)
        self._face: Face = choose_face(settings.avatar, self._persona)
        self.metrics = Metrics()
        self.parts: list[dict[str, Any]] = []
        """What conversations use, and why, as `hello` lists it."""
        self._local = Local(settings)
        self._lobby = Lobby(
            self._conversation,
            max_sessions=settings.server.max_sessions,
            ice_servers=settings.server.ice_servers,
            metrics=self.metrics,
        )
        self._still = still or paint_ahead(self._face)
        self._poster = b""
        self._warm: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Talk:
        server = self._settings.server
        offer_media_on(server.ice_addresses)
        self._poster = png(await asyncio.wrap_future(self._still))
        tls = (server.tls_cert, server.tls_key) if server.tls_cert and server.tls_key else None
        self._runner, self.url = await serve(self._app(), server.host, server.port, tls=tls)
        self._warm = asyncio.create_task(self._prewarm(), name="prewarm")
        models = self._models({})
        self.parts = [self._face_part(), *models.describe()["parts"]]
        await models.aclose()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._warm is not None:
            self._warm.cancel()
        await self._lobby.aclose()
        await self._runner.cleanup()
        await self._local.aclose()

    async def _prewarm(self) -> None:
        await asyncio.to_thread(self._local.prewarm)
        self._face = await asyncio.to_thread(self._face.warm)
        # What is loaded by now stays. Unless it is taken out of its sight, the garbage collector walks through it again
        # and again, and each time every conversation stands still for 100 ms and more.
        gc.freeze()

    def _app(self) -> Any:
        server = self._settings.server
        service = Service(
            config=self._config,
            offer=self._lobby.offer,
            health=self._health,
            metrics=self.metrics.exposition,
            poster=lambda: self._poster,
        )
        token = server.token.get_secret_value() if server.token is not None else None
        return make_app(service, Guard(server.loopback, token, server.allowed_origins))

    async def _conversation(self, session: str, browser: Mapping[str, Any]) -> Conversation:
        if self._warm is not None:
            await self._warm
        renderer = await asyncio.to_thread(self._face.make, hash(session) & 0xFFFF)
        return self._kind(
            persona=self._persona,
            models=self._models(browser),
            renderer=renderer,
            turn=self._settings.turn,
            metrics=self.metrics,
            face=self._face_part(),
            about={"session": session, "version": version()},
        )

    def _models(self, browser: Mapping[str, Any]) -> Models:
        timezone = browser.get("timezone")
        return choose_models(
            self._settings,
            self._persona,
            consented=set(),
            local=self._local,
            timezone=timezone if isinstance(timezone, str) else None,
        )

    def _face_part(self) -> dict[str, Any]:
        return {"part": "renderer", "name": self._face.backend, "why": self._face.why, "online": False}

    def _config(self, authorized: bool) -> dict[str, Any]:
        persona = self._persona
        return {
            "mode": "embedded",
            "persona": {"name": persona.name, "language": persona.language, "greeting": persona.greeting},
            "ice_servers": list(self._settings.server.ice_servers) if authorized else [],
            "auth": self._settings.server.token is not None,
            "version": version(),
            "disclosure": DISCLOSURE,
        }

    def _health(self) -> dict[str, Any]:
        warm = self._warm is not None and self._warm.done()
        return {
            "status": "ok" if warm else "starting",
            "version": version(),
            "device": self._face.device(),
            "avatar_backend": self._face.backend,
            "models": {part["part"]: part["name"] for part in self.parts},
            "sessions": {"open": self._lobby.sessions, "limit": self._settings.server.max_sessions},
        }
