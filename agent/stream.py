"""`mien stream`: on air from the first moment, at any number of RTMP servers, saying what comes in.

In: settings; messages, from the inbox's front ends and from standard input. Out: a live stream until SIGTERM. A still
face is on air before anything else is loaded; then come the moving face, the voices, and the program that speaks.
Whatever of these fails later, the clock and the sink go on.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NoReturn

from agent.face import Face, choose_face
from agent.persona import Persona, load_persona
from agent.settings import Settings, SettingsError, STTSettings
from agent.stream_face import LateFace, keep_still, kept_still, plain
from agent.stream_lines import speak_lines
from avatar.frames import FPS, MienError
from avatar.playout import Finished, Playout, Started, TickReport
from avatar.renderer import Renderer
from rooms.canvas import Canvas, Stage
from rooms.canvas_text import pages
from rooms.mp4 import Provenance
from rooms.rtmp import StreamSettings as SinkSettings
from rooms.rtmp import StreamSink
from rooms.rtmp_address import Address
from rooms.rtmp_recording import StreamRecording
from rooms.rtmp_watch import Viewer, mime

if TYPE_CHECKING:
    from aiohttp import web

    from agent.inbox.amqp import Amqp
    from agent.inbox.inbox import Inbox
    from agent.inbox.program import Program, State
    from agent.stream_metrics import StreamMetrics

logger = logging.getLogger(__name__)

FINISH_S = 8.0
"""How long what is being said may go on after SIGTERM."""
EASE_S = 0.3
STOP_S = 20.0
"""What still holds the process after this is cut."""
WATCH_S = 1.0
LOST_TICKS = 3 * FPS
"""A renderer that gave no picture for this long is replaced."""
REPLACE_APART_S = 20.0


def version() -> str:
    return importlib.metadata.version("mien")


def run(settings: Settings) -> NoReturn:
    """Stream until interrupted, then end the process.

    The stream's clock runs on a thread of its own: livekit-agents' plugins insist on being imported by the main thread,
    which takes it seconds.

    Raises:
        MienError: a setting cannot be met (an address that is none, a clip that is not there, a port in use, …).
    """
    stop = threading.Event()

    def on_signal(*_: object) -> None:
        """First signal: finish the sentence and close. Second: at once."""
        if stop.is_set():
            os._exit(130)
        deadline = threading.Timer(STOP_S, os._exit, (0,))
        deadline.daemon = True
        deadline.start()
        stop.set()
        streaming.interrupt()

    streaming = _Streaming(settings)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, on_signal)
    streaming.start()
    streaming.wait()
    # As in `mien talk`: what remains are threads of the native libraries, and taking the interpreter down around them
    # may end in a crash.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


class _Streaming:
    """The thread with the stream's loop; and what the main thread does for it meanwhile."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._asked: queue.SimpleQueue[Future[None] | None] = queue.SimpleQueue()
        self._stopping: Future[None] = Future()
        self._ended: Future[None] = Future()

    def start(self) -> None:
        threading.Thread(target=self._run, name="clock", daemon=True).start()

    def interrupt(self) -> None:
        self._stopping.set_result(None)

    def wait(self) -> None:
        """On the main thread: import what is asked for, until the stream has ended.

        Raises:
            MienError: what the stream ended with.
        """
        while (asked := self._asked.get()) is not None:
            try:
                _import_voices()
                asked.set_result(None)
            except BaseException as error:  # it belongs to whoever waits for it
                asked.set_exception(error)
        self._ended.result()

    def _run(self) -> None:
        try:
            asyncio.run(self._stream())
            self._ended.set_result(None)
        except BaseException as error:  # raised again by ``wait``, on the main thread
            self._ended.set_exception(error)
        finally:
            self._asked.put(None)

    async def _stream(self) -> None:
        stopping = asyncio.wrap_future(self._stopping)
        lines = sys.stdin.fileno() if sys.stdin is not None else None
        async with Stream(self._settings, load=self._load, lines=lines) as stream:
            print(f"Mien is on air; watch it at {stream.url}  (Ctrl-C ends it)", flush=True)
            await asyncio.wait([stopping, stream.broken], return_when=asyncio.FIRST_COMPLETED)
            if stream.broken.done():
                stream.broken.result()
            await stream.finish()

    async def _load(self) -> None:
        asked: Future[None] = Future()
        self._asked.put(asked)
        await asyncio.wrap_future(asked)


