"""`mien agent`: a worker of a LiveKit server that talks in the rooms that call for it.

In: settings. Out: conversations, all in this process, each on a thread and an event loop of its own (agent/job.py).
What a worker is besides stands in agent/serving.py.
"""

from __future__ import annotations

import gc
from typing import NoReturn

from livekit.agents import JobRequest

from agent import serving
from agent.conversation import Conversation
from agent.face import choose_face
from agent.job import Jobs
from agent.metrics import Metrics
from agent.models import Local
from agent.persona import load_persona
from agent.settings import Settings


def run(settings: Settings, *, dev: bool, conversation: type[Conversation] = Conversation) -> NoReturn:
    """Serve until SIGTERM or Ctrl-C, then end the process.

    Args:
        dev: end at once when told to, and serve health on any free port.
        conversation: the kind of conversation to hold; an observer passes its own.

    Raises:
        MienError: a setting cannot be met, or the server refuses the key.
    """
    serving.run(settings, lambda: Worker(settings, dev=dev, conversation=conversation), dev=dev)


class Worker:
    """Holds conversations; see `serving.Serves`."""

    def __init__(self, settings: Settings, *, dev: bool, conversation: type[Conversation]) -> None:
        livekit = settings.livekit
        persona = load_persona(settings.avatar.persona)
        self._name = persona.name
        self._face = choose_face(settings.avatar, persona)
        self._local = Local(settings)
        metrics = Metrics()
        capacity = serving.measured_capacity(settings, metrics)
        self._jobs = Jobs(settings, persona, self._face, self._local, metrics, capacity, conversation)
        self.registration = serving.Registration(
            settings,
            dev=dev,
            name=livekit.agent_name,
            ports=(livekit.port, livekit.metrics_port),
            metrics=metrics,
            capacity=capacity,
            hold=self._jobs.hold,
            answer=self._requested,
            ready=f"{self._name} is ready for rooms of {livekit.url} that call {livekit.agent_name!r}",
            kind="conversations",
        )

    def prewarm(self) -> None:
        self._local.prewarm()
        self._jobs.face = self._face.warm()
        # What is loaded by now stays. Unless it is taken out of its sight, the garbage collector walks through it again
        # and again, and each time every conversation stands still for 100 ms and more.
        gc.freeze()

    def end_all(self) -> None:
        self._jobs.end_all()

    async def aclose(self) -> None:
        await self._local.aclose()

    async def _requested(self, request: JobRequest) -> None:
        await self.registration.accept(request, self._name)
