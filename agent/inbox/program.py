"""The program: says what the inbox holds, one message after the other, through a playout that runs all the time.

In: items of the inbox; the playout's `Started` and `Finished` (it is its listener) and its ticks; controls. Out: speech
as segments; each item settled once; states with the id of the message they are about; captions.

While one message plays, the next is prepared, and handed to the playout shortly before the end, so that hardly a
tick of idle lies between them. Until it is on air it can be taken back: for a message of higher priority, by `stop`, or
because a `skip` of the one before cut it too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

from agent.inbox.air import Air
from agent.inbox.inbox import PLAYED, Inbox, Item, Outcome
from agent.inbox.messages import Command, Speakable, TextMessage
from agent.inbox.showing import revealed
from agent.inbox.speech import Speech
from agent.inbox.states import State as State
from agent.inbox.states import States
from agent.inbox.voicing import Spoken
from avatar.frames import TICK_MS
from avatar.playout import Finished, Playout, Started, TickReport
from avatar.renderer import Expression

logger = logging.getLogger(__name__)

TICK_S = TICK_MS / 1000
HANDOVER_S = 0.32
"""How long before the end of a message the playout gets the next one: a renderer's lookahead and start."""
SENT_S = 0.08
"""Sound that was released this long ago has been sent by every sink."""


