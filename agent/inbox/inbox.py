"""The inbox: what is to be said, in order, and what became of it.

In: messages with the deliveries that brought them, from any front end. Out: the next one to say (`take`), the highest
priority first and then in order of arrival; for each delivery exactly one `Outcome`; and events for whoever listens.
An id that was settled is remembered and not said again. Everything runs on one event loop; nothing here waits.

It does not know who speaks, nor which broker brought a message.
"""

from __future__ import annotations

import asyncio
import bisect
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from agent.inbox.messages import Command, ControlMessage, Message, Speakable, TextMessage
from avatar.frames import MienError

logger = logging.getLogger(__name__)

CAPACITY = 1000
CAPACITY_BYTES = 256 * 2**20
"""Of what waits: a thousand recordings of the longest kind would be 8 GiB."""
SHOWN = 80
"""Characters of a text that are told to whoever looks at the queue."""
REMEMBERED = 10_000
"""Ids of settled messages that are known again."""

Kind = Literal["played", "failed", "skipped"]
EventKind = Literal["accepted", "started", "finished", "failed", "skipped"]


class InboxFull(MienError):
    """There is no room for another message now."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message: said to its end, failed (why), or taken out by somebody (how)."""

    kind: Kind
    reason: str = ""


PLAYED = Outcome("played")


class Delivery(Protocol):
    """How a message came. It is settled exactly once, unless it died before: then its broker delivers again."""

    @property
    def live(self) -> bool:
        """Whether settling it still means anything."""

    def settle(self, outcome: Outcome) -> None:
        """The message is done with; returns at once and raises nothing."""


class Handed:
    """A delivery that nobody waits for: the message came by a call that has long been answered. It gives way to the
    next one of the same id: what is posted again and again while it is held leaves nothing behind."""

    live = False

    def settle(self, outcome: Outcome) -> None:
        """Nothing to be told."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a message.

    Args:
        at: seconds since the epoch.
        reason: of a failure, or how it was skipped.
        waited_s: from its arrival to its first sound, once it has started.
    """

    kind: EventKind
    id: str
    session_id: str
    at: float
    reason: str = ""
    waited_s: float | None = None


@dataclass(eq=False, slots=True)
class Item:
    """A message that is not settled yet.

    Args:
        order: its place by arrival.
        arrived_at: seconds of the event loop's clock.
    """

    message: Speakable
    order: int
    arrived_at: float
    deliveries: list[Delivery] = field(default_factory=list)
    waited_s: float | None = None

    @property
    def id(self) -> str:
        return self.message.id

    @property
    def rank(self) -> tuple[int, int]:
        """The lowest is said first."""
        return -self.message.priority, self.order

    def told(self, state: str, now: float) -> dict[str, Any]:
        """What may be shown of it, as JSON.

        Args:
            now: of the event loop's clock.
        """
        message = self.message
        return {
            "id": self.id,
            "state": state,
            "session_id": message.session_id,
            "type": message.type,
            "priority": message.priority,
            "waited_s": round(now - self.arrived_at, 3),
            "shows": message.data[:SHOWN] if isinstance(message, TextMessage) else message.format,
        }


Receipt = Literal["accepted", "duplicate", "done"]
"""``duplicate``: the id waits, is being said, or was settled; ``done``: a control was carried out."""


