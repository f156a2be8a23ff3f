"""When a tick will be released, estimated from when pictures are asked for: pure arithmetic in its caller's time.

The contract tells a renderer ticks, not times. The playout asks for a tick for the first time when the one ``lead``
ticks before it is released, never earlier; so the earliest ask of the last seconds tells where the ticks lie.
"""

from __future__ import annotations

from collections import deque

from avatar.frames import TICK_MS

TICK_S = TICK_MS / 1000
WINDOW_S = 2.0
"""A clock that started anew after a stall is believed after this long."""


class Pace:
    """One conversation's clock, from outside.

    Args:
        lead_ticks: how far ahead its playout asks.
    """

    def __init__(self, lead_ticks: int) -> None:
        self._lead_ticks = lead_ticks
        self._origins: deque[tuple[float, float]] = deque()
        """(asked at, where tick 0 would lie), rising in both: the head is the least of the window."""

    def due_s(self, tick: int, now_s: float) -> float:
        """When ``tick`` is released, as far as the asks until now, this one included, tell."""
        origin = now_s - (tick - self._lead_ticks) * TICK_S
        while self._origins and self._origins[-1][1] >= origin:
            self._origins.pop()
        self._origins.append((now_s, origin))
        while self._origins[0][0] < now_s - WINDOW_S:
            self._origins.popleft()
        return self._origins[0][1] + tick * TICK_S
