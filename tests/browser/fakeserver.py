"""A server that speaks docs/protocol.md over real WebRTC, with scripted behaviour, to test the page against.

In: the page's HTTP calls and messages. Out: a drawn moving face, a tone while it "speaks", captions that answer what
was typed. It runs on its own thread and loop; tests steer it through plain methods (`drop_peers`, `stop`, …) and read
what the page said from `received`. It knows nothing of the agent, the playout or the renderers.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import aioice.ice
import cv2
from aiohttp import web
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from tests.browser.fakemedia import FaceTrack, ToneTrack, drawn_reel

WEB = Path(__file__).resolve().parents[2] / "web"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""As strict as the page allows: whatever needs more fails these tests."""


class Talk:
    """One conversation, across all of its connections."""

    def __init__(self, server: FakeServer) -> None:
        self.session = secrets.token_hex(8)
        self.secret = secrets.token_hex(16)
        self.speaking = False
        self.voice = server.voices[0]["id"]
        self.history: list[dict[str, str]] = []
        self.parts = [dict(part) for part in server.parts]
        self.offers = [dict(offer) for offer in server.offers]
        self.connected_before = False
        self.microphone_packets = 0
        self._server = server
        self._channel: Any = None
        self._answer: asyncio.Task[None] | None = None
        self._said = 0

    def send(self, type_: str, **fields: Any) -> None:
        if self._channel is not None and self._channel.readyState == "open":
            self._channel.send(json.dumps({"type": type_, **fields}))

    def attach(self, channel: Any) -> None:
        self._channel = channel
        channel.on("message", self._on_message)
        self._hello()
        if not self.connected_before:
            self.connected_before = True
            self._say(self._server.greeting)
        else:
            self.send("state", state="listening")

    def _hello(self) -> None:
        self.send(
            "hello",
            session=self.session,
            version="0.0-test",
            persona={"name": "Mien"},
            parts=self.parts,
            voices=self._server.voices,
            voice=self.voice,
            offers=self.offers,
            history=self.history,
        )

    def announce(self) -> None:
        """Say hello again, as after a change."""
        self._hello()

    def _on_message(self, data: str) -> None:
        message = json.loads(data)
        if message["type"] == "ping":
            if not self._server.deaf:
                self.send("pong", t=message["t"])
            return
        self._server.received.append(message)
        match message["type"]:
            case "chat":
                self.history.append({"role": "user", "text": message["text"]})
                self.send("caption", role="user", id=message["id"], text=message["text"], final=True)
                self._say(f"You wrote: {message['text']}", thinking_s=self._server.thinking_s)
            case "interrupt":
                if self._answer is not None:
                    self._answer.cancel()
            case "voice":
                self.voice = message["voice"]
                self._hello()
            case "consent":
                self._later(self._download(message["offer"], message["granted"]))
            case "leave":
                self.send("bye", reason="left", text="Goodbye.")
                self._server.talks.pop(self.session, None)

    def _say(self, text: str, thinking_s: float = 0.0) -> None:
        if self._answer is not None:
            self._answer.cancel()
        self._answer = self._later(self._speak(text, thinking_s))

    async def _speak(self, text: str, thinking_s: float) -> None:
        self._said += 1
        id_ = f"said-{self._said}"
        heard = ""
        try:
            if thinking_s:
                self.send("state", state="thinking")
                await asyncio.sleep(thinking_s)
            self.send("state", state="speaking")
            self.speaking = True
            for word in text.split():
                heard = f"{heard} {word}".strip()
                self.send("caption", role="assistant", id=id_, text=heard, final=False)
                await asyncio.sleep(self._server.word_s)
            self.send("caption", role="assistant", id=id_, text=heard, final=True)
        except asyncio.CancelledError:
            self.send("caption", role="assistant", id=id_, text=heard, final=True, interrupted=True)
            raise
        finally:
            self.speaking = False
            self.history.append({"role": "assistant", "text": heard})
            self.send("state", state="listening")
        stages = {
            "transcript": 212,
            "llm_first_token": 184,
            "tts_first_sound": 96,
            "picture_released": 61,
            "packet_sent": 14,
        }
        self.send(
            "turn",
            id=id_,
            stages=[{"name": name, "ms": ms} for name, ms in stages.items()],
            total_ms=sum(stages.values()),
        )

    async def _download(self, offer: str, granted: bool) -> None:
        if granted:
            for done in range(1, 6):
                self.send("progress", offer=offer, done=done * 29_000_000, total=145_000_000)
                await asyncio.sleep(self._server.download_step_s)
            self.parts = [
                part | {"name": "faster-whisper base"} if part["part"] == "stt" else part for part in self.parts
            ]
        self.offers = [other for other in self.offers if other["id"] != offer]
        self._hello()

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)
        return task

    async def hear(self, track: MediaStreamTrack) -> None:
        while True:
            await track.recv()
            self.microphone_packets += 1


