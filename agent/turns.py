"""The latency waterfall: what each moment of a turn cost, from the end of the user's speech to the first packet sent.

In: marks, with the time each was reached. Out: one `Turn` for each turn that was answered aloud.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

STAGES = ("transcript", "llm_first_token", "tts_first_sound", "picture_released", "packet_sent")
"""In order; each is measured from the one before it, the first from the end of the user's speech (or their Send)."""


@dataclass(frozen=True, slots=True)
class Turn:
    """``stages``: (name, ms after the stage before it). A stage that was reached ahead of its turn, as preemptive
    generation does, costs nothing: 0."""

    number: int
    stages: tuple[tuple[str, float], ...]
    total_ms: float


class TurnClock:
    """Marks may come early (preemptive generation) and again (it was thrown away): the last before the answer counts.

    Args:
        report: gets each turn when its first packet was sent.
    """

    def __init__(self, report: Callable[[Turn], None]) -> None:
        self._report = report
        self._began: float | None = None
        self._marks: dict[str, float] = {}
        self._tick: int | None = None
        self._number = 0

    def begin(self, at_s: float) -> None:
        """The user finished speaking, or sent a message, at this time."""
        self._began = at_s
        self._tick = None
        self._marks.pop("picture_released", None)

    def mark(self, stage: str, at_s: float) -> None:
        self._marks[stage] = at_s

    def released(self, tick: int, pushed_at_s: float, released_at_s: float) -> None:
        """The answer's first picture and sound were released at this tick."""
        if self._began is not None and self._tick is None:
            self._tick = tick
            self._marks["tts_first_sound"] = pushed_at_s
            self._marks["picture_released"] = released_at_s

    def sent(self, tick: int, at_s: float) -> None:
        """A packet of this tick's sound was sent."""
        if self._began is None or self._tick is None or tick < self._tick:
            return
        self._marks["packet_sent"] = at_s
        began, self._began, self._tick = self._began, None, None
        stages, last = [], began
        for stage in STAGES:
            reached = max(last, self._marks.get(stage, last))
            stages.append((stage, (reached - last) * 1000))
            last = reached
        self._marks.clear()
        self._number += 1
        self._report(Turn(self._number, tuple(stages), (last - began) * 1000))
