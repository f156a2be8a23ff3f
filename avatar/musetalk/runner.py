"""One life of the GPU thread, which alone calls the core: conversations' speech and asks in by queue, pictures out.

The thread makes the core, calibrates it, and then does what conversations say and the next step of a batch
(`dispatch.py`) in turn. A device that gives nothing good any more ends this life (`DeviceLost`); the engine begins
another.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from avatar.frames import Pcm
from avatar.musetalk.admission import Vram
from avatar.musetalk.avatars import AvatarFrame
from avatar.musetalk.calibration import calibrate
from avatar.musetalk.calls import Calls
from avatar.musetalk.dispatch import Dispatch
from avatar.musetalk.guests import Ask, Guest, Heard, Identity
from avatar.musetalk.jobs import PictureCore
from avatar.musetalk.mouths import Check
from avatar.musetalk.scheduler import Speeds
from avatar.musetalk.tiers import Tier, Tiers

logger = logging.getLogger(__name__)

VRAM_EVERY_S = 1.0


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
        self.vram: Vram | None = None
        self._make_core = make_core
        self._frames = frames
        self._check = check
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._delay_s = delay_s
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._guests: dict[int, Guest] = {}
        self._vram_at = 0.0
        self._made: PictureCore | None = None
        self._dispatch: Dispatch | None = None
        self._tiers: Tiers
        self._calls = Calls()
        self._thread = threading.Thread(target=self._live, name="musetalk-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the call that is going on; what is asked for is not answered any more."""
        self._stopped.set()
        self._commands.put(None)

    @property
    def call_began(self) -> float | None:
        """When the call into the core began that is going on now."""
        return self._calls.began

    @property
    def fps(self) -> float:
        """Pictures a second, as calibrated or less; 0 before."""
        return 0.0 if self._dispatch is None else self._dispatch.scheduler.speeds.fps

    @property
    def batches(self) -> int:
        return 0 if self._dispatch is None else self._dispatch.batches

    @property
    def unfit(self) -> int:
        """Pictures withheld."""
        return 0 if self._dispatch is None else self._dispatch.unfit

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
        self._commands.put(lambda: self._asks().ask(ask, along))

    def withdraw(self, ask: Ask) -> None:
        self._commands.put(lambda: self._asks().withdraw(ask))

    def spoke(self, session: int) -> None:
        """A picture of its speech was shown without being asked for here."""
        self._commands.put(lambda: self._tiers.spoke(session, time.monotonic()) if session in self._guests else None)

    def look(self) -> None:
        """Look at the device's memory: where nobody speaks no batch does."""
        self._commands.put(lambda: self._look_at_memory(time.monotonic()))

    # -- the thread

    def _live(self) -> None:
        try:
            if self._stopped.wait(self._delay_s):
                return
            self._made = self._make_core()
            speeds = calibrate(self._core, self._frames)
            self._tiers = Tiers(speeds.fps)
            self._dispatch = Dispatch(
                self._core, speeds, self._guests, self._tiers, self._check, self._calls, self._stopped
            )
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

    def _asks(self) -> Dispatch:
        assert self._dispatch is not None, "no command is obeyed before the core is calibrated"
        return self._dispatch

    def _let_go(self) -> None:
        """Before another core is made: this one's memory is needed."""
        if self._dispatch is not None:
            self._dispatch.let_go()
        self._guests.clear()
        self._made = None

    def _step(self) -> None:
        self._obey(self._asks().patience_s(time.monotonic()))
        if self._stopped.is_set():
            return
        now = time.monotonic()
        for session, tier in self._tiers.review(now).items():
            logger.info("conversation %d: lips at %g a second", session, tier.lips_hz)
            self._guests[session].on_tier(tier)
            if tier is Tier.HALF:
                self._asks().thin(session)
        if self._asks().step(now):
            self._look_at_memory(now)
        self._asks().upload(time.monotonic())

    def _obey(self, patience_s: float | None) -> None:
        try:
            command = self._commands.get(timeout=patience_s) if patience_s else self._commands.get(patience_s is None)
            while command is not None and not self._stopped.is_set():
                command()
                command = self._commands.get_nowait()
        except queue.Empty:
            return

    def _look_at_memory(self, now: float) -> None:
        if now - self._vram_at >= VRAM_EVERY_S:
            self._vram_at = now
            with self._calls():
                self.vram = self._core.vram()

    # -- commands

    def _enter(self, session: int, identity: Identity, on_tier: Callable[[Tier], None], patient: bool) -> None:
        used = {other.identity for other in self._guests.values()}
        self._guests[session] = Guest(self._asks().uploads.portrait(identity, used), on_tier)
        if not patient:
            self._tiers.join(session)

    def _leave(self, session: int) -> None:
        self._guests.pop(session, None)
        self._tiers.leave(session)
        self._asks().leave(session)

    def _push(self, session: int, segment: int, pcm: Pcm) -> None:
        guest = self._guests.get(session)
        if guest is not None:
            heard = self._heard(guest, segment)
            heard.audio.append(pcm)
            with self._calls():
                heard.stream.push(pcm)

    def _heard(self, guest: Guest, segment: int) -> Heard:
        if segment not in guest.segments:
            with self._calls():
                guest.segments[segment] = Heard(self._core.listen())
        return guest.segments[segment]

    def _forget(self, session: int, segment: int) -> None:
        guest = self._guests.get(session)
        if guest is not None:
            guest.segments.pop(segment, None)
