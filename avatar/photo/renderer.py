"""A portrait behind the renderer contract: any picture of a face speaks through the puppet's mouth."""

from __future__ import annotations

from collections.abc import Callable

from avatar.drawn import DrawnRenderer
from avatar.frames import Picture
from avatar.photo.rig import PhotoRig, Prepared
from avatar.puppet.ear import TrainedTracker
from avatar.puppet.motion import AT_REST
from avatar.puppet.mouth import REST, MouthTracker


class PhotoRenderer(DrawnRenderer):
    """A prepared picture that speaks any voice on one CPU core, with the puppet's ear, mouth and idle life.

    Args:
        shared: the portrait, readied for a size; conversations share it.
        seed: which of many idle motions; equal seeds give equal pictures.
        new_tracker: makes the listener of one segment, with a lookahead of `LOOKAHEAD_MS`.
    """

    def __init__(
        self, shared: Prepared, seed: int = 0, new_tracker: Callable[[], MouthTracker] = TrainedTracker
    ) -> None:
        super().__init__("portrait", PhotoRig(shared), seed, new_tracker)


def still_of(shared: Prepared) -> Picture:
    """The portrait at rest."""
    return Picture(PhotoRig(shared).draw(AT_REST, REST))
