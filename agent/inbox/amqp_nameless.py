"""Messages without an id that a broker delivers again: which of those held, or acknowledged just now, they are.

An id is the sender's way to have a message spoken once, whatever breaks. For those that have none this does what can be
done: a body that was held when the connection broke, or acknowledged so shortly before that the broker may not have
kept it, is taken for the same message if the broker marks it as delivered before.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from dataclasses import dataclass

KEPT_S = 5.0
"""A broker that is killed may lose the acknowledgements of the last moments before."""
BOUND = 1000


@dataclass(slots=True)
class _Known:
    body: bytes
    settled_at: float | None = None


class Nameless:
    """One queue's."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._expected: dict[bytes, deque[str]] = {}

    def came(self, body: bytes, message_id: str) -> None:
        """A message without an id of its own was given this one."""
        self._known[message_id] = _Known(hashlib.sha256(body).digest())

    def settled(self, message_id: str, now: float) -> None:
        """It was acknowledged. What was so long ago is forgotten."""
        known = self._known.get(message_id)
        if known is not None:
            known.settled_at = now
            self._known.move_to_end(message_id)
        for old, each in list(self._known.items()):
            if each.settled_at is not None and each.settled_at < now - KEPT_S:
                del self._known[old]

    def lost(self, now: float) -> None:
        """The connection broke: what is known may come again."""
        for message_id, known in self._known.items():
            if known.settled_at is None or known.settled_at >= now - KEPT_S:
                self._expected.setdefault(known.body, deque(maxlen=BOUND)).append(message_id)
        self._known.clear()
        while len(self._expected) > BOUND:
            del self._expected[next(iter(self._expected))]

    def again(self, body: bytes) -> str | None:
        """The id that this body had, if it is one of those; each is told once."""
        digest = hashlib.sha256(body).digest()
        ids = self._expected.get(digest)
        if not ids:
            return None
        message_id = ids.popleft()
        if not ids:
            del self._expected[digest]
        return message_id