class Inbox:
    """One program's.

    Args:
        capacity, capacity_bytes: how many messages may wait, and how much they may hold together.
        remembered: how many settled ids are known again.
    """

    def __init__(
        self, *, capacity: int = CAPACITY, capacity_bytes: int = CAPACITY_BYTES, remembered: int = REMEMBERED
    ) -> None:
        self.on_control: Callable[[Command], None] = lambda command: None
        self.listeners: list[Callable[[Event], None]] = []
        self.on_change: Callable[[], None] = lambda: None
        """Called when the first of those that wait may be another one."""
        self.settled: dict[Kind, int] = {"played": 0, "failed": 0, "skipped": 0}
        self.duplicates = 0
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._remembered = remembered
        self._done: OrderedDict[str, Outcome] = OrderedDict()
        self._held: dict[str, Item] = {}
        self._waiting: list[Item] = []
        self._arrivals = 0

    # -- the front ends' side

    def put(self, message: Message, delivery: Delivery, *, bounded: bool = True) -> Receipt:
        """Take a message in; a control is carried out now.

        Args:
            bounded: refuse it when the inbox is full; a front end with a bound of its own (a prefetch) says False.

        Raises:
            InboxFull: nothing was taken, and the delivery is not settled.
        """
        known = self._done.get(message.id)
        if known is not None:
            self.duplicates += 1
            logger.info("message %s came again after it was %s: not said twice", message.id, known.kind)
            delivery.settle(known)
            return "duplicate"
        if isinstance(message, ControlMessage):
            self._control(message, delivery)
            return "done"
        held = self._held.get(message.id)
        if held is not None:
            self.duplicates += 1
            logger.info("message %s came again while it is held: not said twice", message.id)
            # What died with its connection is delivered again: the newer delivery is the one to settle.
            held.deliveries = [*(each for each in held.deliveries if each.live), delivery]
            return "duplicate"
        if bounded:
            self._check_room(message)
        self._arrivals += 1
        item = Item(message, self._arrivals, asyncio.get_running_loop().time(), [delivery])
        self._held[item.id] = item
        self._insert(item)
        self._tell("accepted", item)
        return "accepted"

    def remove(self, message_id: str, reason: str = "removed") -> bool:
        """Take out one that waits; False when none of this id does."""
        item = self._held.get(message_id)
        if item is None or item not in self._waiting:
            return False
        self._waiting.remove(item)
        self.settle(item, Outcome("skipped", reason))
        return True

    def clear(self, reason: str = "cleared") -> int:
        """Take out all that wait; returns how many."""
        gone, self._waiting = self._waiting, []
        for item in gone:
            self.settle(item, Outcome("skipped", reason))
        return len(gone)

    # -- the speaker's side

    @property
    def waiting(self) -> tuple[Item, ...]:
        """Those that wait, in the order in which they will be said."""
        return tuple(self._waiting)

    @property
    def backlog(self) -> int:
        return len(self._waiting)

    def take(self) -> Item | None:
        """The next one to say, if there is one. It is the caller's until `settle` or `give_back`."""
        return self._waiting.pop(0) if self._waiting else None

    def give_back(self, item: Item) -> None:
        """It was taken too early: it waits again, in its old place."""
        self._insert(item)

    def started(self, item: Item) -> None:
        """Its first sound was released."""
        if item.waited_s is None:
            item.waited_s = asyncio.get_running_loop().time() - item.arrived_at
            self._tell("started", item)

    def settle(self, item: Item, outcome: Outcome) -> None:
        """It is done with: every delivery that brought it is told, and its id is remembered."""
        del self._held[item.id]
        self._remember(item.id, outcome)
        self.settled[outcome.kind] += 1
        self._tell("finished" if outcome.kind == "played" else outcome.kind, item, outcome.reason)
        for delivery in item.deliveries:
            delivery.settle(outcome)

    # -- inside

    def _check_room(self, message: Speakable) -> None:
        if len(self._waiting) >= self._capacity:
            raise InboxFull(f"{len(self._waiting)} messages wait already: send this one again later")
        held = sum(len(item.message.data) for item in self._waiting)
        if held + len(message.data) > self._capacity_bytes:
            raise InboxFull(
                f"the {len(self._waiting)} messages that wait hold {held / 2**20:.0f} MiB: send this one again later"
            )

    def _insert(self, item: Item) -> None:
        bisect.insort(self._waiting, item, key=lambda each: each.rank)
        self.on_change()

    def _control(self, message: ControlMessage, delivery: Delivery) -> None:
        logger.info("message %s: %s", message.id, message.data)
        self._remember(message.id, PLAYED)
        self.on_control(message.data)
        delivery.settle(PLAYED)

    def _remember(self, message_id: str, outcome: Outcome) -> None:
        self._done[message_id] = outcome
        while len(self._done) > self._remembered:
            self._done.popitem(last=False)

    def _tell(self, kind: EventKind, item: Item, reason: str = "") -> None:
        event = Event(kind, item.id, item.message.session_id, time.time(), reason, item.waited_s)
        for listener in self.listeners:
            listener(event)
