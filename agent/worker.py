"""`mien agent`: a worker of a LiveKit server. It registers, takes the rooms that call for it, and ends in peace.

In: settings. Out: conversations, all in this process, each on a thread and an event loop of its own (agent/job.py),
until SIGTERM. Then running ones may go on for a while; whatever hangs after that is cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import math
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

import aiohttp
import prometheus_client
from livekit import api
from livekit.agents import AgentServer, JobExecutorType, JobRequest
from livekit.agents.utils.hw import get_cpu_monitor

from agent.capacity import Capacity
from agent.conversation import Conversation
from agent.face import choose_face
from agent.job import Jobs
from agent.metrics import Metrics
from agent.models import Local
from agent.persona import load_persona
from agent.settings import Settings
from avatar.frames import MienError

logger = logging.getLogger(__name__)

WARM_THREADS = 2
"""Threads that wait for a conversation, so that it begins at once."""
RETRIES = 100_000
"""How often the server is called again, 10 s apart: for as long as this process lives."""
END_S = 6.0
"""How long conversations that are ended may take."""
CUT_S = 4.0
"""How long everything else may take after that."""
CHECK_S = 5.0
_M_ARENA_MAX = -8
"""Of glibc's malloc.h."""


class LiveKitError(MienError):
    """The LiveKit server does not have us: why, and what to do."""


