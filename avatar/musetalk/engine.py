"""The engine of a process: lets conversations onto the GPU, watches its thread, begins another where that one hangs.

In: sessions' speech and asks, from any thread or event loop. Out: pictures, by each ask's ``resolve``, from the GPU's
thread (`runner.py`). No call here waits for the GPU. A call into the GPU that takes over 5 s opens a breaker: all that
was asked for is answered with `EngineDown`, as is whatever is asked until a new thread with a new core is ready; it is
told the speech that the sessions still hold, so that lips return in mid-sentence.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from avatar.frames import TICK_MS, MienError, Pcm
from avatar.musetalk.admission import Admission
from avatar.musetalk.guests import Ask, Identity, Outcome
from avatar.musetalk.jobs import PictureCore
from avatar.musetalk.mouths import Check, incoherence
from avatar.musetalk.runner import Runner
from avatar.musetalk.scheduler import Speeds
from avatar.musetalk.tiers import Tier
from avatar.musetalk.windows import block, picture_count
from avatar.renderer import Refused

logger = logging.getLogger(__name__)

CALL_LIMIT_S = 5.0
RESTART_S = (0.0, 5.0, 20.0, 60.0)
"""How long to wait before the first, second … try in a row."""
HEALTHY_S = 60.0
"""After this long without a fault the next one counts as the first."""
JOIN_S = 5.0

State = Literal["starting", "ready", "broken", "closed"]


class EngineDown(MienError):
    """The GPU does not answer; show the still picture, it is being restarted."""


@dataclass(frozen=True, slots=True)
class Status:
    """For health and metrics."""

    state: State
    sessions: int
    fps: float
    """As calibrated; 0 before."""
    batches: int
    unfit: int
    """Pictures withheld since the thread began."""
    restarts: int
    reason: str
    """Why it is broken, or last was."""


class Engine:
    """One for the process and the card.

    Args:
        make_core: makes a core, on the GPU's thread; called again after a fault.
        identity: what the speeds are calibrated with.
        check: says why a picture must not be shown; None: only what is not finite is withheld.
    """

    def __init__(
        self,
        make_core: Callable[[], PictureCore],
        identity: Identity,
        *,
        check: Check | None = incoherence,
        strict: bool = False,
        call_limit_s: float = CALL_LIMIT_S,
        restart_s: tuple[float, ...] = RESTART_S,
    ) -> None:
        self._make_core = make_core
        self._identity = identity
        self._check = check
        self._strict = strict
        self._call_limit_s = call_limit_s
        self._restart_s = restart_s
        self._lock = threading.Lock()
        self._state: State = "starting"
        self._changed = threading.Condition(self._lock)
        self._numbers = itertools.count(1)
        self._sessions: dict[int, Session] = {}
        self._asks: set[Ask] = set()
        self._admission = Admission(0.0)
        self._faults = 0
        self._restarts = 0
        self._ready_at = 0.0
        self._reason = ""
        self._closing = threading.Event()
        self._runner = self._new_runner(0.0)
        self._watchdog = threading.Thread(target=self._watch, name="musetalk-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to load and calibrate; returns at once."""
        self._runner.start()
        self._watchdog.start()

    def wait_ready(self, timeout_s: float) -> Status:
        """Block until it is ready or has failed for the first time; not for an event loop."""
        with self._changed:
            self._changed.wait_for(lambda: self._state != "starting", timeout_s)
        return self.status

    @property
    def status(self) -> Status:
        runner = self._runner
        return Status(
            self._state,
            len(self._sessions),
            self._admission.fps,
            runner.batches,
            runner.unfit,
            self._restarts,
            self._reason,
        )

    def open(self, identity: Identity, *, patient: bool = False) -> Session:
        """Let a conversation on.

        Args:
            patient: nobody watches yet (offline rendering): it takes what the others leave, and so is never refused
                for want of speed.

        Raises:
            Refused: no room, or the GPU is not ready; with a reason and when to try again.
        """
        now = time.monotonic()
        with self._lock:
            if self._state != "ready":
                raise Refused(f"the GPU is {self._state}{': ' if self._reason else ''}{self._reason}", 10.0)
            self._admission.fps = self._runner.fps
            refusal = self._admission.refusal(now, self._runner.vram, patient=patient)
            if refusal is not None:
                self._runner.look()  # what it saw last may be long ago; who asks again shall hear what is so then
                raise refusal
            session = Session(self, next(self._numbers), identity, patient=patient)
            self._sessions[session.number] = session
            if not patient:
                self._admission.join(session.number, now)
            session.enter(self._runner)
            return session

    def close(self) -> None:
        """End both threads; blocks some seconds at most. A thread that hangs in the GPU's driver is left behind."""
        with self._lock:
            self._state = "closed"
            asks = list(self._asks)
            self._asks.clear()
            runner = self._runner
        self._closing.set()
        runner.stop()
        for ask in asks:
            ask.resolve(EngineDown("the engine was closed"))
        if runner.alive and not runner.join(JOIN_S):
            logger.error("the GPU's thread did not end in %g s and is left behind", JOIN_S)
        if self._watchdog.is_alive():
            self._watchdog.join(JOIN_S)

    # -- for sessions

    def with_runner(self, call: Callable[[Runner], None]) -> None:
        """Under the lock: what a session remembers and what the runner is told do not come apart at a restart."""
        with self._lock:
            call(self._runner)

    def ask(self, ask: Ask, *, along: bool) -> None:
        with self._lock:
            down = self._state != "ready"
            if not down:
                self._asks.add(ask)
                self._runner.ask(ask, along=along)
        if down:
            ask.resolve(EngineDown(f"the GPU is {self._state}"))

    def answered(self, ask: Ask) -> bool:
        """Whether this is the first answer."""
        with self._lock:
            first = ask in self._asks
            self._asks.discard(ask)
            return first

    def withdraw(self, ask: Ask) -> None:
        with self._lock:
            if ask in self._asks:
                self._asks.discard(ask)
                self._runner.withdraw(ask)

    def spoke(self, session: int, asked: bool) -> None:
        """A picture of its speech is shown; ``asked``: by an ask."""
        with self._lock:
            self._admission.talked(session, TICK_MS / 1000)
            if not asked:
                self._runner.spoke(session)

    def left(self, session: int) -> None:
        with self._lock:
            self._sessions.pop(session, None)
            self._admission.leave(session, time.monotonic())
            self._runner.leave(session)
            gone = [ask for ask in self._asks if ask.session == session]
            self._asks.difference_update(gone)
        for ask in gone:
            ask.resolve(EngineDown("the conversation was closed"))

    @property
    def down(self) -> bool:
        return self._state != "ready"

    # -- the GPU's thread, and when it fails

    def _new_runner(self, delay_s: float) -> Runner:
        return Runner(
            self._make_core, self._identity.frames, self._check, self._on_ready, self._on_lost, delay_s=delay_s
        )

    def _on_ready(self, runner: Runner, speeds: Speeds) -> None:
        """On the GPU's thread: calibrated."""
        now = time.monotonic()
        with self._changed:
            if runner is not self._runner or self._state == "closed":
                return
            lives = self._admission
            self._admission = Admission(speeds.fps, strict=self._strict)
            self._admission.keep(lives)
            self._state = "ready"
            self._ready_at = now
            self._changed.notify_all()
        sizes = ", ".join(f"{size}: {1000 * time_s:.1f}" for size, time_s in speeds.batch_s.items())
        logger.info("MuseTalk is ready: %.0f pictures a second (ms by batch size: %s)", speeds.fps, sizes)

    def _on_lost(self, runner: Runner, error: BaseException) -> None:
        """On the GPU's thread, its last act."""
        known = isinstance(error, MienError)
        self._break(runner, str(error) if known else repr(error), None if known else error)

    def _watch(self) -> None:
        """The watchdog: a few times within the limit it looks how long the call into the GPU has taken."""
        while not self._closing.wait(self._call_limit_s / 5):
            runner = self._runner
            began = runner.call_began
            if began is not None and time.monotonic() - began > self._call_limit_s:
                self._break(runner, f"a GPU call has taken over {self._call_limit_s:g} s")

    def _break(self, runner: Runner, reason: str, error: BaseException | None = None) -> None:
        """Open the breaker: answer everything, let go of the thread, begin another one."""
        now = time.monotonic()
        with self._changed:
            if runner is not self._runner or self._state == "closed":
                return
            if self._state == "ready" and now - self._ready_at > HEALTHY_S:
                self._faults = 0
            delay_s = self._restart_s[min(self._faults, len(self._restart_s) - 1)]
            self._faults += 1
            self._restarts += 1
            self._state = "broken"
            self._reason = reason
            asks = list(self._asks)
            self._asks.clear()
            runner.stop()
            self._runner = self._new_runner(delay_s)
            for session in self._sessions.values():
                session.enter(self._runner)
            self._changed.notify_all()
        logger.error("MuseTalk stops: %s; it is started again in %g s", reason, delay_s, exc_info=error)
        for ask in asks:
            ask.resolve(EngineDown(f"the GPU does not answer: {reason}"))
        self._runner.start()