class Program:
    """Make it, then the playout with it as listener, `bind` the two, pass it the ticks (`on_tick`), and `run` it.

    Args:
        speak: makes a message's speech, as `Voicing.speak`.

    Attributes:
        on_state: called with each new state and the id of the message that it is about.
        on_caption: called with a message's id, its text so far as the voice reaches it, and whether that is the end.
        on_gap: called with how long nothing was said between two messages of which the second waited for the first.
    """

    def __init__(self, inbox: Inbox, speak: Callable[[Speakable], AsyncGenerator[Spoken]]) -> None:
        self.inbox = inbox
        self.on_state: Callable[[State, str | None], None] = lambda state, message_id: None
        self.on_caption: Callable[[str, str, bool], None] = lambda message_id, text, final: None
        self.on_gap: Callable[[float], None] = lambda gap_s: None
        self.paused = False
        self.running = True
        """Whether new messages are begun (`start`, `stop`)."""
        self._speak = speak
        self._preparing: Speech | None = None
        self._changed = asyncio.Event()
        self._air = Air(self._changed)
        self._handed = self._air.speeches
        self._ending = False
        self._closed = False
        self._position_s = 0.0
        self._ended_at: float | None = None
        self._states = States()
        self._states.listener = self._entered
        inbox.on_control = self.control
        inbox.on_change = self._changed.set

    def bind(self, playout: Playout) -> None:
        self._air.bind(playout)

    @property
    def state(self) -> State:
        return self._states.state

    @property
    def message_id(self) -> str | None:
        """Of the message that the state is about."""
        return self._states.message_id

    @property
    def playout(self) -> Playout:
        return self._air.playout

    # -- the program

    async def run(self) -> None:
        """Say what comes until cancelled."""
        while True:
            await self._repeat()
            item = self.inbox.take() if self._begins else None
            if item is None:
                await self._change()
                continue
            self._preparing = speech = self._prepare(item)
            if not self._handed:
                self._states.enter(State.PROCESSING, item.id)
            if await self._its_turn(speech):
                self._preparing = None
                self._handed.append(speech)
                await self._hand_over(speech)

    @property
    def _begins(self) -> bool:
        return self.running and not self._ending

    def _prepare(self, item: Item) -> Speech:
        def caption(told: dict[str, Any]) -> None:
            self.on_caption(item.id, told["text"], bool(told["final"]))

        return Speech(item, self._speak(item.message), caption)

    async def _its_turn(self, speech: Speech) -> bool:
        """Wait until the message may be handed over; False when it was taken back or taken out instead."""
        while not speech.over:
            first = self.inbox.waiting[:1]
            if not self._begins or (first and first[0].rank < speech.item.rank):
                self._take_back(speech)
                return False
            if self._air.again is not None:
                await self._repeat()
            elif not self._handed:
                return True
            else:
                last = self._handed[-1]
                left_s = self.playout.ahead_s - HANDOVER_S
                if len(self._handed) == 1 and last.pushed_all and left_s <= 0 and speech.has_sound:
                    return True
                await self._change(max(TICK_S, left_s))
        return False

    def _take_back(self, speech: Speech) -> None:
        self._preparing = None
        speech.close()
        self.inbox.give_back(speech.item)
        if not self._handed and not self._begins:
            self._states.enter(State.IDLE)

    async def _repeat(self) -> None:
        """Hand over once more what was cut with the message before it."""
        speech, self._air.again = self._air.again, None
        if speech is not None and not speech.over:
            await self._hand_over(speech)

    async def _hand_over(self, speech: Speech) -> None:
        if not await self._air.feed(speech):
            await self._unspoken(speech)
            return
        while speech.failure is not None and not speech.over:  # the rest of it does not come
            if speech.broke_off:
                await self._unspoken(speech)
            elif self._air.again is not None:
                await self._repeat()
            else:
                await self._change()

    async def _unspoken(self, speech: Speech) -> None:
        """Nobody can say it, or the rest of it: the text is shown instead, as long as one reads it, and it fails."""
        while not speech.over and self._handed[0] is not speech:
            await self._change()
        message, reason = speech.item.message, speech.failure or "there was no sound in it"
        if isinstance(message, TextMessage):
            rest = message.data.removeprefix(speech.heard)
            for text, seconds in revealed(rest):
                if speech.over:
                    break
                self.on_caption(speech.item.id, text, text == rest)
                until = self._now() + seconds
                while not speech.over and (left_s := until - self._now()) > 0:
                    await self._change(left_s)
        if not speech.over:
            self._handed.remove(speech)
            self._settle(speech, Outcome("failed", reason))
            self._go_on(speech)

    # -- what the playout tells

    def on_started(self, event: Started) -> None:
        for speech in self._handed:
            if speech.segment == event.segment:
                speech.sounding = True
                self.inbox.started(speech.item)
                if speech is self._handed[0]:
                    self._talk(speech)

    def on_finished(self, event: Finished) -> None:
        if self._closed:
            return
        speech = self._air.ended(event)
        if speech is None:
            return
        heard = speech.captions.finished(event.position_s, interrupted=event.interrupted)
        if speech.skipped is not None:
            outcome = Outcome("skipped", speech.skipped)
        elif speech.failure is not None and not event.interrupted:
            self._break_off(speech, heard or "")
            return
        elif speech.failure is not None:
            outcome = Outcome("failed", speech.failure)
        elif event.interrupted:
            outcome = Outcome("skipped", "interrupted")
        else:
            outcome = PLAYED
        self._settle(speech, outcome)
        if not self._air.cutting:
            self._go_on(speech)

    def on_tick(self, report: TickReport) -> None:
        """Each tick of the playout: captions follow the voice."""
        speech = self._handed[0] if self._handed else None
        if speech is not None and report.segment is not None and report.segment == speech.segment:
            self._position_s = report.position_s
            speech.captions.reached(report.position_s)
            if self._ending:
                self._changed.set()

    def _break_off(self, speech: Speech, heard: str) -> None:
        """What there was of it has been heard: whoever handed it over goes on with the rest."""
        speech.broke_off, speech.heard, speech.segment = True, heard, None
        self._handed.appendleft(speech)
        self._states.enter(State.PROCESSING, speech.item.id)
        self._changed.set()

    def _settle(self, speech: Speech, outcome: Outcome) -> None:
        speech.close()
        log = logger.warning if outcome.kind == "failed" else logger.info
        log("message %s: %s%s", speech.item.id, outcome.kind, f" ({outcome.reason})" if outcome.reason else "")
        self.inbox.settle(speech.item, outcome)

    def _go_on(self, after: Speech) -> None:
        """A message has ended: what is on air now, or in preparation, or nothing."""
        self._position_s = 0.0
        if after.sounding:
            self._ended_at = self._now()
            self._states.enter(State.TRANSITIONING, after.item.id)
        while self._handed and self._handed[0].skipped is not None:
            self._cut(self._handed[0])
        if self._handed:
            speech = self._handed[0]
            speech.let_go()
            self._states.enter(State.PROCESSING, speech.item.id)
            if speech.sounding:
                self._talk(speech)
        elif self._preparing is not None:
            self._states.enter(State.PROCESSING, self._preparing.item.id)
        elif after.sounding:
            self._states.ease()
        else:
            self._states.enter(State.IDLE)
        self._changed.set()

    def _talk(self, speech: Speech) -> None:
        if self._ended_at is not None and speech.item.arrived_at < self._ended_at:
            self.on_gap(max(0.0, self._now() - self._ended_at))
        self._ended_at = None
        self._states.enter(State.TALKING, speech.item.id)

    def _entered(self, state: State, message_id: str | None) -> None:
        if state is State.TALKING:
            self.playout.express(Expression.SPEAKING)
        elif state is State.IDLE:
            self.playout.express(Expression.IDLE)
        self.on_state(state, message_id)

    # -- controls

    def control(self, command: Command) -> None:
        """Carry out what a control message asks for."""
        match command:
            case "start" | "stop":
                self.running = command == "start"
            case "pause":
                self.paused = True
                self.playout.pause()
            case "resume":
                self.paused = False
                self.playout.resume()
            case "skip":
                self.skip()
            case "clear":
                self._clear()
        self._changed.set()

    def skip(self, reason: str = "skip") -> bool:
        """End the message that is being said, or prepared when none is; False when there is none."""
        speech = self._handed[0] if self._handed else self._preparing
        if speech is None:
            return False
        speech.skipped = reason
        self._cut(speech)
        self._go_on(speech)
        return True

    def remove(self, message_id: str) -> bool:
        """Take a message out, wherever it is; False when there is none of this id."""
        if self._handed and self._handed[0].item.id == message_id:
            return self.skip("removed")
        if self._preparing is not None and self._preparing.item.id == message_id:
            speech = self._preparing
            speech.skipped = "removed"
            self._cut(speech)
            if not self._handed:
                self._go_on(speech)
            self._changed.set()
            return True
        for speech in self._handed:
            if speech.item.id == message_id:
                speech.skipped = "removed"  # it goes when its turn comes: the playout can only cut both
                return True
        return self.inbox.remove(message_id)

    def _clear(self) -> None:
        """Take out everything but the message on air."""
        self.inbox.clear()
        for speech in [*list(self._handed)[1:], *([self._preparing] if self._preparing else [])]:
            self.remove(speech.item.id)

    def _cut(self, speech: Speech) -> None:
        """End a message that is to be skipped, with a fade where it sounds; the others keep what they have."""
        assert speech.skipped is not None
        if speech.segment is not None:
            self._air.cut()
            return
        if speech is self._preparing:
            self._preparing = None
        else:
            self._handed.remove(speech)
        self._settle(speech, Outcome("skipped", speech.skipped))

    # -- the end

    async def finish(self, timeout_s: float) -> None:
        """Begin nothing new; return when the message on air has ended, its sentence has, or the time is over."""
        self._ending = True
        self._changed.set()
        until = self._now() + timeout_s
        speech = self._handed[0] if self._handed else None
        end_s: float | None = None
        while speech is not None and not speech.over and not self.paused and (left_s := until - self._now()) > 0:
            if end_s is None and self._position_s > 0:
                end_s = speech.sentence_end_s(self._position_s)
            if end_s is not None and self._position_s >= end_s + SENT_S:
                return
            await self._change(left_s)

    async def aclose(self) -> None:
        """Stop, after `run` was cancelled and before the playout is closed.

        What was not said to its end is not settled, so that a broker delivers it again.
        """
        self._closed = True
        speeches = [*self._handed, *([self._preparing] if self._preparing else [])]
        self._handed.clear()
        self._preparing = None
        for speech in speeches:
            speech.close()
        await asyncio.gather(*(speech.closed() for speech in speeches))
        self._states.close()
        self.playout.clear()

    # -- for whoever asks

    @property
    def waiting_s(self) -> float:
        """How long the message that is next has waited; 0 without one."""
        first = self.inbox.waiting[:1]
        return self._now() - first[0].arrived_at if first else 0.0

    @property
    def holds(self) -> list[tuple[Item, State]]:
        """The messages that were taken from the inbox and are not settled, in order."""
        speeches = [*self._handed, *([self._preparing] if self._preparing is not None else [])]
        return [(each.item, State.TALKING if each.sounding else State.PROCESSING) for each in speeches]

    def status(self) -> dict[str, Any]:
        """What is going on, as JSON (docs/queue.md)."""
        return {
            "state": self.state.value,
            "message": self.message_id,
            "running": self.running,
            "paused": self.paused,
            "backlog": self.inbox.backlog,
            "settled": dict(self.inbox.settled),
            "duplicates": self.inbox.duplicates,
            "messages": [
                *(item.told(state.value, self._now()) for item, state in self.holds),
                *(item.told("waiting", self._now()) for item in self.inbox.waiting),
            ],
        }

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _change(self, timeout_s: float | None = None) -> None:
        """Wait until something has changed, or so long."""
        self._changed.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            pass
