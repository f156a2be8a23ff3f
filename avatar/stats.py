"""What a playout counts; the numbers only grow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Stats:
    ticks: int = 0
    fresh: int = 0
    """Pictures shown at the tick that they were meant for."""
    repeated: int = 0
    late: int = 0
    """Speech pictures that were not there at their tick though their sound was released."""
    renderer_errors: int = 0
    dry: int = 0
    """How often a segment ran out of sound before it was complete."""
    stalls: int = 0
    """How often the clock had to start anew."""
    interruptions: int = 0
    segments: int = 0
    sinks_lost: int = 0
