"""The puppet behind the renderer contract: a drawn character, painted once for each look and size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from avatar.drawn import DrawnRenderer
from avatar.puppet.ear import TrainedTracker
from avatar.puppet.look import Look
from avatar.puppet.mouth import MouthTracker
from avatar.puppet.rig import Rig


class PuppetRenderer(DrawnRenderer):
    """A drawn character that speaks any voice on one CPU core.

    Args:
        look: the persona's ``[look]`` section; see `Look`.
        size_px: side of the square picture, even, 256 to 1024.
        seed: which of many idle motions; equal seeds give equal pictures.
        new_tracker: makes the listener of one segment, with a lookahead of `LOOKAHEAD_MS`.

    The first renderer of a look and size paints it, which takes about a second: make it off the event loop. Later ones
    share the painting.

    Raises:
        LookError: the look has a field or value that is not accepted.
        RendererError: the size is not accepted.
    """

    def __init__(
        self,
        look: Mapping[str, Any],
        size_px: int = 512,
        seed: int = 0,
        new_tracker: Callable[[], MouthTracker] = TrainedTracker,
    ) -> None:
        super().__init__("puppet", Rig(Look.parse(look), size_px), seed, new_tracker)
