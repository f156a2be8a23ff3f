"""Conversations as the GPU thread knows them: their speech, their features, what they asked for. No thread of its own.

In: segments' audio and asks. Out: features for the asks, of several conversations in one call of the speech encoder.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from avatar.frames import MienError, Pcm, Planes
from avatar.musetalk.avatars import AvatarFrame
from avatar.musetalk.jobs import PictureCore, Stream
from avatar.musetalk.scheduler import Request
from avatar.musetalk.tiers import Tier

if TYPE_CHECKING:
    from avatar.musetalk.uploads import Portrait

FEATURES_KEPT = 40
"""Pictures of a conversation whose features are kept: what a pause takes back, and the mouth that eases shut."""
ENCODED_AT_ONCE = 8
"""Of 30 s each, all hidden states: 92 MB."""

Outcome = Planes | MienError


class PictureLost(MienError):
    """One picture could not be made."""


@dataclass(eq=False, frozen=True)
class Identity:
    """A prepared person; conversations that show the same one share what is on the device."""

    frames: tuple[AvatarFrame, ...]


@dataclass(eq=False, slots=True)
class Ask(Request):
    """A request for picture ``n`` of a segment on a frame of the cycle.

    Args:
        weight: how much of the generated mouth; see `mouths.eased`.
        resolve: called with the picture or the error, from any thread, once or more often; the first call counts.
    """

    segment: int = 0
    n: int = 0
    frame: int = 0
    weight: float = 1.0
    resolve: Callable[[Outcome], None] = lambda outcome: None
    company: list[Ask] = field(default_factory=list)
    """Asks for the next picture that are content with this one's mouth."""
    wanted: bool = True


@dataclass(eq=False, slots=True)
class Heard:
    """A segment's speech; kept, so that a stream that failed can begin again."""

    stream: Stream
    audio: list[Pcm] = field(default_factory=list)

    def again(self, stream: Stream) -> None:
        """From the beginning, on a fresh stream."""
        self.stream = stream
        for pcm in self.audio:
            stream.push(pcm)


@dataclass(eq=False, slots=True)
class Guest:
    """One conversation."""

    portrait: Portrait
    on_tier: Callable[[Tier], None]
    segments: dict[int, Heard] = field(default_factory=dict)
    features: OrderedDict[tuple[int, int], Any] = field(default_factory=OrderedDict)
    asks: dict[tuple[int, int], Ask] = field(default_factory=dict)
    """The latest ask of each picture that waits or is in a batch."""
    shown: tuple[int, int, int, Planes] | None = None
    """The last picture made: segment, n, frame, planes (before easing)."""

    @property
    def identity(self) -> Identity:
        return self.portrait.identity

    def keep(self, segment: int, n: int, features: Any) -> None:
        self.features[segment, n] = features
        while len(self.features) > FEATURES_KEPT:
            self.features.popitem(last=False)


def encode(
    core: PictureCore,
    guests: Mapping[int, Guest],
    asks: Sequence[Ask],
    calling: Callable[[], AbstractContextManager[None]],
    lost: Callable[[Ask, MienError], None],
) -> None:
    """See to it that each ask's features are with its guest, or tell ``lost`` why not.

    Args:
        calling: entered around each call into the core.
    """
    wanted: list[tuple[Guest, Heard, Ask]] = []
    for ask in sorted(asks, key=lambda ask: (ask.session, ask.segment, ask.n)):
        guest = guests[ask.session]
        heard = guest.segments.get(ask.segment)
        if (ask.segment, ask.n) in guest.features:
            continue
        previous = wanted[-1] if wanted else None
        follows = previous is not None and previous[1] is heard and previous[2].n + 1 == ask.n
        gap = previous is not None and previous[1] is heard and not follows
        if gap or len(wanted) == ENCODED_AT_ONCE:
            _encode(core, guests, wanted, calling, lost)  # what lies between must be taken in in order
            wanted, follows = [], False
        if heard is None or (not follows and not _advanced(heard, ask.n, calling)):
            lost(ask, PictureLost(f"picture {ask.n} of segment {ask.segment} is not to be had any more, or not yet"))
            continue
        wanted.append((guest, heard, ask))
    if wanted:
        _encode(core, guests, wanted, calling, lost)


def _advanced(heard: Heard, n: int, calling: Callable[[], AbstractContextManager[None]]) -> bool:
    """Take speech in up to picture n; False if n has been passed, or its audio is not there."""
    with calling():
        while heard.stream.next_block.start < n and heard.stream.ready:
            heard.stream.skip()
        return heard.stream.next_block.start == n


def _encode(
    core: PictureCore,
    guests: Mapping[int, Guest],
    wanted: Sequence[tuple[Guest, Heard, Ask]],
    calling: Callable[[], AbstractContextManager[None]],
    lost: Callable[[Ask, MienError], None],
) -> None:
    try:
        with calling():
            blocks = core.features([heard.stream for _, heard, _ in wanted])
    except Exception as error:  # one conversation's speech: the others' must not suffer
        for _, heard, _ in wanted:
            with calling():
                heard.again(core.listen())
        if len(wanted) == 1:
            lost(wanted[0][2], PictureLost(f"its speech could not be encoded: {error!r}"))
            return
        for _, _, ask in wanted:
            encode(core, guests, [ask], calling, lost)
        return
    for (guest, _, ask), (block, rows) in zip(wanted, blocks, strict=True):
        for n, features in zip(range(block.start, block.stop), rows, strict=True):
            guest.keep(ask.segment, n, features)
