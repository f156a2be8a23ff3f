"""A text that nobody can speak, as it is shown instead: growing as fast as one reads, so that each page of it is seen.

Text in; what of it is to be seen, and for how long until the next of it, out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

READ_LETTERS_S = 15.0
"""About as fast as it would have been said."""
SHORTEST_READ_S, LONGEST_READ_S = 1.5, 60.0
LAST_S = 1.0
"""How long all of it stays."""
_PIECE = re.compile(r"\s*\S{1,12}")
"""A word, or part of one: some scripts have no spaces."""


def revealed(text: str) -> Iterator[tuple[str, float]]:
    """Yield ``(what is to be seen, seconds)``; of a text that takes longer to read than LONGEST_READ_S only so much."""
    spent_s, end = 0.0, 0
    for piece in _PIECE.finditer(text):
        seconds = sum(character.isalnum() for character in piece.group()) / READ_LETTERS_S
        if spent_s + seconds > LONGEST_READ_S:
            break
        if seconds:
            yield text[: piece.end()], seconds
        spent_s, end = spent_s + seconds, piece.end()
    yield text[:end], max(LAST_S, SHORTEST_READ_S - spent_s)
