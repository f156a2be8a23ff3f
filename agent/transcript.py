"""Captions of the avatar's speech: text in step with the voice from the session, one growing message to the page.

In: the session's transcription output, paced by livekit-agents' synchronizer. Out: `caption` messages
(docs/protocol.md); after an interruption a last one, with exactly the text that counts as heard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from livekit.agents.voice import io


class Captions(io.TextOutput):
    """The end of the session's text chain."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(label="mien captions", next_in_chain=None)
        self._send = send
        self._text = ""
        self._number = 0

    async def capture_text(self, text: str) -> None:
        if not self._text:
            self._number += 1
        self._text += text
        self._tell(self._text, final=False)

    def flush(self) -> None:
        if self._text:
            self._tell(self._text, final=True)
        self._text = ""

    def cut(self, heard: str) -> None:
        """The utterance that was captioned last was interrupted; ``heard`` is what the history keeps of it."""
        self._text = ""
        if self._number:
            self._tell(heard, final=True, interrupted=True)

    def _tell(self, text: str, *, final: bool, interrupted: bool = False) -> None:
        caption = {"type": "caption", "role": "assistant", "id": f"a{self._number}", "text": text, "final": final}
        self._send(caption | {"interrupted": True} if interrupted else caption)
