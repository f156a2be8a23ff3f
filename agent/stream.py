"""A stream: on air from the first moment, at any number of RTMP servers, saying what comes in.

In: settings; messages, from the inbox's front ends and from standard input. Out: a live stream until it is closed. A
still face is on air before anything else is loaded; then come the moving face, the voices, and the program that
speaks. Whatever of these fails later, the clock and the sink go on.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from agent.face import Face, choose_face
from agent.persona import Persona, load_persona
from agent.settings import Settings, SettingsError
from agent.stream_face import LateFace, keep_still, kept_still, plain
from agent.stream_health import health
from agent.stream_renewal import Renewal
from agent.stream_speaker import Speaker, import_voices
from avatar.frames import MienError
from avatar.playout import Playout, TickReport
from avatar.renderer import Renderer
from rooms.canvas import Canvas, Stage
from rooms.canvas_text import Pager
from rooms.mp4 import Provenance
from rooms.rtmp import StreamSettings as SinkSettings
from rooms.rtmp import StreamSink
from rooms.rtmp_address import Address
from rooms.rtmp_recording import StreamRecording
from rooms.rtmp_watch import watch

if TYPE_CHECKING:
    from aiohttp import web

    from agent.inbox.program import State
    from agent.stream_metrics import StreamMetrics

logger = logging.getLogger(__name__)

EASE_S = 0.3
WATCH_S = 1.0


def version() -> str:
    return importlib.metadata.version("mien")


async def _load_here() -> None:
    """In a process whose main thread is the loop's, and which has nothing on air that would miss it."""
    import_voices()


