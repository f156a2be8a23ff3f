"""Portraits on their way onto the GPU: piece by piece between batches, so that nobody else's pictures wait for a whole
one.

In: the identities that conversations show, and the asks for frames that are not there yet. Out: for each frame the
avatar that holds it, and the asks that need wait no longer. A piece that is waited for comes before the others. Runs on
the GPU's thread.
"""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from avatar.frames import MienError
from avatar.musetalk.calls import Calls
from avatar.musetalk.guests import Ask, Identity, PictureLost
from avatar.musetalk.jobs import PictureCore
from avatar.musetalk.scheduler import Scheduler

logger = logging.getLogger(__name__)

PIECE_FRAMES = 16
"""A piece costs the device less than a batch of pictures."""
KEPT = 4
"""Portraits that nobody shows any more."""
AT_LEAST_EVERY_S = 0.5
"""A piece goes in between after this long even where it makes others late: who has come must get lips."""
LOOK_AGAIN_S = 0.001
MEASURED = 8


@dataclass(eq=False, slots=True)
class Portrait:
    """An identity, as much of it as is on the device.

    Args:
        pieces: avatars of `PIECE_FRAMES` frames each, by their number.
        error: why it cannot be shown.
    """

    identity: Identity
    pieces: dict[int, Any] = field(default_factory=dict)
    error: MienError | None = None

    def at(self, frame: int) -> tuple[Any, int] | None:
        """The avatar that holds a frame, and the frame's place in it; None: it is not there yet."""
        piece = self.pieces.get(frame // PIECE_FRAMES)
        return None if piece is None else (piece, frame % PIECE_FRAMES)

    def missing(self) -> list[int]:
        count = math.ceil(len(self.identity.frames) / PIECE_FRAMES)
        return [] if self.error else [number for number in range(count) if number not in self.pieces]


class Uploads:
    """All portraits of one life of the GPU's thread."""

    def __init__(self, core: PictureCore, calls: Calls, piece_s: float) -> None:
        """Args: piece_s: how long a piece is taken to last until one was measured."""
        self._core = core
        self._calls = calls
        self._portraits: OrderedDict[Identity, Portrait] = OrderedDict()
        self._held: list[tuple[Ask, Portrait]] = []
        self._took_s: deque[float] = deque([piece_s], maxlen=MEASURED)
        self._brought_at = -math.inf

    def portrait(self, identity: Identity, used: Collection[Identity]) -> Portrait:
        """Of an identity that is shown from now on; one that failed is tried again.

        Args:
            used: the identities that conversations show.
        """
        known = self._portraits.get(identity)
        if known is None or known.error is not None:
            self._portraits[identity] = Portrait(identity)
        self._portraits.move_to_end(identity)
        unused = [old for old in self._portraits if old not in used and old is not identity]
        for old in unused[: max(0, len(self._portraits) - KEPT)]:
            del self._portraits[old]
        return self._portraits[identity]

    def holds(self, ask: Ask, portrait: Portrait) -> bool:
        """Whether the ask must wait, for its own frame or for pictures before it (speech is heard in order); then it is
        given back by `bring`."""
        before = any((held.session, held.segment) == (ask.session, ask.segment) for held, _ in self._held)
        if before or portrait.at(ask.frame) is None:
            self._held.append((ask, portrait))
            return True
        return False

    def drop(self, ask: Ask) -> bool:
        """Nobody wants it any more; False if it did not wait here."""
        waited = len(self._held)
        self._held = [held for held in self._held if held[0] is not ask]
        return len(self._held) < waited

    def leave(self, session: int) -> None:
        self._held = [held for held in self._held if held[0].session != session]

    @property
    def piece_s(self) -> float:
        """How long a piece is expected to occupy the device."""
        return max(self._took_s)

    @property
    def waiting(self) -> bool:
        """Whether there is a piece to be brought."""
        return any(portrait.missing() for portrait in self._portraits.values())

    def due(self, now_s: float, scheduler: Scheduler[Ask], flying: Iterable[Ask]) -> bool:
        """Whether to bring a piece now: it makes nobody late who can be in time, or has been put off for too long."""
        if not self.waiting:
            return False
        if now_s - self._brought_at >= AT_LEAST_EVERY_S:
            return True
        there_s = max(now_s, scheduler.free_s) + scheduler.speeds.deliver_s
        soonest_s = min((ask.deadline_s for ask in flying if ask.deadline_s >= there_s), default=math.inf)
        return soonest_s >= there_s + self.piece_s and scheduler.spare(now_s, self.piece_s)

    def bring(self, free_s: float, lost: Callable[[Ask, MienError], None]) -> list[Ask]:
        """Bring one piece onto the device; blocks until it is there. Returns the asks that wait no longer.

        Args:
            free_s: when the device will have done what it was given before.
            lost: told of the asks of a portrait that failed.
        """
        portrait, number = self._next()
        first = number * PIECE_FRAMES
        frames = portrait.identity.frames[first : first + PIECE_FRAMES]
        began = time.monotonic()
        try:
            with self._calls():
                portrait.pieces[number] = self._core.avatar(frames)
        except Exception as error:  # one portrait that does not fit must not end the others' conversations
            logger.warning("a portrait cannot be shown: frames %d and on: %s", first, error)
            known = isinstance(error, MienError)
            portrait.error = error if known else PictureLost(f"the portrait failed: {error!r}")  # type: ignore[assignment]
            portrait.pieces.clear()
            for ask in [ask for ask, of in self._held if of is portrait]:
                lost(ask, portrait.error or PictureLost("the portrait failed"))
            self._held = [held for held in self._held if held[1] is not portrait]
        self._brought_at = time.monotonic()
        self._took_s.append(max(0.0, self._brought_at - max(began, free_s)))
        return self._released()

    def _next(self) -> tuple[Portrait, int]:
        """The piece that is waited for most urgently; else the next one of the portrait that came first."""
        for ask, portrait in sorted(self._held, key=lambda held: held[0].deadline_s):
            if not portrait.error and portrait.at(ask.frame) is None:
                return portrait, ask.frame // PIECE_FRAMES
        return next((portrait, missing[0]) for portrait in self._portraits.values() if (missing := portrait.missing()))

    def _released(self) -> list[Ask]:
        out: list[Ask] = []
        held, blocked = [], set()
        for ask, portrait in sorted(self._held, key=lambda one: one[0].n):
            speech = ask.session, ask.segment
            if speech in blocked or portrait.at(ask.frame) is None:
                blocked.add(speech)
                held.append((ask, portrait))
            else:
                out.append(ask)
        self._held = held
        return out