class FakeServer:
    """Start with ``with``; a test may set any public attribute before or while it runs."""

    def __init__(self, size_px: int = 256) -> None:
        self.port = 0
        self.received: list[dict[str, Any]] = []
        self.offers_seen: list[dict[str, Any]] = []
        self.talks: dict[str, Talk] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.greeting = "Hello! I am Mien."
        self.word_s = 0.04
        self.thinking_s = 0.25
        self.download_step_s = 0.12
        self.token: str | None = None
        self.full_for = 0
        """This many offers are refused with 503 first."""
        self.retry_after_s = 1
        self.unreachable = False
        """Answer with candidates that lead nowhere."""
        self.forget_sessions = False
        self.deaf = False
        """Answer no pings."""
        self.allow_origin: str | None = None
        self.parts: list[dict[str, Any]] = [
            {"part": "renderer", "name": "puppet", "why": "no GPU was found", "online": False},
            {"part": "llm", "name": "built-in", "why": "no OPENAI_API_KEY or OPENAI_BASE_URL is set", "online": False},
            {"part": "tts", "name": "espeak-ng", "why": "stays on this machine", "online": False},
            {"part": "stt", "name": "pocketsphinx", "why": "no better recognizer is installed", "online": False},
        ]
        self.voices: list[dict[str, Any]] = [
            {"id": "espeak:f3", "provider": "espeak-ng", "name": "Female 3", "language": "en-US", "online": False},
            {"id": "espeak:m1", "provider": "espeak-ng", "name": "Male 1", "language": "en-US", "online": False},
            {"id": "edge:ava", "provider": "edge-tts", "name": "Ava", "language": "en-US", "online": True},
            {"id": "edge:sonia", "provider": "edge-tts", "name": "Sonia", "language": "en-GB", "online": True},
        ]
        self.offers: list[dict[str, Any]] = []
        self._reel = drawn_reel(size_px)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake server", daemon=True)
        self._runner: web.AppRunner | None = None
        self._peers: set[RTCPeerConnection] = set()

    # What tests call, from their own thread.

    def __enter__(self) -> FakeServer:
        # aioice leaves the loopback address out; these tests are to meet on it and nowhere else.
        self._addresses = aioice.ice.get_host_addresses
        aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
        self._thread.start()
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        aioice.ice.get_host_addresses = self._addresses

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._do(self._start())

    def stop(self) -> None:
        """As a killed server: every connection ends, nothing answers."""
        self._do(self._stop())

    def drop_peers(self) -> None:
        """Close all peer connections and keep the conversations."""
        self._do(self._drop_peers())

    def freeze(self, seconds: float) -> None:
        """Say nothing at all for a while: no answer, no media, no keep-alive. Returns at once."""
        self._loop.call_soon_threadsafe(time.sleep, seconds)

    def tell(self, type_: str, **fields: Any) -> None:
        """Send one message to every page."""

        async def send() -> None:
            for talk in self.talks.values():
                talk.send(type_, **fields)

        self._do(send())

    def heard(self, type_: str) -> list[dict[str, Any]]:
        return [message for message in list(self.received) if message["type"] == type_]

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        future.result(10)

    # On the server's own loop.

    async def _start(self) -> None:
        app = web.Application(client_max_size=256 * 1024, middlewares=[self._around])
        app.router.add_get("/", self._page)
        app.router.add_static("/static", WEB)
        app.router.add_get("/api/config", self._config)
        app.router.add_get("/api/poster.png", self._poster)
        app.router.add_post("/api/offer", self._offer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        await self._drop_peers()
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    async def _drop_peers(self) -> None:
        await asyncio.gather(*(peer.close() for peer in self._peers))
        self._peers.clear()

    @web.middleware
    async def _around(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        known = self.token is None or request.headers.get("Authorization") == f"Bearer {self.token}"
        if request.path.startswith("/api/") and request.method != "OPTIONS" and not known:
            return _refused(401, "unauthorized", "This server asks for an access token.")
        response: web.StreamResponse = web.Response() if request.method == "OPTIONS" else await handler(request)
        response.headers["Content-Security-Policy"] = CSP
        if self.allow_origin is not None:
            response.headers["Access-Control-Allow-Origin"] = self.allow_origin
            response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
        return response

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(WEB / "index.html")

    async def _config(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "mode": "embedded",
                "persona": {"name": "Mien", "language": "en", "greeting": self.greeting},
                "ice_servers": [],
                "auth": self.token is not None,
                "version": "0.0-test",
                "disclosure": "You are talking with an AI avatar. Its face is drawn and its voice is synthetic.",
            }
        )

    async def _poster(self, request: web.Request) -> web.Response:
        _, png = cv2.imencode(".png", self._reel.still)
        return web.Response(body=png.tobytes(), content_type="image/png")

    async def _offer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.offers_seen.append(body)
        if self.full_for > 0:
            self.full_for -= 1
            response = _refused(503, "server_full", "All 4 places are taken right now.")
            response.headers["Retry-After"] = str(self.retry_after_s)
            return response
        talk, resumed = Talk(self), False
        if "session" in body:
            known = None if self.forget_sessions else self.talks.get(body["session"])
            if known is None or known.secret != body.get("secret"):
                return _refused(410, "session_gone", "That conversation is over.")
            talk, resumed = known, True
        self.talks[talk.session] = talk
        sdp = body["sdp"]
        if self.unreachable:  # neither side learns where the other is
            sdp = "".join(line for line in sdp.splitlines(keepends=True) if not line.startswith("a=candidate:"))
        answer = await self._connect(talk, sdp)
        if self.unreachable:
            answer = answer.replace(f" {_port_of(answer)} typ host", " 9 typ host")  # where nobody listens
        return web.json_response(
            {"sdp": answer, "type": "answer", "session": talk.session, "secret": talk.secret, "resumed": resumed}
        )

    async def _connect(self, talk: Talk, sdp: str) -> str:
        peer = RTCPeerConnection()
        self._peers.add(peer)

        def on_channel(channel: Any) -> None:
            talk.attach(channel)

        def on_track(track: MediaStreamTrack) -> None:
            task = asyncio.get_running_loop().create_task(_until_ended(talk.hear(track)))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

        peer.on("datachannel", on_channel)
        peer.on("track", on_track)
        peer.addTrack(ToneTrack(lambda: talk.speaking))
        peer.addTrack(FaceTrack(lambda: talk.speaking, self._reel))
        await peer.setRemoteDescription(RTCSessionDescription(sdp=sdp, type="offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        return str(peer.localDescription.sdp)


async def _until_ended(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except MediaStreamError:
        return  # the page left


def _port_of(sdp: str) -> str:
    line = next(line for line in sdp.splitlines() if line.startswith("a=candidate:"))
    return line.split()[5]


def _refused(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


if __name__ == "__main__":
    with FakeServer(size_px=512) as server:
        print(server.url, flush=True)
        threading.Event().wait()