async def _load_here() -> None:
    """In a process whose main thread is the loop's, and which has nothing on air that would miss it."""
    _import_voices()


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
        self.url = ""
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._program: Program | None = None
        self._inbox: Inbox | None = None
        self._amqp: Amqp | None = None
        self._routes: list[web.RouteDef] = []
        self._metrics: StreamMetrics | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closers: list[Any] = []
        self._speaker = "none yet"
        self._replaced_at = float("-inf")

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
        self.playout = Playout(self._late, listener=self)
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
        if self._program is not None:
            await self._program.finish(FINISH_S)
        if self._amqp is not None:
            await self._amqp.flush()

    async def _close(self) -> None:
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks[1:], return_exceptions=True)
        if self._program is not None:
            await self._program.aclose()
        if self._tasks and not self._tasks[0].done():
            await asyncio.sleep(EASE_S)  # the mouth eases shut
        for task in self._tasks[:1]:
            task.cancel()
        await asyncio.gather(*self._tasks[:1], return_exceptions=True)
        self.playout.detach(self.sink)
        self.playout.close()
        await self.sink.aclose()
        for close in reversed(self._closers):
            await close()
        await self._late.aclose()

    # -- loading

    async def _prepare(self) -> None:
        """The moving face, then the voices, then the program."""
        renderer = await asyncio.to_thread(self._make_renderer)
        self._canvas.dissolve()
        await self._late.show(renderer).aclose()
        logger.info("renderer: %s (%s), after %.1f s", self._face.backend, self._face.why, self._running_s())
        await self._load()
        await self._start_program()
        logger.info("ready to speak after %.1f s", self._running_s())
        # What is loaded by now stays; see agent/talk.py.
        gc.freeze()

    def _paint(self) -> Renderer:
        """On a thread."""
        renderer = self._face.make(seed=os.getpid() & 0xFFFF)
        keep_still(self._face, renderer.still)
        return renderer

    async def _start_program(self) -> None:
        from agent.inbox.amqp import Amqp
        from agent.inbox.amqp_address import Address as Broker
        from agent.inbox.http import queue_routes
        from agent.inbox.inbox import Inbox
        from agent.inbox.metrics import InboxMetrics
        from agent.inbox.program import Program
        from agent.inbox.voicing import Voicing
        from agent.models import Local, choose_models

        # Nobody is listened to.
        settings = self._settings.model_copy(update={"stt": STTSettings(provider="none")})
        local = Local(settings)
        self._closers.append(local.aclose)
        await asyncio.to_thread(_warm, local)
        models = choose_models(settings, self._persona, consented=set(), local=local)
        self._closers.append(models.aclose)
        models.notify(lambda code, text: logger.warning("%s: %s", code, text))
        self._speaker = models.tts.voice
        inbox = Inbox()
        program = Program(inbox, Voicing(models.tts).speak)
        program.bind(self.playout)
        program.on_state = self._state_changed
        program.on_caption = self._captioned
        broker = Broker.from_settings(self._settings.broker)
        if broker is not None:
            self._amqp = Amqp(inbox, broker, self._settings.broker.queue)
        assert self._metrics is not None, "the server comes before the program"
        InboxMetrics(program, self._metrics.registry, self._amqp)
        self._routes = queue_routes(program, self._amqp.status if self._amqp is not None else None)
        self._inbox, self._program = inbox, program
        self._task(program.run(), "program")
        if self._amqp is not None:
            self._task(self._amqp.run(), "broker")
        if self._lines is not None:
            loop = asyncio.get_running_loop()

            def said(line: str) -> None:
                # The next line is read when this one has been taken: they stay in their order.
                asyncio.run_coroutine_threadsafe(self.say(line), loop).result()

            speak_lines(said, self._lines)

    async def say(self, line: str) -> None:
        """Take one line in, as a message of its own."""
        from agent.inbox.inbox import Handed, InboxFull
        from agent.inbox.messages import InvalidMessage, TextMessage
        from agent.inbox.reading import read

        assert self._inbox is not None, "the program is not there yet"
        try:
            message = await read(line.encode()) if line.startswith("{") else TextMessage(type="text", data=line)
            self._inbox.put(message, Handed())
        except (InboxFull, InvalidMessage) as error:
            logger.warning("a line was not taken: %s", error)

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
        """A sink that is gone ends the stream; a renderer that gives nothing any more is replaced."""
        fresh, since = self.playout.stats.fresh, self.playout.tick
        while True:
            await asyncio.sleep(WATCH_S)
            if self.playout.stats.sinks_lost:
                raise MienError("the stream's encoder failed again and again; the log says why. Start it anew")
            if self.playout.stats.fresh != fresh:
                fresh, since = self.playout.stats.fresh, self.playout.tick
            lost = self.playout.tick - since >= LOST_TICKS
            if lost and time.monotonic() - self._replaced_at > REPLACE_APART_S:
                await self._replace_renderer()
                since = self.playout.tick

    async def _replace_renderer(self) -> None:
        self._replaced_at = time.monotonic()
        logger.error("the renderer has given no picture for %d ticks: it is replaced", LOST_TICKS)
        try:
            renderer = await asyncio.to_thread(self._make_renderer)
        except MienError as error:
            logger.error("there is no new renderer: %s; the still picture stays", error)
            return
        self._canvas.dissolve()
        try:
            await self._late.show(renderer).aclose()
        except MienError as error:
            logger.warning("the old renderer did not close: %s", error)

    def _ticked(self, report: TickReport) -> None:
        if self._metrics is not None:
            self._metrics.tick(report)
        if self._program is not None:
            self._program.on_tick(report)

    def on_started(self, event: Started) -> None:
        if self._program is not None:
            self._program.on_started(event)

    def on_finished(self, event: Finished) -> None:
        if self._program is not None:
            self._program.on_finished(event)

    def _state_changed(self, state: State, message: str | None) -> None:
        # While speech is being prepared idle goes on; between two messages that follow each other it does not begin.
        if state.value in ("idle", "talking"):
            self._canvas.idle(state.value == "idle")
        if state.value == "idle":
            self._canvas.caption(None)

    def _captioned(self, message: str, text: str, final: bool) -> None:
        """The voice has come this far in a text; or nobody can say it, and it is shown in the voice's stead."""
        spoken = self._program is not None and self._program.state.value == "talking"
        if self._settings.stream.captions or not spoken:
            shown = pages(text, self._stage.width, self._stage.height)
            self._canvas.caption(shown[-1] if shown else None)

    # -- the server

    async def _open_server(self) -> None:
        app = await asyncio.to_thread(self._app)
        from rooms.http import serve

        server = self._settings.server
        tls = (server.tls_cert, server.tls_key) if server.tls_cert and server.tls_key else None
        runner, self.url = await serve(app, server.host, server.port, tls=tls)
        self._closers.append(runner.cleanup)

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
            StreamService(self.health, metrics.exposition, self._live, lambda: self._routes),
            Guard(server.loopback, token, server.allowed_origins),
        )

    async def _live(self) -> tuple[str, AsyncGenerator[bytes]] | None:
        """The stream for one viewer."""
        viewer = Viewer(self._provenance)
        self.sink.add(viewer)
        self.sink.want_keyframe()
        form = await viewer.opened()
        if form is None:
            self.sink.remove(viewer)
            return None

        async def fragments() -> AsyncGenerator[bytes]:
            try:
                async for content in viewer.read():
                    yield content
            finally:
                viewer.close()
                self.sink.remove(viewer)

        return mime(form), fragments()

    def health(self) -> dict[str, Any]:
        """For `/health`: ``starting`` until it can speak, ``degraded`` while a target, the broker or the
        recording is not well."""
        stream, status = self._settings.stream, self.sink.status()
        targets = [
            {"target": each.address, "state": each.state, "problem": each.problem, "since_s": round(each.since_s, 1)}
            | {"connections": each.connections, "failures": each.failures, "behind_ms": round(each.behind_ms)}
            for each in status.targets
        ]
        recording = self._recording.status() if self._recording is not None else None
        failing = self._amqp is not None and not self._amqp.connected
        failing = (
            failing
            or any(each.state != "live" for each in status.targets)
            or (recording is not None and recording.state == "failed")
        )
        well = "starting" if self._program is None else "degraded" if failing else "ok"
        told: dict[str, Any] = {
            "status": well,
            "version": version(),
            "running_s": round(self._running_s(), 1),
            "avatar_backend": self._late.name,
            "voice": self._speaker,
            "state": "idle",
            "message": None,
            "stream": {
                "encoder": status.encoder,
                "resolution": stream.resolution,
                "fps": stream.fps,
                "ticks": status.ticks,
                "pictures_dropped": status.pictures_dropped,
                "compose_ms": round(status.compose_ms, 2),
                "encode_ms": round(status.encode_ms, 2),
            },
            "targets": targets,
            "recording": None
            if recording is None
            else {"state": recording.state, "file": recording.file, "problem": recording.problem},
        }
        if self._program is not None:
            queue = self._program.status()
            told |= {"state": queue["state"], "message": queue["message"]}
            told["broker"] = self._amqp.status() if self._amqp is not None else None
            told["queue"] = {name: queue[name] for name in ("running", "paused", "backlog", "settled", "duplicates")}
        return told

    def _running_s(self) -> float:
        return time.monotonic() - self._began


def _fitting(settings: Settings) -> Any:
    """The avatar as high as the canvas, unless a size was asked for: nothing then has to be scaled."""
    avatar = settings.avatar
    if "size_px" in avatar.model_fields_set:
        return avatar
    side = min(settings.stream.width, settings.stream.height)
    return avatar.model_copy(update={"size_px": max(256, min(1024, side - side % 16))})


def _import_voices() -> None:
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
