"""What the engine needs of a core, and a core's errors; imports no torch, so that doubles and policy need none.

`core.Core` is the real one. What its methods give (an avatar on the device, features) is opaque here and goes back to
it as it came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from avatar.frames import MienError, Pcm, Planes
from avatar.musetalk.admission import Vram
from avatar.musetalk.avatars import AvatarFrame
from avatar.musetalk.windows import Block

if TYPE_CHECKING:
    from torch import Tensor

    from avatar.musetalk.batches import Avatar


class CoreError(MienError):
    """The core was asked for something it cannot do."""


class Unavailable(MienError):
    """MuseTalk cannot run here."""


class OutOfMemory(CoreError):
    """The device's memory did not suffice; a smaller batch may fit."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One picture to make.

    Args:
        features: fp32 [tokens, width], as `Core.features` gives them for this picture, preferably on its device.
        frame: which frame of the avatar.
    """

    features: Tensor
    avatar: Avatar
    frame: int


class Stream(Protocol):
    """One segment's speech on its way to features; see `features.FeatureStream`."""

    @property
    def next_block(self) -> Block: ...

    @property
    def ready(self) -> bool: ...

    def push(self, pcm: Pcm) -> None: ...

    def skip(self) -> None:
        """Take the next block's audio in; nobody wants its features."""


class Pending(Protocol):
    """A batch on its way."""

    def done(self) -> bool: ...

    def pictures(self) -> list[Planes | None]:
        """Waits; None where the network gave something not finite."""


class PictureCore(Protocol):
    """Makes pictures on one device; all calls come from the one thread that made it."""

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Ascending."""

    def avatar(self, frames: Sequence[AvatarFrame]) -> Any:
        """Bring an identity onto the device."""

    def listen(self) -> Stream:
        """A new segment, in blocks of one picture."""

    def features(self, streams: Sequence[Any]) -> list[tuple[Block, Any]]:
        """The next block of each stream; a stream may be named several times for several blocks."""

    def submit(self, jobs: Sequence[Job]) -> Pending:
        """Start a batch; does not wait. Up to three may be unread."""

    def vram(self) -> Vram | None:
        """How full the device's memory is; None where there is none of its own."""