def run(settings: Settings, *, dev: bool, conversation: type[Conversation] = Conversation) -> NoReturn:
    """Serve until SIGTERM or Ctrl-C, then end the process.

    Args:
        dev: end at once when told to, and serve health on any free port.
        conversation: the kind of conversation to hold; an observer passes its own.

    Raises:
        MienError: a setting cannot be met, or the server refuses the key.
    """
    _few_arenas()
    asyncio.run(_run(settings, dev, conversation))
    # Everything is closed. What remains are threads of native libraries, and of conversations that hang.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def _few_arenas() -> None:
    """Have glibc share two heaps between all threads.

    By default each thread gets one of its own, and what a conversation freed there stays with it: the process grew by
    5 MB with every conversation (measured over 40); with two heaps it levels off after 20.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


async def _run(settings: Settings, dev: bool, conversation: type[Conversation]) -> None:
    url, key, secret = settings.livekit.credentials()
    await check(url, key, secret)
    worker = Worker(settings, dev=dev, conversation=conversation)
    stop = _Stop(asyncio.get_running_loop(), 0.0 if dev else settings.livekit.drain_s)
    await asyncio.to_thread(worker.prewarm)
    serving = asyncio.create_task(worker.serve())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
        raise LiveKitError("the worker ended by itself; its log has the reason")
    await worker.drain(stop.drain_s, stop.hurry)
    await worker.aclose()
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def check(url: str, key: str, secret: str) -> None:
    """Ask the server whether it knows the key; one that is not there yet is waited for elsewhere.

    Raises:
        LiveKitError: it does not.
    """
    try:
        async with asyncio.timeout(CHECK_S), api.LiveKitAPI(url, key, secret) as server:
            await server.room.list_rooms(api.ListRoomsRequest(names=["-"]))
    except api.TwirpError as error:
        if error.status in (401, 403):
            raise LiveKitError(
                f"the LiveKit server at {url} refuses us: LIVEKIT_API_KEY and LIVEKIT_API_SECRET must be one of the "
                "pairs in its configuration"
            ) from None
        raise LiveKitError(f"what answers at {url} is no LiveKit server: {error.status} {error.message}") from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        logger.warning("no LiveKit server at %s yet (%s); trying again until there is", url, error or "no answer")


class Worker:
    """Registered with the server while `serve` runs."""

    def __init__(self, settings: Settings, *, dev: bool, conversation: type[Conversation] = Conversation) -> None:
        livekit = settings.livekit
        url, key, secret = livekit.credentials()
        persona = load_persona(settings.avatar.persona)
        face = choose_face(settings.avatar, persona)
        self._name = persona.name
        self.metrics = Metrics()
        self._local = Local(settings)
        cores = get_cpu_monitor().cpu_count()
        self.capacity = Capacity(
            settings.server.max_sessions, cores, self.metrics.ticks, measured=livekit.admission == "measured"
        )
        self._face = face
        self.jobs = Jobs(settings, persona, face, self._local, self.metrics, self.capacity, conversation)
        self._server = AgentServer(
            # A process each would hold the models once a conversation.
            job_executor_type=JobExecutorType.THREAD,
            ws_url=url,
            api_key=key,
            api_secret=secret,
            host=livekit.host,
            port=0 if dev else livekit.port,
            prometheus_port=livekit.metrics_port,
            num_idle_processes=WARM_THREADS,
            load_fnc=self.capacity.load,
            # Whether there is room for one more is decided in `_requested`, for each one, and for two at once.
            load_threshold=math.inf,
            max_retry=RETRIES,
        )
        self._server.rtc_session(self.jobs.hold, agent_name=livekit.agent_name, on_request=self._requested)
        self._server.on("worker_registered", self._registered)
        self._ready = f"{self._name} is ready for rooms of {url} that call {livekit.agent_name!r}"
        if livekit.metrics_port is not None:
            prometheus_client.REGISTRY.register(self.metrics.registry)

    def prewarm(self) -> None:
        """Load what all conversations share; blocks for some seconds."""
        self._local.prewarm()
        self._face.still()
        # What is loaded by now stays. Unless it is taken out of its sight, the garbage collector walks through it again
        # and again, and each time every conversation stands still for 100 ms and more.
        gc.freeze()

    async def serve(self) -> None:
        await self._server.run(devmode=False)

    async def drain(self, wait_s: float, hurry: asyncio.Event) -> None:
        """Take no more rooms; let the conversations go on for a while, then say goodbye."""
        draining = asyncio.create_task(self._server.drain(timeout=None))
        if self.capacity.open:
            logger.info("%d conversations may go on for %.0f s", self.capacity.open, wait_s)
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait([draining, hurried], timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not draining.done():
            self.jobs.end_all()
            await asyncio.wait([draining], timeout=END_S)
        if not draining.done():
            logger.warning("%d conversations did not end and are cut", self.capacity.open)
            draining.cancel()

    async def aclose(self) -> None:
        """Bounded in time by who calls it: livekit-agents waits for threads that hang."""
        try:
            async with asyncio.timeout(CUT_S):
                await self._server.aclose()
                await self._local.aclose()
        except TimeoutError:
            logger.warning("the worker did not close within %.0f s", CUT_S)

    def _registered(self, *_: object) -> None:
        print(self._ready, flush=True)

    async def _requested(self, request: JobRequest) -> None:
        refusal = self.capacity.promise(request.id)
        if refusal is not None:
            logger.warning("room %s is refused: %s", request.room.name, refusal)
            self.metrics.refused_total.labels("worker_full").inc()
            await request.reject(terminate=False)  # another worker may have room
            return
        try:
            await request.accept(name=self._name)
        except BaseException:
            self.capacity.end(request.id)
            raise


class _Stop:
    """Signals: the first begins the end, the second hurries it, the third cuts it. So does time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, drain_s: float) -> None:
        self.drain_s = drain_s
        self.hurry = asyncio.Event()
        self._begun = asyncio.Event()
        self._loop = loop
        self._count = 0
        # Not the loop's own handlers: they would wait for whatever holds the loop, such as imports while warming up.
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, self._signalled)

    async def wait(self) -> None:
        await self._begun.wait()

    def _signalled(self, *_: object) -> None:
        self._count += 1
        match self._count:
            case 1:
                self._cut_after(self.drain_s + END_S + CUT_S + 1)
                self._soon(self._begun.set)
            case 2:
                self._cut_after(END_S + CUT_S + 1)
                self._soon(self.hurry.set)
            case _:
                os._exit(130)

    def _soon(self, call: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(call)

    def _cut_after(self, seconds: float) -> None:
        """Whatever still holds the process then: a thread that hangs, the loop itself."""
        deadline = threading.Timer(seconds, os._exit, (0,))
        deadline.daemon = True
        deadline.start()
