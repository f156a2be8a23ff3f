"""When each word of a sentence sounds: a provider's word events in, `TimedString`s out that together are the text.

Providers tell where a word begins, sometimes twice or in the middle of a number, and say nothing of dashes. Captions
need every character exactly once, in order, with a start and an end.
"""

from __future__ import annotations

import re

from livekit.agents.types import TimedString

_WORD = re.compile(r"\s*(?:[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+)[^\S\n]*\s*")
"""A word with the space around it. Scripts without spaces count by the character."""


def cut(text: str) -> list[str]:
    """The words of a text, each with the punctuation and space that follow it; joined they are the text."""
    words: list[str] = []
    for match in _WORD.finditer(text):
        word = match.group()
        if words and not any(character.isalnum() for character in word):
            words[-1] += word  # a dash, a bracket: it is said with the word before it
        elif words and not any(character.isalnum() for character in words[-1]):
            words[-1] += word
        else:
            words.append(word)
    if not words and text:
        words.append(text)
    return words


class WordTimes:
    """The times of one sentence's words, told as they become known.

    Times are in seconds from the start of the sentence and never run backwards.
    """

    def __init__(self, text: str) -> None:
        self._words = cut(text)
        self._text = text.lower()
        self._places: list[int] = []
        place = 0
        for word in self._words:
            self._places.append(place)
            place += len(word)
        self._current = 0
        """The word that sounds now; those before it have been told."""
        self._current_start_s = 0.0
        self._searched = 0

    def starts(self, position: int, start_s: float) -> list[TimedString]:
        """The word at this character begins at ``start_s``: returns the words that are over by then."""
        index = self._current
        while index + 1 < len(self._words) and self._places[index + 1] <= position:
            index += 1
        return self._advance(index, start_s)

    def finds(self, word: str, start_s: float) -> list[TimedString]:
        """The next place where ``word`` is written begins at ``start_s``; one that cannot be found is passed over."""
        position = self._text.find(word.lower(), self._searched)
        if position < 0:
            return []
        self._searched = position + len(word)
        return self.starts(position, start_s)

    def ends(self, end_s: float) -> list[TimedString]:
        """The sentence ends at ``end_s``: returns all words not yet told."""
        return self._advance(len(self._words), end_s)

    def _advance(self, index: int, now_s: float) -> list[TimedString]:
        if index == self._current:
            if index == 0:
                self._current_start_s = max(0.0, now_s)
            return []
        over = self._words[self._current : index]
        told = spread(over, self._current_start_s, max(now_s, self._current_start_s))
        self._current, self._current_start_s = index, max(now_s, self._current_start_s)
        return told


def spread(words: list[str], start_s: float, end_s: float) -> list[TimedString]:
    """Give each word its share of the time between, by its letters."""
    weights = [max(1, sum(character.isalnum() for character in word)) for word in words]
    total, step_s = sum(weights), end_s - start_s
    told: list[TimedString] = []
    before = 0
    for word, weight in zip(words, weights, strict=True):
        told.append(
            TimedString(
                word,
                start_time=start_s + step_s * before / total,
                end_time=start_s + step_s * (before + weight) / total,
            )
        )
        before += weight
    return told
