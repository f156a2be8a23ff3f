"""`mien avatar`: a worker of a LiveKit server that gives other people's agents a face (livekit-plugins-mien).

In: settings. Out: avatars, all in this process, each on a thread and an event loop of its own (agent/avatar_job.py).
They share what draws them, and nothing else. What a worker is besides stands in agent/serving.py.
"""

from __future__ import annotations

import gc
import logging
from typing import NoReturn

from livekit.agents import JobRequest
from livekit.agents.types import ATTRIBUTE_PUBLISH_ON_BEHALF

from agent import serving
from agent.avatar_job import AvatarJobs, Faces, Order
from agent.avatar_room import Avatar
from agent.metrics import Metrics
from agent.settings import Settings
from avatar.frames import MienError

logger = logging.getLogger(__name__)


def run(settings: Settings, *, dev: bool, avatar: type[Avatar] = Avatar) -> NoReturn:
    """Serve until SIGTERM or Ctrl-C, then end the process.

    Args:
        dev: end at once when told to, and serve health on any free port.
        avatar: the kind of avatar that comes; an observer passes its own.

    Raises:
        MienError: a setting cannot be met, or the server refuses the key.
    """
    serving.run(settings, lambda: AvatarWorker(settings, dev=dev, avatar=avatar), dev=dev)


class AvatarWorker:
    """Holds avatars; see `serving.Serves`."""

    def __init__(self, settings: Settings, *, dev: bool, avatar: type[Avatar]) -> None:
        livekit = settings.livekit
        self._faces = Faces(settings)
        self._metrics = Metrics()
        capacity = serving.measured_capacity(settings, self._metrics)
        self._jobs = AvatarJobs(self._faces, self._metrics, capacity, avatar)
        self.registration = serving.Registration(
            settings,
            dev=dev,
            name=livekit.avatar_name,
            ports=(livekit.avatar_port, livekit.avatar_metrics_port),
            metrics=self._metrics,
            capacity=capacity,
            hold=self._jobs.hold,
            answer=self._requested,
            ready=f"{self._faces.name} is ready to stand in for agents at {livekit.url} that call "
            f"{livekit.avatar_name!r}",
            kind="avatars",
        )

    def prewarm(self) -> None:
        self._faces.warm()
        gc.freeze()  # what is loaded by now stays: the collector need not walk through it while ticks wait

    def end_all(self) -> None:
        self._jobs.end_all()

    async def aclose(self) -> None:
        """The faces hold nothing that is to be closed."""

    async def _requested(self, request: JobRequest) -> None:
        try:
            order = Order.parse(request.job.metadata)
            chosen = self._faces.choose(order)
        except MienError as error:
            logger.error("room %s is refused: %s", request.room.name, error)
            self._metrics.refused_total.labels("bad_order").inc()
            await request.reject(terminate=True)  # no other worker could either
            return
        await self.registration.accept(
            request,
            chosen.persona.name,
            identity=order.identity,
            attributes={ATTRIBUTE_PUBLISH_ON_BEHALF: order.on_behalf_of},
        )
