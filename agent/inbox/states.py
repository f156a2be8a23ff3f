"""What a program is doing, and about which message: transitions in; the state, its callback and its log line out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum

logger = logging.getLogger(__name__)

EASE_S = 0.24
"""How long after a message its mouth eases shut; then the program is idle."""


class State(StrEnum):
    IDLE = "idle"
    PROCESSING = "processing"
    TALKING = "talking"
    TRANSITIONING = "transitioning"


class States:
    """One program's.

    Attributes:
        listener: called with each new state and the id of the message that it is about.
    """

    def __init__(self) -> None:
        self.state = State.IDLE
        self.message_id: str | None = None
        self.listener: Callable[[State, str | None], None] = lambda state, message_id: None
        self._easing: asyncio.TimerHandle | None = None

    def enter(self, state: State, message_id: str | None = None) -> None:
        """Be in this state from now on; nothing happens if it is already."""
        self.close()
        if (state, message_id) == (self.state, self.message_id):
            return
        self.state, self.message_id = state, message_id
        logger.info("%s%s", state.value, f" {message_id}" if message_id else "")
        self.listener(state, message_id)

    def ease(self) -> None:
        """Be idle soon, unless another state is entered before."""
        self.close()
        self._easing = asyncio.get_running_loop().call_later(EASE_S, self.enter, State.IDLE)

    def close(self) -> None:
        """Forget what was to come."""
        if self._easing is not None:
            self._easing.cancel()
            self._easing = None