class Session:
    """One conversation's way to the GPU; used from its own event loop."""

    def __init__(self, engine: Engine, number: int, identity: Identity, *, patient: bool = False) -> None:
        self.number = number
        self.identity = identity
        self._patient = patient
        self._engine = engine
        self._tier = Tier.FULL
        self._segments: dict[int, list[Pcm]] = {}
        self._closed = False

    @property
    def tier(self) -> Tier:
        """What its pictures should be asked for as."""
        return Tier.STILL if self._engine.down else self._tier

    def set_tier(self, tier: Tier) -> None:
        self._tier = tier

    def push(self, segment: int, pcm: Pcm) -> None:
        own = pcm.copy()

        def tell(runner: Runner) -> None:
            self._segments.setdefault(segment, []).append(own)
            runner.push(self.number, segment, own)

        self._engine.with_runner(tell)

    def end(self, segment: int) -> None:
        """What lies beyond counts as silence, as the renderer contract has it (MuseTalk itself takes empty tokens)."""
        samples = sum(len(pcm) for pcm in self._segments.get(segment, ()))
        reach = block(max(1, picture_count(samples)) - 1, largest=1).audio_stop
        self.push(segment, np.zeros(max(0, reach - samples), np.int16))

    def forget(self, before: int | None = None) -> None:
        """Let go of the speech of the segments before this one, or of all. Mouths shown are kept."""

        def tell(runner: Runner) -> None:
            for segment in [known for known in self._segments if before is None or known < before]:
                del self._segments[segment]
                runner.forget(self.number, segment)

        self._engine.with_runner(tell)

    def ask(
        self,
        segment: int,
        n: int,
        frame: int,
        deadline_s: float,
        answer: Callable[[Outcome], None],
        *,
        weight: float = 1.0,
        opening: bool = False,
        along: bool = False,
    ) -> Ask:
        """Ask for a picture.

        Args:
            deadline_s: when it is shown, of `time.monotonic`.
            answer: called once, from another thread or in this call, unless it is withdrawn before.
            along: the mouth of the picture before will do.
        """

        def resolve(outcome: Outcome) -> None:
            if self._engine.answered(ask) or isinstance(outcome, EngineDown):
                answer(outcome)

        ask = Ask(self.number, deadline_s, opening, time.monotonic(), segment, n, frame, weight, resolve)
        self._engine.ask(ask, along=along)
        return ask

    def withdraw(self, ask: Ask) -> None:
        self._engine.withdraw(ask)

    def spoke(self, *, asked: bool) -> None:
        """Told for each picture of speech, whatever its tier: who talks, and how much."""
        self._engine.spoke(self.number, asked)

    def enter(self, runner: Runner) -> None:
        """Under the engine's lock: tell a runner who this is, and a new one all that the old one knew."""
        self._tier = Tier.FULL
        runner.enter(self.number, self.identity, self.set_tier, patient=self._patient)
        for segment, pieces in self._segments.items():
            for pcm in pieces:
                runner.push(self.number, segment, pcm)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._engine.left(self.number)
