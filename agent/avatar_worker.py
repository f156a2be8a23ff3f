"""`mien avatar`: a worker of a LiveKit server that gives other people's agents a face (livekit-plugins-mien).

In: settings. Out: avatars, all in this process, each on a thread and an event loop of its own (agent/avatar_job.py),
until SIGTERM. They share what draws them, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import os
import sys
from typing import NoReturn

import prometheus_client
from livekit.agents import AgentServer, JobExecutorType, JobRequest
from livekit.agents.types import ATTRIBUTE_PUBLISH_ON_BEHALF
from livekit.agents.utils.hw import get_cpu_monitor

from agent.avatar_job import AvatarJobs, Faces, Order
from agent.capacity import Capacity
from agent.metrics import Metrics
from agent.settings import Settings
from agent.worker import CUT_S, END_S, RETRIES, WARM_THREADS, LiveKitError, _few_arenas, _Stop, check
from avatar.frames import MienError

logger = logging.getLogger(__name__)


def run(settings: Settings, *, dev: bool) -> NoReturn:
    """Serve until SIGTERM or Ctrl-C, then end the process.

    Args:
        dev: end at once when told to, and serve health on any free port.

    Raises:
        MienError: a setting cannot be met, or the server refuses the key.
    """
    _few_arenas()
    asyncio.run(_run(settings, dev))
    # Everything is closed. What remains are threads of native libraries, and of rooms that hang.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


async def _run(settings: Settings, dev: bool) -> None:
    await check(*settings.livekit.credentials())
    worker = AvatarWorker(settings, dev=dev)
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


class AvatarWorker:
    """Registered with the server while `serve` runs."""

    def __init__(self, settings: Settings, *, dev: bool) -> None:
        livekit = settings.livekit
        url, key, secret = livekit.credentials()
        self._faces = Faces(settings)
        self._metrics = Metrics()
        cores = get_cpu_monitor().cpu_count()
        self._capacity = Capacity(
            settings.server.max_sessions, cores, self._metrics.ticks, measured=livekit.admission == "measured"
        )
        self._jobs = AvatarJobs(self._faces, self._metrics, self._capacity)
        self._server = AgentServer(
            # A process each would hold the face, and later a model, once a room.
            job_executor_type=JobExecutorType.THREAD,
            ws_url=url,
            api_key=key,
            api_secret=secret,
            host=livekit.host,
            port=0 if dev else livekit.port,
            prometheus_port=livekit.metrics_port,
            num_idle_processes=WARM_THREADS,
            load_fnc=self._capacity.load,
            # Whether there is room for one more is decided in `_requested`, for each one, and for two at once.
            load_threshold=math.inf,
            max_retry=RETRIES,
        )
        self._server.rtc_session(self._jobs.hold, agent_name=livekit.avatar_name, on_request=self._requested)
        self._server.on("worker_registered", self._registered)
        self._ready = f"{self._faces.name} is ready to stand in for agents at {url} that call {livekit.avatar_name!r}"
        if livekit.metrics_port is not None:
            prometheus_client.REGISTRY.register(self._metrics.registry)

    def prewarm(self) -> None:
        """Draw what all rooms share; blocks for some seconds."""
        self._faces.still()
        gc.freeze()  # what is loaded by now stays: the collector need not walk through it while ticks wait

    async def serve(self) -> None:
        await self._server.run(devmode=False)

    async def drain(self, wait_s: float, hurry: asyncio.Event) -> None:
        """Take no more rooms; let the avatars go on for a while, then have them leave."""
        draining = asyncio.create_task(self._server.drain(timeout=None))
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait([draining, hurried], timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not draining.done():
            self._jobs.end_all()
            await asyncio.wait([draining], timeout=END_S)
        if not draining.done():
            logger.warning("%d avatars did not leave and are cut", self._capacity.open)
            draining.cancel()

    async def aclose(self) -> None:
        """Bounded in time: livekit-agents waits for threads that hang."""
        try:
            async with asyncio.timeout(CUT_S):
                await self._server.aclose()
        except TimeoutError:
            logger.warning("the worker did not close within %.0f s", CUT_S)

    def _registered(self, *_: object) -> None:
        print(self._ready, flush=True)

    async def _requested(self, request: JobRequest) -> None:
        try:
            order = Order.parse(request.job.metadata)
            self._faces.choose(order)
        except MienError as error:
            logger.error("room %s is refused: %s", request.room.name, error)
            self._metrics.refused_total.labels("bad_order").inc()
            await request.reject(terminate=True)  # no other worker could either
            return
        refusal = self._capacity.promise(request.id)
        if refusal is not None:
            logger.warning("room %s is refused: %s", request.room.name, refusal)
            self._metrics.refused_total.labels("worker_full").inc()
            await request.reject(terminate=False)  # another worker may have room
            return
        try:
            await request.accept(
                name=self._faces.choose(order).persona.name,
                identity=order.identity,
                attributes={ATTRIBUTE_PUBLISH_ON_BEHALF: order.on_behalf_of},
            )
        except BaseException:
            self._capacity.end(request.id)
            raise
