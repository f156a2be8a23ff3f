"""MuseTalk behind the renderer contract: a prepared person's idle cycle, and over it the lips that the engine makes.

In: speech and shots of one conversation. Out: pictures, from the engine's thread by ``call_soon_threadsafe``; idle ones
at once and without the GPU. The cycle runs through speech and silence by the tick; lips open from rest over the first
speech pictures of a run and ease shut over the first idle ones. In place of what the tier leaves out stand the mouth of
the picture before, the idle cycle, or the still.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Sequence

from avatar.frames import Pcm, Picture
from avatar.musetalk.avatars import AvatarError, AvatarFrame
from avatar.musetalk.engine import Engine, EngineDown
from avatar.musetalk.guests import Ask, Identity, Outcome
from avatar.musetalk.pace import Pace
from avatar.musetalk.tiers import Tier
from avatar.musetalk.windows import PICTURE_REACH_MS
from avatar.renderer import Expression, RendererError, Shot
from avatar.waiting import Answer, Waiting

EASE = (0.4, 0.75)
"""How much of the mouth the first speech pictures of a run show; the first idle ones, the rest of it backwards."""
OPENING_PICTURES = 2


class Person:
    """A prepared identity, its idle pictures readied once for all conversations that show it.

    Args:
        frames: the prepared frames, each once.
        cycle: which frame each tick of the idle cycle shows, where it is not simply one after the other (forth and
            back); it begins again after the last one.

    Raises:
        AvatarError: no frame, or frames of different sizes.
    """

    def __init__(self, frames: Sequence[AvatarFrame], cycle: Sequence[int] | None = None) -> None:
        if not frames:
            raise AvatarError("an identity needs at least one frame: prepare it again")
        sizes = {(frame.width, frame.height) for frame in frames}
        if len(sizes) > 1:
            raise AvatarError(f"the frames of an identity have one size, not {sorted(sizes)}: prepare it again")
        self.identity = Identity(tuple(frames))
        self.idle = tuple(Picture(frame.body) for frame in frames)
        self._cycle = tuple(range(len(frames)) if cycle is None else cycle)

    def frame(self, tick: int) -> int:
        """Which frame is shown at a tick."""
        return self._cycle[tick % len(self._cycle)]


class MuseTalkRenderer:
    """A person who speaks any voice, on a GPU that other conversations use as well.

    Args:
        patient: for offline rendering: no picture has a deadline, none is left out, and live conversations go first.

    Raises:
        Refused: the GPU has no room, or is not ready.
    """

    name = "musetalk"
    lookahead_ms = PICTURE_REACH_MS
    lead_ticks = 5
    start_ticks = 3
    start_grace_ms = 200

    def __init__(self, engine: Engine, person: Person, *, patient: bool = False) -> None:
        self._person = person
        self._patient = patient
        self._session = engine.open(person.identity, patient=patient)
        self._waiting = Waiting(self.lookahead_ms)
        self._pace = Pace(self.lead_ticks)
        self._newest = -1
        self.still = person.idle[0]
        self.width, self.height = self.still.width, self.still.height

    def push(self, segment: int, pcm: Pcm) -> None:
        if self._waiting.push(segment, len(pcm)):
            self._session.push(segment, pcm)
            self._waiting.serve()

    def end(self, segment: int) -> None:
        if self._waiting.end(segment):
            self._session.end(segment)
            self._waiting.serve()

    def clear(self, generation: int) -> None:
        self._waiting.clear()
        self._session.forget()

    def express(self, expression: Expression, tick: int) -> None:
        """A filmed face has the expression that it was filmed with."""

    def request(self, shot: Shot) -> Answer:
        due_s = math.inf if self._patient else self._pace.due_s(shot.tick, time.monotonic())
        if shot.segment is not None and shot.segment > self._newest:
            self._newest = shot.segment
            self._session.forget(before=shot.segment)
        return self._waiting.request(shot, lambda answer: self._begin(shot, due_s, answer))

    async def aclose(self) -> None:
        self._waiting.close()
        self._session.close()

    # -- one shot whose audio is there

    def _begin(self, shot: Shot, due_s: float, answer: Answer) -> None:
        tier = self._session.tier
        idle = self._person.idle[self._person.frame(shot.tick)]
        if tier is Tier.STILL:
            answer.set_result(self.still)
        elif shot.segment is None:
            if shot.after is None or shot.since >= len(EASE) or tier is Tier.IDLE:
                answer.set_result(idle)
            else:
                segment, n = shot.after
                weight = EASE[len(EASE) - 1 - shot.since]
                self._ask(shot, segment, n, weight, due_s, answer, otherwise=idle)
        else:
            self._session.spoke(asked=tier < Tier.IDLE)
            if tier is Tier.IDLE:
                answer.set_result(idle)
            else:
                weight = EASE[shot.since] if shot.since < len(EASE) else 1.0
                along = tier is Tier.HALF and bool(shot.n % 2)
                self._ask(shot, shot.segment, shot.n, weight, due_s, answer, along=along)

    def _ask(
        self,
        shot: Shot,
        segment: int,
        n: int,
        weight: float,
        due_s: float,
        answer: Answer,
        *,
        otherwise: Picture | None = None,
        along: bool = False,
    ) -> None:
        """Have the engine make it; ``otherwise`` takes the place of a picture that cannot be made."""
        loop = asyncio.get_running_loop()

        def settle(outcome: Outcome) -> None:
            if answer.done():
                return
            if isinstance(outcome, EngineDown):
                answer.set_result(self.still)
            elif not isinstance(outcome, Exception):
                answer.set_result(Picture(outcome))
            elif otherwise is not None:
                answer.set_result(otherwise)
            else:
                answer.set_exception(RendererError(f"{shot}: {outcome}"))

        def tell(outcome: Outcome) -> None:
            with contextlib.suppress(RuntimeError):  # a loop that is closed has nobody left who waits
                loop.call_soon_threadsafe(settle, outcome)

        ask = self._session.ask(
            segment,
            n,
            self._person.frame(shot.tick),
            due_s,
            tell,
            weight=weight,
            opening=shot.segment is not None and shot.n < OPENING_PICTURES,
            along=along,
        )
        answer.add_done_callback(lambda done: self._cancelled(done, ask))

    def _cancelled(self, answer: Answer, ask: Ask) -> None:
        if answer.cancelled():
            self._session.withdraw(ask)
