"""What every worker of a LiveKit server does, whatever it takes rooms for: register, hold jobs, end in peace.

In: settings, what holds a job, and what answers a call. Out: a process that serves until SIGTERM. Then running jobs may
go on for a while; whatever hangs after that is cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import math
import os
import platform
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, Protocol

import aiohttp
import prometheus_client
from livekit import api
from livekit.agents import AgentServer, JobContext, JobExecutorType, JobRequest
from livekit.agents.utils.hw import get_cpu_monitor

from agent.capacity import Capacity
from agent.loop import switch_soon
from agent.metrics import Metrics
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


class Serves(Protocol):
    """A worker of one kind."""

    registration: Registration

    def prewarm(self) -> None:
        """Load what all its jobs share; blocks for some seconds."""

    def end_all(self) -> None:
        """Have all its jobs end, soon."""

    async def aclose(self) -> None:
        """Free what its jobs shared."""


def run(settings: Settings, make: Callable[[], Serves], *, dev: bool) -> NoReturn:
    """Serve until SIGTERM or Ctrl-C, then end the process.

    Args:
        make: the worker; called once the server knows our key.
        dev: end at once when told to.

    Raises:
        MienError: a setting cannot be met, or the server refuses the key.
    """
    _few_arenas()
    switch_soon()
    asyncio.run(_run(settings, make, dev))
    # Everything is closed. What remains are threads of native libraries, and of jobs that hang.
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


async def _run(settings: Settings, make: Callable[[], Serves], dev: bool) -> None:
    await check(*settings.livekit.credentials())
    worker = make()
    registration = worker.registration
    stop = _Stop(asyncio.get_running_loop(), 0.0 if dev else settings.livekit.drain_s)
    await asyncio.to_thread(worker.prewarm)
    serving = asyncio.create_task(registration.serve())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
        raise LiveKitError("the worker ended by itself; its log has the reason")
    await registration.drain(stop.drain_s, stop.hurry, worker.end_all)
    await registration.aclose(worker.aclose)
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


class Registration:
    """Registered with the server while `serve` runs.

    Args:
        dev: serve health on any free port.
        name: by which rooms call for it.
        ports: of health (any free one in `dev`), and of Prometheus.
        hold: livekit-agents' entry point of a job.
        answer: answers a call, with `accept` or by itself.
        ready: printed once the server has us.
        kind: what its jobs are called in the log.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        dev: bool,
        name: str,
        ports: tuple[int, int | None],
        metrics: Metrics,
        capacity: Capacity,
        hold: Callable[[JobContext], Awaitable[None]],
        answer: Callable[[JobRequest], Awaitable[None]],
        ready: str,
        kind: str,
    ) -> None:
        livekit = settings.livekit
        url, key, secret = livekit.credentials()
        port, metrics_port = ports
        self._capacity = capacity
        self._metrics = metrics
        self._ready = ready
        self._kind = kind
        self._server = AgentServer(
            # A process each would hold the models, and the face, once a room.
            job_executor_type=JobExecutorType.THREAD,
            ws_url=url,
            api_key=key,
            api_secret=secret,
            host=livekit.host,
            port=0 if dev else port,
            prometheus_port=metrics_port,
            num_idle_processes=WARM_THREADS,
            load_fnc=capacity.load,
            # Whether there is room for one more is decided in `accept`, for each one, and for two at once.
            load_threshold=math.inf,
            max_retry=RETRIES,
        )
        self._server.rtc_session(hold, agent_name=name, on_request=answer)
        self._server.on("worker_registered", self._registered)
        if metrics_port is not None:
            prometheus_client.REGISTRY.register(metrics.registry)

    async def serve(self) -> None:
        await self._server.run(devmode=False)

    async def accept(self, request: JobRequest, name: str, **more: Any) -> None:
        """Take a call if there is room for it.

        Args:
            name: the participant's; ``more`` as `JobRequest.accept` takes it.
        """
        refusal = self._capacity.promise(request.id)
        if refusal is not None:
            logger.warning("room %s is refused: %s", request.room.name, refusal)
            self._metrics.refused_total.labels("worker_full").inc()
            await request.reject(terminate=False)  # another worker may have room
            return
        try:
            await request.accept(name=name, **more)
        except BaseException:
            self._capacity.end(request.id)
            raise

    async def drain(self, wait_s: float, hurry: asyncio.Event, end_all: Callable[[], None]) -> None:
        """Take no more rooms; let the jobs go on for a while, then end them."""
        draining = asyncio.create_task(self._server.drain(timeout=None))
        if self._capacity.open:
            logger.info("%d %s may go on for %.0f s", self._capacity.open, self._kind, wait_s)
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait([draining, hurried], timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not draining.done():
            end_all()
            await asyncio.wait([draining], timeout=END_S)
        if not draining.done():
            logger.warning("%d %s did not end and are cut", self._capacity.open, self._kind)
            draining.cancel()

    async def aclose(self, shared: Callable[[], Awaitable[None]]) -> None:
        """Close, and then what the jobs shared. Bounded in time: livekit-agents waits for threads that hang."""
        try:
            async with asyncio.timeout(CUT_S):
                await self._server.aclose()
                await shared()
        except TimeoutError:
            logger.warning("the worker did not close within %.0f s", CUT_S)

    def _registered(self, *_: object) -> None:
        print(self._ready, flush=True)


def measured_capacity(settings: Settings, metrics: Metrics) -> Capacity:
    """How many jobs this process takes, as the settings say."""
    cores = get_cpu_monitor().cpu_count()
    measured = settings.livekit.admission == "measured"
    return Capacity(settings.server.max_sessions, cores, metrics.ticks, measured=measured)


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
