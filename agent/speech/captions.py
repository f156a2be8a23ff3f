"""Which words of a piece have been handed on, and when they sound. Word events or only a duration in; `TimedString`s
out.

Where the provider tells no times, they are estimated from the voice's pace so far and put right at the end of the
sentence.
"""

from __future__ import annotations

from collections.abc import Sequence

from livekit.agents.types import TimedString

from agent.speech.words import cut, spread


def letters(text: str) -> int:
    return sum(character.isalnum() for character in text)


class Pace:
    """How fast a voice speaks, learnt from the sentences it has finished."""

    def __init__(self, letters_a_second: float = 13.5) -> None:
        self.letters_a_second = letters_a_second

    def learn(self, text: str, duration_s: float) -> None:
        if letters(text) >= 12 and duration_s > 0.3:
            self.letters_a_second += 0.5 * (letters(text) / duration_s - self.letters_a_second)


class Captions:
    """The words of one piece.

    Args:
        text: the piece as written, with the space around it.
        pace: of the voice that speaks it.
        timed: the provider will tell times, so nothing is guessed while they are awaited.
    """

    def __init__(self, text: str, pace: Pace, *, timed: bool) -> None:
        self._text = text
        self._pace = pace
        self._will_be_told = timed
        self._base_s = 0.0
        self._cut_s = 0.0
        self._waiting: list[tuple[str, float, float]] = []
        self._timed = ""
        """What the provider gave times for; together with what it has not told yet, the stripped text."""
        self._written = 0
        self._last_s = 0.0

    @property
    def rest(self) -> str:
        """What has not been handed on to the end of a word."""
        return self._text[self._written :]

    def begin(self, base_s: float, cut_s: float) -> None:
        """Its sound begins at ``base_s`` of the reply; the provider's own time begins ``cut_s`` earlier."""
        self._base_s = base_s
        self._cut_s = cut_s

    def told(self, words: Sequence[TimedString]) -> None:
        """More of the provider's times, in seconds from its own first sample."""
        for word in words:
            if not self._text.strip().startswith(self._timed + word):
                return  # it is not telling our text: what it says of times cannot be placed
            self._timed += word
            start_s = word.start_time if isinstance(word.start_time, float | int) else self._last_s
            end_s = word.end_time if isinstance(word.end_time, float | int) else start_s
            self._waiting.append((str(word), start_s, end_s))

    def over(self, pushed_s: float) -> list[TimedString]:
        """The words that end within the first ``pushed_s`` seconds of the piece, once each."""
        if not self._will_be_told:
            return self._guessed(pushed_s)
        done: list[TimedString] = []
        while self._waiting and self._waiting[0][2] - self._cut_s <= pushed_s:
            done.append(self._write_timed(*self._waiting.pop(0)))
        return done

    def finish(self, duration_s: float) -> list[TimedString]:
        """The piece is complete: all words that are left."""
        self._pace.learn(self._text, duration_s)
        done = [self._write_timed(*word) for word in self._waiting]
        self._waiting = []
        if self.rest:
            done += [
                self._write(str(word), float(word.start_time), float(word.end_time))  # type: ignore[arg-type]
                for word in spread(cut(self.rest), min(self._last_s, duration_s), duration_s)
            ]
        return done

    def _guessed(self, pushed_s: float) -> list[TimedString]:
        done: list[TimedString] = []
        for word in cut(self.rest)[:-1]:
            end_s = self._last_s + letters(word) / self._pace.letters_a_second
            if end_s > pushed_s:
                break
            done.append(self._write(word, self._last_s, end_s))
        return done

    def _write_timed(self, word: str, start_s: float, end_s: float) -> TimedString:
        return self._write(word, start_s - self._cut_s, end_s - self._cut_s)

    def _write(self, word: str, start_s: float, end_s: float) -> TimedString:
        """Take the word off the text, with the space that the provider was not given."""
        rest = self.rest
        length = len(rest) - len(rest.lstrip()) + len(word.lstrip())
        if not rest[length:].strip():
            length = len(rest)
        self._written += length
        start_s = max(start_s, self._last_s)
        self._last_s = max(end_s, start_s)
        return TimedString(rest[:length], start_time=self._base_s + start_s, end_time=self._base_s + self._last_s)
