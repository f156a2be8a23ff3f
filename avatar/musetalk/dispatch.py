"""Asks become batches, batches become answers; runs on the GPU's thread (`runner.py`), which alone calls the core.

While one batch computes the next is chosen (`scheduler.py`) just before the device is free, and the one before is read
and handed out beside it. What goes wrong in a batch costs the pictures of whoever caused it: the batch is split until
the culprit stands alone; nothing that is not finite or not a face leaves this file.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from avatar.frames import MienError, Planes
from avatar.musetalk.avatars import AvatarFrame
from avatar.musetalk.calls import Calls
from avatar.musetalk.guests import Ask, Guest, PictureLost, encode
from avatar.musetalk.jobs import Job, OutOfMemory, Pending, PictureCore
from avatar.musetalk.mouths import Check, carried, eased, unfit
from avatar.musetalk.scheduler import AHEAD_S, Scheduler, Speeds
from avatar.musetalk.tiers import Tiers
from avatar.musetalk.uploads import LOOK_AGAIN_S, Uploads

logger = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 3
"""Batches of which nothing came; then the device is taken for lost."""
UNFIT_IN_A_ROW = 25
"""Pictures that were not finite or not a face, from whomever, without a good one between."""
IN_FLIGHT = 2


class DeviceLost(MienError):
    """The GPU gives nothing any more."""


class Dispatch:
    """The batches of one life of the GPU's thread.

    Args:
        guests: the conversations that are on, kept by the runner.
        tiers: told what was in time.
        check: says why a picture must not be shown; None: nothing is checked.
        stopped: nobody wants answers any more.
    """

    def __init__(
        self,
        core: PictureCore,
        speeds: Speeds,
        guests: Mapping[int, Guest],
        tiers: Tiers,
        check: Check | None,
        calls: Calls,
        stopped: threading.Event,
    ) -> None:
        self.batches = 0
        self.unfit = 0
        self.scheduler: Scheduler[Ask] = Scheduler(speeds)
        self.uploads = Uploads(core, calls, max(speeds.batch_s.values()))
        self._core = core
        self._guests = guests
        self._tiers = tiers
        self._check = check
        self._calls = calls
        self._stopped = stopped
        self._flying: list[tuple[list[Ask], Pending, float]] = []
        """What is on the device, and when it is expected to end."""
        self._failures = 0
        self._unfit_in_a_row = 0

    def step(self, now: float) -> bool:
        """Launch a batch or read one, whichever is due. Returns whether one was read.

        Raises:
            DeviceLost: the device gives nothing good any more.
        """
        due = self.scheduler.due_s(now) if len(self._flying) < IN_FLIGHT else None
        if due is not None and due <= now:
            self._launch(now)
        elif self._flying and (len(self._flying) == IN_FLIGHT or now >= self.scheduler.free_s - AHEAD_S):
            self._read()
            return True
        return False

    def patience_s(self, now: float) -> float | None:
        """How long until the next step is due; None: not before somebody asks."""
        if len(self._flying) == IN_FLIGHT:
            return 0.0
        due = self.scheduler.due_s(now)
        if due is None and self._flying:
            due = self.scheduler.free_s - AHEAD_S
        if self.uploads.waiting:
            due = now + LOOK_AGAIN_S if due is None else min(due, now + LOOK_AGAIN_S)
        return None if due is None else max(0.0, due - now)

    def upload(self, now: float) -> None:
        """Bring a piece of a portrait onto the device, if there is one and everybody's pictures can wait for it."""
        if self.uploads.due(now, self.scheduler, (ask for asks, _, _ in self._flying for ask in asks)):
            for ask in self.uploads.bring(self.scheduler.free_s, self._lost):
                self.scheduler.add(ask)
            self.scheduler.freed(time.monotonic())

    def let_go(self) -> None:
        """Of the core and of what is on it; nothing is asked of this object any more."""
        self._flying.clear()
        del self._core, self.uploads

    # -- asks

    def ask(self, ask: Ask, along: bool) -> None:
        guest = self._guests.get(ask.session)
        if guest is None or not ask.wanted:
            return
        if guest.portrait.error is not None:
            ask.resolve(guest.portrait.error)
            return
        now = time.monotonic()
        self._tiers.spoke(ask.session, now)
        if along:
            before = guest.asks.get((ask.segment, ask.n - 1))
            if before is not None and before.wanted:
                before.company.append(ask)
                return
            if guest.shown is not None and guest.shown[:2] == (ask.segment, ask.n - 1):
                self._carry(guest, guest.shown[3], guest.identity.frames[guest.shown[2]], ask)
                return
        guest.asks[ask.segment, ask.n] = ask
        if not self.uploads.holds(ask, guest.portrait):
            self.scheduler.add(ask)

    def withdraw(self, ask: Ask) -> None:
        ask.wanted = False
        if self.scheduler.drop(ask):
            self._settled(ask, time.monotonic())
        elif self.uploads.drop(ask):
            self._forget(ask)
        for other in ask.company:
            if other.wanted:
                self.ask(other, False)
        ask.company.clear()

    def thin(self, session: int) -> None:
        """Its lips move at 12.5 from now on: of its pictures that wait, each second one goes along with the one before,
        as those that are asked for from now on do."""
        guest = self._guests[session]
        for ask in [ask for ask in guest.asks.values() if ask.n % 2]:
            if self.scheduler.drop(ask):
                self._forget(ask)
                self.ask(ask, True)

    def leave(self, session: int) -> None:
        self.scheduler.leave(session)
        self.uploads.leave(session)

    def _settled(self, ask: Ask, now: float) -> None:
        """It is in time, or late, or was not wanted any more before it was due."""
        self._forget(ask)
        late = now > ask.deadline_s
        if ask.wanted or late:
            self._tiers.shown(ask.session, late, now)
            self.scheduler.settle(ask.session, now - ask.deadline_s)

    def _forget(self, ask: Ask) -> None:
        guest = self._guests.get(ask.session)
        if guest is not None and guest.asks.get((ask.segment, ask.n)) is ask:
            del guest.asks[ask.segment, ask.n]

    # -- batches

    def _launch(self, now: float) -> None:
        asks = self.scheduler.pick(now)
        encode(self._core, self._guests, asks, self._calls, self._lost)
        asks = [ask for ask in asks if self._features(ask) is not None]
        if not asks:
            self.scheduler.freed(time.monotonic(), busy=bool(self._flying))
            return
        self.batches += 1
        try:
            with self._calls():
                pending = self._core.submit([self._job(ask) for ask in asks])
            self._flying.append((asks, pending, self.scheduler.free_s))
        except OutOfMemory as error:
            self._smaller(asks, error)
        except Exception as error:  # a batch of several conversations: find out whose fault it was
            self._split(asks, error)

    def _read(self) -> None:
        asks, pending, expected_s = self._flying.pop(0)
        behind_s = 0.0
        try:
            with self._calls():
                waited = not pending.done()
                pictures = pending.pictures()
        except OutOfMemory as error:
            self._smaller(asks, error)
        except Exception as error:  # as above
            self._split(asks, error)
        else:
            self._failures = 0
            if not self._stopped.is_set():
                now = time.monotonic()
                if waited:
                    behind_s = max(0.0, now - self.scheduler.speeds.deliver_s - expected_s)
                self.scheduler.freed(now, behind_s=behind_s, busy=bool(self._flying))
                self._hand_out(asks, pictures)

    def _job(self, ask: Ask) -> Job:
        place = self._guests[ask.session].portrait.at(ask.frame)
        assert place is not None, "its frame was there when it was scheduled"
        avatar, frame = place
        return Job(self._features(ask), avatar, frame)

    def _features(self, ask: Ask) -> Any:
        guest = self._guests.get(ask.session)
        return None if guest is None else guest.features.get((ask.segment, ask.n))

    def _smaller(self, asks: Sequence[Ask], error: OutOfMemory) -> None:
        """No memory: batches are half as large from now on, and these asks wait again."""
        speeds = self.scheduler.speeds
        half = {size: time_s for size, time_s in speeds.batch_s.items() if size < speeds.largest}
        if not half:
            raise DeviceLost(f"not even one picture fits in the GPU's memory: {error}") from error
        logger.error("batches of %d no longer fit, the largest is %d now: %s", speeds.largest, max(half), error)
        self.scheduler.speeds = Speeds(half, speeds.encode_s, speeds.deliver_s)
        self._tiers.fps = self.scheduler.speeds.fps
        for ask in asks:
            if ask.wanted and ask.session in self._guests:
                self.scheduler.add(ask)
        self.scheduler.freed(time.monotonic(), busy=bool(self._flying))

    def _split(self, asks: list[Ask], error: BaseException) -> None:
        """A batch failed: render its halves one after another until the ask that makes it fail stands alone."""
        there = [ask for ask in asks if self._features(ask) is not None]
        for ask in asks:
            if ask not in there:
                self._lost(ask, PictureLost(f"the GPU failed: {error!r}"))
        good = self._halves(there, error) if there else 0
        self._failures = 0 if good else self._failures + 1
        if self._failures >= FAILURES_IN_A_ROW:
            raise DeviceLost(f"{self._failures} batches in a row gave nothing: {error!r}") from error
        self.scheduler.freed(time.monotonic(), busy=bool(self._flying))

    def _halves(self, asks: list[Ask], error: BaseException) -> int:
        """How many pictures came of it."""
        if len(asks) == 1:
            self._lost(asks[0], PictureLost(f"the GPU failed: {error!r}"))
            return 0
        good = 0
        middle = len(asks) // 2
        for half in (asks[:middle], asks[middle:]):
            try:
                with self._calls():
                    pictures = self._core.submit([self._job(ask) for ask in half]).pictures()
            except Exception as reason:  # as in _launch
                good += self._halves(half, reason)
            else:
                self._hand_out(half, pictures)
                good += len(half)
        return good

    def _hand_out(self, asks: Sequence[Ask], pictures: Sequence[Planes | None]) -> None:
        for ask, picture in zip(asks, pictures, strict=True):
            guest = self._guests.get(ask.session)
            if guest is None:
                continue
            frame = guest.identity.frames[ask.frame]
            reason = unfit(picture, frame, self._check)
            if picture is None or reason is not None:
                self.unfit += 1
                self._unfit_in_a_row += 1
                logger.warning("a picture was withheld: %s", reason)
                self._lost(ask, PictureLost(f"the generated mouth was withheld: {reason}"))
                continue
            self._unfit_in_a_row = 0
            guest.shown = (ask.segment, ask.n, ask.frame, picture)
            for other in ask.company:
                self._carry(guest, picture, frame, other)
            ask.company.clear()
            ask.resolve(eased(picture if ask.weight >= 1 else picture.copy(), frame, ask.weight))
            self._settled(ask, time.monotonic())
        if self._unfit_in_a_row >= UNFIT_IN_A_ROW:
            raise DeviceLost(f"{self._unfit_in_a_row} pictures in a row were not fit to be shown")

    def _carry(self, guest: Guest, picture: Planes, made_on: AvatarFrame, ask: Ask) -> None:
        onto = guest.identity.frames[ask.frame]
        ask.resolve(eased(carried(picture, made_on, onto), onto, ask.weight))

    def _lost(self, ask: Ask, error: MienError) -> None:
        ask.resolve(error)
        for other in ask.company:
            other.resolve(error)
        ask.company.clear()
        self._settled(ask, time.monotonic())
