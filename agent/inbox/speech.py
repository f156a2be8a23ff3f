"""One message's speech between those who make it and the playout: prepared a few seconds ahead, and no further.

In: the pieces that `Voicing` makes. Out: the same in order, each once; or once more from the beginning (`rewind`), as
long as nothing of them has been let go (`let_go`).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from agent.inbox.inbox import Item
from agent.inbox.voicing import Spoken
from agent.transcript import Captions
from avatar.frames import SAMPLE_RATE_HZ, MienError

logger = logging.getLogger(__name__)

READY_S = 4.0
"""How much is prepared before the playout takes it."""
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*\s*$")


class Speech:
    """Begins to prepare at once.

    Args:
        caption: takes the captions of what is heard (agent/transcript.py).

    Attributes:
        segment: of the playout, once something was pushed.
        sounding: the playout has released some of it.
        pushed_all: the playout has all of it.
        skipped: why it was cut or taken out, if it was.
        failure: why the rest of it does not come, if it does not.
        broke_off: all that came of it has been heard, and that was not all; ``heard`` is the text of it.
        over: it is settled; nothing more is to be done with it.
    """

    def __init__(self, item: Item, source: AsyncGenerator[Spoken], caption: Callable[[dict[str, Any]], None]) -> None:
        self.item = item
        self.segment: int | None = None
        self.sounding = False
        self.pushed_all = False
        self.skipped: str | None = None
        self.failure: str | None = None
        self.broke_off = False
        self.heard = ""
        self.over = False
        self._caption = caption
        self.captions = Captions(caption)
        self._source = source
        self._kept: deque[Spoken] = deque()
        self._cursor = 0
        """How many of those kept have been pushed."""
        self._ready_samples = 0
        """How many samples wait behind the cursor."""
        self._letting_go = False
        self._complete = False
        self._changed = asyncio.Event()
        self._sentence_ends: list[float] = []
        self._task = asyncio.create_task(self._prepare(), name=f"prepare {item.id}")

    async def next(self) -> Spoken | None:
        """The next piece, still to be `pushed`; None: no more comes, because it is complete, failed or over."""
        while not self.over:
            if self._cursor < len(self._kept):
                return self._kept[self._cursor]
            if self._complete:
                return None
            self._changed.clear()
            await self._changed.wait()
        return None

    def is_next(self, spoken: Spoken) -> bool:
        """Whether this is still what `next` gives: False after a `rewind`."""
        return self._cursor < len(self._kept) and self._kept[self._cursor] is spoken

    @property
    def has_sound(self) -> bool:
        """Whether there is something to say now, or it is known that there will be nothing."""
        return self._ready_samples > 0 or self._complete

    async def pushed(self) -> None:
        """What `next` gave is on its way."""
        spoken = self._kept[self._cursor]
        self._ready_samples -= spoken.pcm.size
        if self._letting_go:
            self._kept.popleft()
        else:
            self._cursor += 1
        for word in spoken.words:
            await self.captions.capture_text(word)
            if _SENTENCE_END.search(word) and isinstance(word.end_time, float | int):
                self._sentence_ends.append(word.end_time)
        self._changed.set()

    def rewind(self) -> None:
        """Nothing of it counts as said: it begins anew, with another segment."""
        assert not self._letting_go, "what has begun to sound is not said again"
        self._ready_samples += sum(spoken.pcm.size for spoken in list(self._kept)[: self._cursor])
        self._cursor = 0
        self.segment = None
        self.sounding = self.pushed_all = False
        self.captions = Captions(self._caption)
        self._sentence_ends.clear()
        self._changed.set()

    def let_go(self) -> None:
        """It is on air: what was pushed is not needed again."""
        self._letting_go = True
        for _ in range(self._cursor):
            self._kept.popleft()
        self._cursor = 0

    def sentence_end_s(self, position_s: float) -> float | None:
        """Where the sentence that sounds at this position ends, if that is known yet."""
        return next((end_s for end_s in self._sentence_ends if end_s > position_s), None)

    def close(self) -> None:
        """Stop preparing; whoever waits for more gets None."""
        self.over = True
        self._task.cancel()
        self._kept.clear()
        self._changed.set()

    async def closed(self) -> None:
        """Wait until nothing of it runs any more."""
        await asyncio.gather(self._task, return_exceptions=True)

    async def _prepare(self) -> None:
        try:
            async with aclosing(self._source) as source:
                async for spoken in source:
                    if not spoken.pcm.size and not spoken.words:
                        continue
                    self._kept.append(spoken)
                    self._ready_samples += spoken.pcm.size
                    self._changed.set()
                    while self._ready_samples > READY_S * SAMPLE_RATE_HZ:
                        self._changed.clear()
                        await self._changed.wait()
        except MienError as error:
            self.failure = str(error)
        except Exception as error:  # a voice is somebody else's code: the message fails, the program goes on
            logger.exception("message %s: its speech broke off", self.item.id)
            self.failure = f"its speech broke off: {type(error).__name__}"
        finally:
            self._complete = True
            self._changed.set()
