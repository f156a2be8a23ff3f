"""The reply's text, as it streams in, cut into what is spoken in one go. Text in, pieces out; joined, the pieces are
the text.

livekit-agents' sentence tokenizer finds the sentences. Two cuts are added: a long first sentence is spoken from its
first clause on, so that the voice starts early, and an endless one is cut before it outgrows what a provider takes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from livekit.agents import tokenize

LONG_FIRST = 80
"""Characters after which a first sentence no longer waits for its end."""
SHORTEST_CLAUSE = 24
"""A shorter opening clause sounds cut off, and hardly starts earlier."""
LONGEST = 400
CONTEXT = 4
"""Characters after a full stop that show that the sentence really ended there."""

_CLAUSE_END = re.compile(r"(?:[,;:]|\s[–—-]|[–—])[\"'”’)]*\s+(?=\S)|[、，；]")
_SPACE = re.compile(r"\s+(?=\S)")


@dataclass(frozen=True, slots=True)
class Piece:
    """What is spoken in one go.

    Args:
        text: with the space around it, as it was written.
        ends_sentence: the pause after it is that of a full stop, not of a comma.
    """

    text: str
    ends_sentence: bool = True

    @property
    def speakable(self) -> bool:
        return any(character.isalnum() for character in self.text)


class SentenceCutter:
    """Cuts one reply."""

    def __init__(self) -> None:
        self._first = tokenize.blingfire.SentenceTokenizer(retain_format=True, min_sentence_len=3)
        self._later = tokenize.blingfire.SentenceTokenizer(retain_format=True, min_sentence_len=12)
        self._waiting = ""
        self._begun = False

    def push(self, text: str) -> list[Piece]:
        """More of the reply; returns the pieces that are complete now."""
        self._waiting += text
        pieces: list[Piece] = []
        while (piece := self._next()) is not None:
            pieces.append(piece)
        return pieces

    def end(self) -> list[Piece]:
        """The reply is complete; returns the rest of it."""
        pieces: list[Piece] = []
        while self._waiting:
            piece = self._next()
            if piece is None:
                sentences = self._tokenizer.tokenize(self._waiting)
                piece = self._take(len(sentences[0]) if sentences else len(self._waiting))
            pieces.append(piece)
        return pieces

    @property
    def _tokenizer(self) -> tokenize.blingfire.SentenceTokenizer:
        return self._later if self._begun else self._first

    def _next(self) -> Piece | None:
        sentences = self._tokenizer.tokenize(self._waiting)
        if not sentences:
            return None
        length = len(sentences[0])
        if len(sentences) > 1 and len(self._waiting) - length >= CONTEXT and length <= LONGEST:
            if not self._begun and length > LONG_FIRST:
                return self._clause(length, LONG_FIRST) or self._take(length)
            return self._take(length)
        piece = None
        if not self._begun and len(self._waiting) > LONG_FIRST:
            piece = self._clause(len(self._waiting), LONG_FIRST)
        if piece is None and len(self._waiting) > LONGEST:
            piece = self._clause(len(self._waiting), LONGEST) or self._words()
        return piece

    def _clause(self, length: int, wanted: int) -> Piece | None:
        """The longest opening clause within ``wanted`` characters, else the first one after it."""
        best: int | None = None
        for match in _CLAUSE_END.finditer(self._waiting, 0, length):
            end = match.end()
            opened = self._waiting[:end].count("(") > self._waiting[:end].count(")")
            if end < SHORTEST_CLAUSE or length - end < CONTEXT or opened:
                continue
            if end > wanted and best is not None:
                break
            best = end
            if end > wanted:
                break
        return None if best is None else self._take(best, ends_sentence=False)

    def _words(self) -> Piece:
        spaces = [match.end() for match in _SPACE.finditer(self._waiting, 0, LONGEST)]
        return self._take(spaces[-1] if spaces else LONGEST, ends_sentence=False)

    def _take(self, length: int, *, ends_sentence: bool = True) -> Piece:
        piece = Piece(self._waiting[:length], ends_sentence)
        self._waiting = self._waiting[length:]
        self._begun = self._begun or piece.speakable
        return piece
