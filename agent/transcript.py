"""Captions of the avatar's speech: each word on the page when the voice reaches it; and what of it was heard.

In: the transcription, words with their times (agent/speech/), and the playout's position within the utterance.
Out: `caption` messages (docs/protocol.md), one growing text an utterance; and at its end the text that counts as heard.

livekit-agents' `TranscriptSynchronizer` guesses where the voice is from the wall clock and the syllable rate of the
sound; here the times are known, and so is the position.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from livekit.agents.types import TimedString
from livekit.agents.voice import io


class _Word(NamedTuple):
    text: str
    start_s: float
    end_s: float


class Captions(io.TextOutput):
    """The end of the session's text chain. The session has one utterance at a time: it begins one when the last
    was reported finished.

    Args:
        send: takes the messages for the page.
    """

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(label="mien captions", next_in_chain=None)
        self._send = send
        self._words: list[_Word] = []
        self._shown = 0
        self._complete = False
        self._finished = False
        self._number = 0

    async def capture_text(self, text: str) -> None:
        if self._complete:
            self._clear()  # what is left was never spoken: its utterance was taken back before its first sound
        last_s = self._words[-1].end_s if self._words else 0.0
        start_s, end_s = _times(text, last_s)
        self._words.append(_Word(str(text), start_s, end_s))

    def flush(self) -> None:
        self._complete = bool(self._words)
        if self._complete and self._finished:
            self._tell(len(self._words), final=True)
            self._clear()

    # -- the playout's side

    def reached(self, position_s: float) -> None:
        """The utterance has been released up to this position: show the words that have begun."""
        shown = self._shown
        while shown < len(self._words) and self._words[shown].start_s < position_s:
            shown += 1
        if shown > self._shown:
            self._tell(shown, final=False)

    def finished(self, position_s: float, *, interrupted: bool) -> str | None:
        """The utterance is over.

        Args:
            position_s: how much of it was heard.
            interrupted: there was more to say.

        Returns:
            The text that counts as heard: a word of which at least half was; None: it had no text.
        """
        if not self._words:
            self._clear()
            return None
        heard = len(self._words)
        if interrupted:
            heard = sum((word.start_s + word.end_s) / 2 <= position_s for word in self._words)
        text = self._text(heard)
        self._finished = True
        if interrupted:
            if heard or self._shown:
                self._tell(heard, final=True, interrupted=True)
            self._clear()
        else:
            self.reached(position_s)
            if self._complete:
                self.flush()
        return text

    def _text(self, words: int) -> str:
        return "".join(word.text for word in self._words[:words])

    def _tell(self, words: int, *, final: bool, interrupted: bool = False) -> None:
        if not self._shown:
            self._number += 1
        self._shown = words or self._shown
        caption = {"type": "caption", "role": "assistant", "id": f"a{self._number}", "text": self._text(words)}
        self._send(caption | {"final": final} | ({"interrupted": True} if interrupted else {}))

    def _clear(self) -> None:
        self._words.clear()
        self._shown = 0
        self._complete = self._finished = False


def _times(text: str, last_s: float) -> tuple[float, float]:
    """When a piece of text begins and ends; without times it is said at once after the last."""
    start_s, end_s = last_s, last_s
    if isinstance(text, TimedString):
        start_s = text.start_time if isinstance(text.start_time, float | int) else last_s
        end_s = text.end_time if isinstance(text.end_time, float | int) else start_s
    return start_s, max(start_s, end_s)