class Stream:
    """The running stream; an async context manager, on air once it is entered.

    Args:
        load: imports the voices, on the main thread.
        make_renderer: draws in place of the settings' face; called on a thread, again whenever one is lost.
        lines: a file descriptor of which every line is said, unless it is a terminal.

    Attributes:
        url: of its page.
        broken: done when it cannot go on; its exception says why.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        load: Callable[[], Awaitable[None]] = _load_here,
        make_renderer: Callable[[], Renderer] | None = None,
        lines: int | None = None,
    ) -> None:
        stream = settings.stream
        if not stream.urls:
            raise SettingsError("where to? Give --rtmp rtmp://host/app/key, or set RTMP_URL")
        self._settings = settings
        self._load = load
        self._lines = lines
        self._make_renderer = make_renderer or self._paint
        self._began = time.monotonic()
        self._persona: Persona = load_persona(settings.avatar.persona)
        self._face: Face = choose_face(_fitting(settings), self._persona)
        if settings.broker.configured:
            from agent.inbox.amqp_address import Address as Broker

            Broker.from_settings(settings.broker)  # one that is none is told now, and not once it is on air
        self._targets = tuple(Address.parse(url.get_secret_value()) for url in stream.urls)
        self._provenance = Provenance(version(), self._persona.name, self._face.backend)
        self._stage = Stage(
            stream.width,
            stream.height,
            background=stream.background,
            clip=stream.idle_clip,
            clip_loop=stream.idle_clip_loop,
            label=stream.label,
        )
        self._pager = Pager(stream.width, stream.height)
        self.url = ""
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._speaker = Speaker(settings, self._persona)
        self._speaker.on_state = self._state_changed
        self._speaker.on_caption = self._captioned
        self._metrics: StreamMetrics | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._server: web.AppRunner | None = None

    async def __aenter__(self) -> Stream:
        # 1. On air: nothing before this loads what can be loaded later.
        stream = self._settings.stream
        still = await asyncio.to_thread(kept_still, self._face)
        canvas = Canvas(self._stage)
        recording = None
        if stream.record is not None:
            recording = StreamRecording(stream.record, self._provenance, keep_s=stream.keep_h * 3600)
        self._recording = recording
        self._late = LateFace(still or plain(self._face.settings.size_px))
        self._canvas = canvas
        self.playout = Playout(self._late, listener=self._speaker)
        self.sink = StreamSink(
            canvas,
            stream.width,
            stream.height,
            SinkSettings(
                self._targets,
                stream.fps,
                stream.bitrate_kbps * 1000,
                stream.encoder,
                f"Mien {version()} (AI-generated)",
            ),
            outlets=[recording] if recording is not None else [],
        )
        self._renewal = Renewal(
            self._late, self.playout, lambda: asyncio.to_thread(self._make_renderer), canvas.dissolve
        )
        self.playout.attach(self.sink, primary=True)
        self.playout.on_tick = self._ticked
        self._task(self.playout.run(), "playout")
        await asyncio.sleep(0)
        # 2. Everything else, while it is on air.
        try:
            await self._open_server()
        except BaseException:
            await self._close()
            raise
        self._task(self._prepare(), "prepare")
        self._task(self._watch(), "watch")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def finish(self) -> None:
        """Begin nothing new, and wait until the sentence on air has ended (bounded)."""
        await self._speaker.finish()

    async def say(self, line: str) -> None:
        """Take one line in, as a message of its own; once it can speak."""
        await self._speaker.say(line)

    async def _close(self) -> None:
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks[1:], return_exceptions=True)
        await self._speaker.stop()
        if self._tasks and not self._tasks[0].done():
            await asyncio.sleep(EASE_S)  # the mouth eases shut
        for task in self._tasks[:1]:
            task.cancel()
        await asyncio.gather(*self._tasks[:1], return_exceptions=True)
        self.playout.detach(self.sink)
        self.playout.close()
        await self.sink.aclose()
        await self._speaker.aclose()
        if self._server is not None:
            await self._server.cleanup()
        await self._late.aclose()

    # -- loading

    async def _prepare(self) -> None:
        """The moving face, then the voices, then the program."""
        await self._renewal.begin()
        if self._renewal.problem is None:
            logger.info("renderer: %s (%s), after %.1f s", self._face.backend, self._face.why, self._running_s())
        self._task(self._renewal.keep(), "renewal")
        await self._load()
        assert self._metrics is not None, "the server comes before the program"
        for work, name in await self._speaker.start(self.playout, self._metrics.registry, self._lines):
            self._task(work, name)
        logger.info("ready to speak after %.1f s", self._running_s())
        # What is loaded by now stays; see agent/talk.py.
        gc.freeze()

    def _paint(self) -> Renderer:
        """On a thread."""
        renderer = self._face.make(seed=os.getpid() & 0xFFFF)
        keep_still(self._face, renderer.still)
        return renderer

    # -- while it runs

    def _task(self, work: Any, name: str) -> None:
        """A task without which the stream cannot go on: its failure is the stream's."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.broken.done():
            self.broken.set_exception(error)

    async def _watch(self) -> None:
        """A sink that is gone ends the stream."""
        while True:
            await asyncio.sleep(WATCH_S)
            if self.playout.stats.sinks_lost:
                raise MienError("the stream's encoder failed again and again; the log says why. Start it anew")

    def _ticked(self, report: TickReport) -> None:
        if self._metrics is not None:
            self._metrics.tick(report)
        self._speaker.on_tick(report)

    def _state_changed(self, state: State, message: str | None) -> None:
        # While speech is being prepared idle goes on; between two messages that follow each other it does not begin.
        if state.value in ("idle", "talking"):
            self._canvas.idle(state.value == "idle")
        if state.value == "idle":
            self._canvas.caption(None)

    def _captioned(self, message: str, text: str, final: bool) -> None:
        """The voice has come this far in a text; or nobody can say it, and it is shown in the voice's stead."""
        if self._settings.stream.captions or not self._speaker.talking:
            self._canvas.caption(self._pager.page(message, text))

    # -- the server

    async def _open_server(self) -> None:
        app = await asyncio.to_thread(self._app)
        from rooms.http import serve

        server = self._settings.server
        tls = (server.tls_cert, server.tls_key) if server.tls_cert and server.tls_key else None
        self._server, self.url = await serve(app, server.host, server.port, tls=tls)

    def _app(self) -> web.Application:
        """On a thread: what it imports takes a while."""
        from agent.stream_http import StreamService, make_stream_app
        from agent.stream_metrics import StreamMetrics
        from rooms.http import Guard

        recording = self._recording
        self._metrics = metrics = StreamMetrics(
            self.sink.status, lambda: recording.status() if recording is not None else None
        )
        server = self._settings.server
        token = server.token.get_secret_value() if server.token is not None else None
        return make_stream_app(
            StreamService(
                self.health,
                metrics.exposition,
                lambda: watch(self.sink, self._provenance),
                lambda: self._speaker.routes,
            ),
            Guard(server.loopback, token, server.allowed_origins),
        )

    def health(self) -> dict[str, Any]:
        """For `/health`."""
        return {
            "version": version(),
            "running_s": round(self._running_s(), 1),
            "avatar_backend": self._late.name,
            "voice": self._speaker.voice,
            **health(
                self._settings.stream,
                self.sink.status(),
                self._recording.status() if self._recording is not None else None,
                face=self._renewal.problem,
                queue=self._speaker.queue(),
                broker=self._speaker.broker(),
            ),
        }

    def _running_s(self) -> float:
        return time.monotonic() - self._began


def _fitting(settings: Settings) -> Any:
    """The avatar as high as the canvas, unless a size was asked for: nothing then has to be scaled."""
    avatar = settings.avatar
    if "size_px" in avatar.model_fields_set:
        return avatar
    side = min(settings.stream.width, settings.stream.height)
    return avatar.model_copy(update={"size_px": max(256, min(1024, side - side % 16))})
