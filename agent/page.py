"""`mien page`: the page for conversations in LiveKit rooms, and the tokens that let people into them.

In: settings. Out: a web server until Ctrl-C or SIGTERM. The conversations are held by `mien agent`; nothing is heard
here, and nothing drawn but the poster.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import signal
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from agent.face import choose_face, paint_ahead, png
from agent.metrics import Metrics
from agent.persona import Persona, load_persona
from agent.settings import Settings
from agent.tokens import Tokens
from rooms.http import Guard, Service, make_app, serve

logger = logging.getLogger(__name__)

DISCLOSURE = "You are talking to an AI avatar."


def run(settings: Settings) -> None:
    """Serve until interrupted.

    Raises:
        MienError: LiveKit is not configured, an address is in use, a persona is not there, …
    """
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    persona = load_persona(settings.avatar.persona)
    still = paint_ahead(choose_face(settings.avatar, persona))
    poster = png(await asyncio.wrap_future(still))
    server = settings.server
    tls = (server.tls_cert, server.tls_key) if server.tls_cert and server.tls_key else None
    runner, url = await serve(page_app(settings, persona, poster), server.host, server.port, tls=tls)
    try:
        print(f"Mien's page is at {url}  (Ctrl-C ends it)", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()


def page_app(settings: Settings, persona: Persona, poster: bytes) -> web.Application:
    """The application, without a server.

    Raises:
        SettingsError: LiveKit is not configured.
    """
    tokens = Tokens(settings.livekit, [settings.livekit.agent_name])
    metrics = Metrics()
    version = importlib.metadata.version("mien")

    def config(authorized: bool) -> dict[str, Any]:
        return {
            "mode": "livekit",
            "agent": settings.livekit.agent_name,
            "persona": {"name": persona.name, "language": persona.language, "greeting": persona.greeting},
            "ice_servers": [],
            "auth": settings.server.token is not None,
            "version": version,
            "disclosure": DISCLOSURE,
        }

    service = Service(
        config=config,
        offer=None,
        health=lambda: {"status": "ok", "version": version, "livekit": tokens.url},
        metrics=metrics.exposition,
        poster=lambda: poster,
        token=tokens.issue,
        connects_to=_origins(tokens.url),
    )
    token = settings.server.token.get_secret_value() if settings.server.token is not None else None
    return make_app(service, Guard(settings.server.loopback, token, settings.server.allowed_origins))


def _origins(url: str) -> tuple[str, str]:
    """LiveKit's client speaks both to the server: a websocket, and http to find out why that failed."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}", f"{parts.scheme.replace('ws', 'http')}://{parts.netloc}"
