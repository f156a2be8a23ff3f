"""What the face wears: the session's states and what was said in, expressions out.

The state decides. After it has said something funny, or when the person laughs, the avatar is amused for a moment,
and never while it speaks. What is funny is told by the words themselves (laughter, or a joke of the built-in persona),
since nobody else in the conversation knows.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping

from agent.smalltalk_lines import JOKES
from avatar.renderer import Expression

AMUSED_S = 1.2
STATES: Mapping[str, Expression] = {
    "initializing": Expression.IDLE,
    "idle": Expression.IDLE,
    "listening": Expression.LISTENING,
    "thinking": Expression.THINKING,
    "speaking": Expression.SPEAKING,
}
"""By livekit-agents' name of the state."""

_LAUGHTER = re.compile(
    r"\b(?:a?(?:ha){2,}h?|(?:he){2,}h?|(?:ja){3,}|lo+l|rofl|lmao|just kidding"
    r"|(?:that's|that is|that was|you're|you are|so|very|how|pretty) (?:so |very |really )?(?:funny|hilarious))\b"
    "|[😂🤣😆😄😹]",
    re.IGNORECASE,
)


def funny(text: str) -> bool:
    """Whether somebody laughs in these words, or they hold one of the built-in persona's jokes."""
    return bool(_LAUGHTER.search(text.replace("’", "'"))) or any(joke in text for joke in JOKES)


class Amusement:
    """One conversation's face. It belongs to the event loop.

    Args:
        express: takes each expression from when it is worn.
        amused_s: how long amusement is worn.
    """

    def __init__(self, express: Callable[[Expression], None], amused_s: float = AMUSED_S) -> None:
        self._express = express
        self._amused_s = amused_s
        self._state = Expression.IDLE
        self._due = False
        self._over: asyncio.TimerHandle | None = None

    def state(self, name: str) -> None:
        """The session is in another state. Speech ends amusement; other states wait until it is over."""
        self._state = STATES[name]
        if self._state is Expression.SPEAKING:
            self.close()
        if self._due and self._state is not Expression.SPEAKING:
            self._amuse()
        elif self._over is None:
            self._express(self._state)

    def said(self, text: str) -> None:
        """Somebody has said this: the person, or the avatar to its end."""
        if not funny(text):
            return
        self._due = True
        if self._state is not Expression.SPEAKING:
            self._amuse()

    def close(self) -> None:
        """No longer amused, and nothing is expressed later."""
        if self._over is not None:
            self._over.cancel()
            self._over = None

    def _amuse(self) -> None:
        self.close()
        self._due = False
        self._express(Expression.AMUSED)
        self._over = asyncio.get_running_loop().call_later(self._amused_s, self._calm)

    def _calm(self) -> None:
        self._over = None
        self._express(self._state)
