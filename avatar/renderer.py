"""The renderer contract: speech in as it comes, one picture out for each moment that the playout names.

A renderer serves one conversation. It never decides when a picture is shown: the playout asks for picture ``n`` of a
segment *to be shown at tick t*, and the renderer answers when it can. Laws, tested for every renderer:

- any chunking of the audio gives the same pictures;
- audio beyond the lookahead never changes a picture: picture n of a segment depends on the segment's audio up to
  40 * (n + 1) ms + lookahead, on the shot and on the expressions told so far, and on nothing else;
- after ``clear``, nothing old comes out: pending answers are cancelled, cleared segments are unknown.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from avatar.frames import MienError, Pcm, Picture


class RendererError(MienError):
    """The renderer could not make a picture; the playout shows the last one and the voice goes on."""


class Refused(MienError):
    """The renderer has no room for another conversation now.

    Args:
        retry_after_s: when it is worth asking again.
    """

    def __init__(self, reason: str, retry_after_s: float) -> None:
        super().__init__(f"{reason}; try again in {retry_after_s:.0f} s, or on another worker")
        self.reason = reason
        self.retry_after_s = retry_after_s


class Expression(StrEnum):
    """What the face does around its speech. The values follow LiveKit's agent states; `AMUSED` is none of them."""

    IDLE = "idle"
    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"
    AMUSED = "amused"


@dataclass(frozen=True, slots=True)
class Shot:
    """Which picture is wanted.

    Args:
        tick: the tick at which it will be shown; idle motion (breath, gaze, blinks) is a function of it.
        segment: the utterance it belongs to; None for an idle picture.
        n: the picture's index within its segment: it shows the audio from 40 * n to 40 * (n + 1) ms.
        since: how many pictures of the same kind (speech or idle) are shown in a row before it. A mouth opens from
            rest over the first few speech pictures of a run and eases shut over the first few idle ones.
        after: for an idle picture, (segment, n) of the last speech picture shown, where the mouth eases shut from.
    """

    tick: int
    segment: int | None = None
    n: int = 0
    since: int = 0
    after: tuple[int, int] | None = None


class Renderer(Protocol):
    """Turns speech into pictures for one conversation. All methods are called on one event loop and do not block."""

    @property
    def name(self) -> str:
        """For health, logs and metrics."""

    @property
    def width(self) -> int:
        """px, even."""

    @property
    def height(self) -> int:
        """px, even."""

    @property
    def lookahead_ms(self) -> float:
        """How much audio past a picture's own end it needs."""

    @property
    def lead_ticks(self) -> int:
        """How many ticks ahead it wants to be asked, at least 1."""

    @property
    def start_ticks(self) -> int:
        """How many ticks after its first audio a segment is planned to start, so that picture 0 makes it; 0 if fast."""

    @property
    def start_grace_ms(self) -> int:
        """How long a segment's sound waits for its first picture, once the picture's sound is there with its lookahead:
        40, or 200 on a GPU. For the lookahead itself it waits as long as that is, and then goes without."""

    @property
    def still(self) -> Picture:
        """The face at rest; shown before the first picture is ready and when nothing else can be."""

    def push(self, segment: int, pcm: Pcm) -> None:
        """More audio of a segment: int16 [any length] at 16 kHz. Segment numbers only grow."""

    def end(self, segment: int) -> None:
        """The segment is complete; what lies beyond its end counts as silence."""

    def clear(self, generation: int) -> None:
        """Cancel what is pending and forget all segments. The mouth positions that ``after`` may name are kept."""

    def express(self, expression: Expression, tick: int) -> None:
        """From this tick on the face wears this expression (eased in)."""

    def request(self, shot: Shot) -> asyncio.Future[Picture]:
        """Ask for a picture, at most ``lead_ticks`` ahead of its release.

        The future resolves on the calling loop: with the picture, once its audio has come; with ``RendererError``; or
        cancelled, by ``clear``. The caller cancels a future it no longer wants. Shots of a segment come in
        growing ``n`` but may be asked for again at a later tick; once a segment has been asked for, earlier ones are
        asked for no more (except by ``after``).
        """

    async def aclose(self) -> None:
        """Free threads and memory; pending futures are cancelled."""
