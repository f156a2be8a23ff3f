"""One life of the GPU thread, which alone calls the core: conversations' speech and asks in by queue, pictures out.

While one batch computes the next is chosen (`scheduler.py`) just before the device is free, and the one before is read
and handed out beside it. What goes wrong in a batch costs the pictures of whoever caused it: the batch is split until
the culprit stands alone; nothing that is not finite or not a face leaves this file. A device that gives nothing good
any more ends this life (`DeviceLost`); the engine begins another.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from avatar.frames import MienError, Pcm, Planes
from avatar.musetalk.admission import Vram
from avatar.musetalk.avatars import AvatarFrame
from avatar.musetalk.calibration import calibrate
from avatar.musetalk.guests import Ask, Guest, Heard, Identity, PictureLost, encode
from avatar.musetalk.jobs import Job, OutOfMemory, Pending, PictureCore
from avatar.musetalk.mouths import carried, eased
from avatar.musetalk.scheduler import AHEAD_S, Scheduler, Speeds
from avatar.musetalk.tiers import Tier, Tiers

logger = logging.getLogger(__name__)

AVATARS_KEPT = 4
FAILURES_IN_A_ROW = 3
"""Batches of which nothing came; then the device is taken for lost."""
UNFIT_IN_A_ROW = 25
"""Pictures that were not finite or not a face, from whomever, without a good one between."""
IN_FLIGHT = 2
VRAM_EVERY_S = 1.0

Check = Callable[[Planes, AvatarFrame], str | None]


class DeviceLost(MienError):
    """The GPU gives nothing any more."""


class Runner:
    """The thread and what it owns. Methods without an underscore may be called from any thread.

    Args:
        make_core: makes the core, on the thread; may take minutes.
        frames: what calibration renders.
        check: says why a picture must not be shown; None: nothing is checked.
        on_ready: called on the thread with the speeds and the core's first look at its memory.
        on_lost: called on the thread when this life has ended on its own, with the reason.
    """

    def __init__(
        self,
        make_core: Callable[[], PictureCore],
        frames: Sequence[AvatarFrame],
        check: Check | None,
        on_ready: Callable[[Runner, Speeds], None],
        on_lost: Callable[[Runner, BaseException], None],
        *,
        delay_s: float = 0.0,
    ) -> None:
        self.call_began: float | None = None
        """When the call into the core began that is going on now."""
        self.vram: Vram | None = None
        self.fps = 0.0
        """Pictures a second, as calibrated or less."""
        self.batches = 0
        self.unfit = 0
        self._make_core = make_core
        self._frames = frames
        self._check = check
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._delay_s = delay_s
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._guests: dict[int, Guest] = {}
        self._avatars: OrderedDict[Identity, Any] = OrderedDict()
        self._flying: list[tuple[list[Ask], Pending, float]] = []
        """What is on the device, and when it is expected to end."""
        self._failures = 0
        self._unfit_in_a_row = 0
        self._vram_at = 0.0
        self._made: PictureCore | None = None
        self._scheduler: Scheduler[Ask]
        self._tiers: Tiers
        self._thread = threading.Thread(target=self._live, name="musetalk-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the call that is going on; what is asked for is not answered any more."""
        self._stopped.set()
        self._commands.put(None)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> bool:
        """Whether the thread has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # -- what conversations say; carried out in order, on the thread

    def enter(
        self, session: int, identity: Identity, on_tier: Callable[[Tier], None], *, patient: bool = False
    ) -> None:
        """A conversation is on; ``patient``: it has no tier, and lowers nobody's."""
        self._commands.put(lambda: self._enter(session, identity, on_tier, patient))

    def leave(self, session: int) -> None:
        self._commands.put(lambda: self._leave(session))

    def push(self, session: int, segment: int, pcm: Pcm) -> None:
        self._commands.put(lambda: self._push(session, segment, pcm))

    def forget(self, session: int, segment: int) -> None:
        """Its speech; the mouths of what was shown are kept."""
        self._commands.put(lambda: self._forget(session, segment))

    def ask(self, ask: Ask, *, along: bool = False) -> None:
        """Ask for a picture; ``along``: the mouth of the picture before will do, if it is there or on its way."""
        self._commands.put(lambda: self._ask(ask, along))

    def withdraw(self, ask: Ask) -> None:
        self._commands.put(lambda: self._withdraw(ask))

    def spoke(self, session: int) -> None:
        """A picture of its speech was shown without being asked for here."""
        self._commands.put(lambda: self._tiers.spoke(session, time.monotonic()) if session in self._guests else None)

    # -- the thread

    def _live(self) -> None:
        try:
            if self._stopped.wait(self._delay_s):
                return
            self._made = self._make_core()
            speeds = calibrate(self._core, self._frames)
            self._scheduler, self._tiers = Scheduler(speeds), Tiers(speeds.fps)
            self.fps = speeds.fps
            self._look_at_memory(time.monotonic())
            self._on_ready(self, speeds)
            while not self._stopped.is_set():
                self._step()
        except Exception as error:  # whatever ended it, the engine must know, or all lips stand still for ever
            self._let_go()
            if not self._stopped.is_set():
                self._on_lost(self, error)
        else:
            self._let_go()

    @property
    def _core(self) -> PictureCore:
        assert self._made is not None, "only between its making and its end"
        return self._made

    def _let_go(self) -> None:
        """Before another core is made: this one's memory is needed."""
        self._flying.clear()
        self._guests.clear()
        self._avatars.clear()
        self._made = None

    def _step(self) -> None:
        self._obey(self._patience_s(time.monotonic()))
        if self._stopped.is_set():
            return
        now = time.monotonic()
        for session, tier in self._tiers.review(now).items():
            logger.info("conversation %d: lips at %g a second", session, tier.lips_hz)
            self._guests[session].on_tier(tier)
        due = self._scheduler.due_s(now) if len(self._flying) < IN_FLIGHT else None
        if due is not None and due <= now:
            self._launch(now)
        elif self._flying and (len(self._flying) == IN_FLIGHT or now >= self._scheduler.free_s - AHEAD_S):
            self._read()
            self._look_at_memory(now)

    def _patience_s(self, now: float) -> float | None:
        """How long commands may be waited for."""
        if len(self._flying) == IN_FLIGHT:
            return 0.0
        due = self._scheduler.due_s(now)
        if due is None and self._flying:
            due = self._scheduler.free_s - AHEAD_S
        return None if due is None else max(0.0, due - now)

    def _obey(self, patience_s: float | None) -> None:
        try:
            command = self._commands.get(timeout=patience_s) if patience_s else self._commands.get(patience_s is None)
            while command is not None and not self._stopped.is_set():
                command()
                command = self._commands.get_nowait()
        except queue.Empty:
            return

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Around every call into the core: the engine watches how long it takes."""
        self.call_began = time.monotonic()
        try:
            yield
        finally:
            self.call_began = None

    def _look_at_memory(self, now: float) -> None:
        if now - self._vram_at >= VRAM_EVERY_S:
            self._vram_at = now
            with self._calling():
                self.vram = self._core.vram()

    # -- commands

    def _enter(self, session: int, identity: Identity, on_tier: Callable[[Tier], None], patient: bool) -> None:
        guest = Guest(identity, on_tier)
        self._guests[session] = guest
        if not patient:
            self._tiers.join(session)
        try:
            if identity not in self._avatars:
                with self._calling():
                    self._avatars[identity] = self._core.avatar(identity.frames)
            self._avatars.move_to_end(identity)
            guest.avatar = self._avatars[identity]
        except Exception as error:  # one portrait that does not fit must not end the others' conversations
            logger.warning("a portrait cannot be shown: %s", error)
            guest.error = error if isinstance(error, MienError) else PictureLost(f"the portrait failed: {error!r}")
        used = {other.identity for other in self._guests.values()}
        for old in [old for old in self._avatars if old not in used][: max(0, len(self._avatars) - AVATARS_KEPT)]:
            del self._avatars[old]

    def _leave(self, session: int) -> None:
        self._guests.pop(session, None)
        self._tiers.leave(session)
        self._scheduler.leave(session)

    def _push(self, session: int, segment: int, pcm: Pcm) -> None:
        guest = self._guests.get(session)
        if guest is not None:
            heard = self._heard(guest, segment)
            heard.audio.append(pcm)
            with self._calling():
                heard.stream.push(pcm)

    def _heard(self, guest: Guest, segment: int) -> Heard:
        if segment not in guest.segments:
            with self._calling():
                guest.segments[segment] = Heard(self._core.listen())
        return guest.segments[segment]

    def _forget(self, session: int, segment: int) -> None:
        guest = self._guests.get(session)
        if guest is not None:
            guest.segments.pop(segment, None)

    def _ask(self, ask: Ask, along: bool) -> None:
        guest = self._guests.get(ask.session)
        if guest is None or not ask.wanted:
            return
        if guest.error is not None:
            ask.resolve(guest.error)
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
        self._scheduler.add(ask)

    def _withdraw(self, ask: Ask) -> None:
        ask.wanted = False
        if self._scheduler.drop(ask):
            self._settled(ask, time.monotonic())
        for other in ask.company:
            if other.wanted:
                self._ask(other, False)
        ask.company.clear()

    def _settled(self, ask: Ask, now: float) -> None:
        """It is in time, or late, or was not wanted any more before it was due."""
        guest = self._guests.get(ask.session)
        if guest is not None and guest.asks.get((ask.segment, ask.n)) is ask:
            del guest.asks[ask.segment, ask.n]
        late = now > ask.deadline_s
        if ask.wanted or late:
            self._tiers.shown(ask.session, late, now)
            self._scheduler.settle(ask.session, now - ask.deadline_s)

    # -- batches

    def _launch(self, now: float) -> None:
        asks = self._scheduler.pick(now)
        encode(self._core, self._guests, asks, self._calling, self._lost)
        asks = [ask for ask in asks if self._features(ask) is not None]
        if not asks:
            self._scheduler.freed(time.monotonic(), busy=bool(self._flying))
            return
        self.batches += 1
        try:
            with self._calling():
                pending = self._core.submit([self._job(ask) for ask in asks])
            self._flying.append((asks, pending, self._scheduler.free_s))
        except OutOfMemory as error:
            self._smaller(asks, error)
        except Exception as error:  # a batch of several conversations: find out whose fault it was
            self._split(asks, error)

    def _read(self) -> None:
        asks, pending, expected_s = self._flying.pop(0)
        behind_s = 0.0
        try:
            with self._calling():
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
                    behind_s = max(0.0, now - self._scheduler.speeds.deliver_s - expected_s)
                self._scheduler.freed(now, behind_s=behind_s, busy=bool(self._flying))
                self._hand_out(asks, pictures)

    def _job(self, ask: Ask) -> Job:
        return Job(self._features(ask), self._guests[ask.session].avatar, ask.frame)

    def _features(self, ask: Ask) -> Any:
        guest = self._guests.get(ask.session)
        return None if guest is None else guest.features.get((ask.segment, ask.n))

    def _smaller(self, asks: Sequence[Ask], error: OutOfMemory) -> None:
        """No memory: batches are half as large from now on, and these asks wait again."""
        speeds = self._scheduler.speeds
        half = {size: time_s for size, time_s in speeds.batch_s.items() if size < speeds.largest}
        if not half:
            raise DeviceLost(f"not even one picture fits in the GPU's memory: {error}") from error
        logger.error("batches of %d no longer fit, the largest is %d now: %s", speeds.largest, max(half), error)
        self._scheduler.speeds = Speeds(half, speeds.encode_s, speeds.deliver_s)
        self.fps = self._tiers.fps = self._scheduler.speeds.fps
        for ask in asks:
            if ask.wanted and ask.session in self._guests:
                self._scheduler.add(ask)
        self._scheduler.freed(time.monotonic(), busy=bool(self._flying))

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
        self._scheduler.freed(time.monotonic(), busy=bool(self._flying))

    def _halves(self, asks: list[Ask], error: BaseException) -> int:
        """How many pictures came of it."""
        if len(asks) == 1:
            self._lost(asks[0], PictureLost(f"the GPU failed: {error!r}"))
            return 0
        good = 0
        middle = len(asks) // 2
        for half in (asks[:middle], asks[middle:]):
            try:
                with self._calling():
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
            reason = self._unfit(picture, frame)
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

    def _unfit(self, picture: Planes | None, frame: AvatarFrame) -> str | None:
        if picture is None:
            return "it is not finite"
        try:
            return None if self._check is None else self._check(picture, frame)
        except Exception as error:  # a frame that cannot be looked at is one conversation's
            return f"it could not be checked: {error!r}"

    def _carry(self, guest: Guest, picture: Planes, made_on: AvatarFrame, ask: Ask) -> None:
        onto = guest.identity.frames[ask.frame]
        ask.resolve(eased(carried(picture, made_on, onto), onto, ask.weight))

    def _lost(self, ask: Ask, error: MienError) -> None:
        ask.resolve(error)
        for other in ask.company:
            other.resolve(error)
        ask.company.clear()
        self._settled(ask, time.monotonic())
