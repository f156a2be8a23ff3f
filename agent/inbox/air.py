"""What the playout has been given of messages, and has not finished: at most the one on air and the one after it.

In: speeches, one after the other; the playout's ends of segments. Out: segments, fed as the speech is made and as the
playout has room; the speech that ended. A cut ends all that the playout has: what was not meant begins anew.
"""

from __future__ import annotations

import asyncio
from collections import deque

from agent.inbox.speech import Speech
from avatar.playout import Finished, Playout

AHEAD_S = 4.0
"""How much speech the playout is given ahead."""


class Air:
    """One program's.

    Args:
        changed: set when something here has changed.

    Attributes:
        speeches: the first one is on air.
        again: was handed over, and cut with the one before it: to be fed once more.
        cutting: `cut` is under way.
    """

    def __init__(self, changed: asyncio.Event) -> None:
        self.speeches: deque[Speech] = deque()
        self.again: Speech | None = None
        self.cutting = False
        self._changed = changed
        self._playout: Playout | None = None

    def bind(self, playout: Playout) -> None:
        self._playout = playout

    @property
    def playout(self) -> Playout:
        assert self._playout is not None, "bind() comes first"
        return self._playout

    async def feed(self, speech: Speech) -> bool:
        """Give the playout all of a speech that is among ``speeches``; False when it ends without any sound."""
        while (spoken := await speech.next()) is not None:
            await self.playout.room(AHEAD_S)
            if not speech.is_next(spoken) or speech.over:
                continue  # it was cut while it waited: its end, or its beginning anew
            if spoken.pcm.size:
                speech.segment = self.playout.push(spoken.pcm)
            await speech.pushed()
            if speech is self.speeches[0]:
                speech.let_go()
        if speech.over:
            return True
        if speech.segment is None:
            return False
        speech.pushed_all = True
        speech.captions.flush()
        self.playout.end()
        self._changed.set()
        return True

    def ended(self, event: Finished) -> Speech | None:
        """The speech whose segment has ended, which is then no more among them; None when it is none of them, or was
        cut together with another and begins anew."""
        speech = next((each for each in self.speeches if each.segment == event.segment), None)
        if speech is None:
            return None
        if event.interrupted and self.cutting and speech.skipped is None:
            fed = speech.pushed_all  # else whoever feeds it right now begins anew
            speech.rewind()
            self.again = speech if fed else None
            self._changed.set()
            return None
        self.speeches.remove(speech)
        return speech

    def cut(self) -> None:
        """End all that the playout has, with a fade. The ends come within this call."""
        self.cutting = True
        self.playout.clear()
        self.cutting = False
