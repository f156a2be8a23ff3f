"""Keeps a stream's face moving: makes its renderer once it is on air, and another one whenever that is lost.

In: how to make one, which may take seconds and may fail; the playout that shows it, and how it fares. Out: renderers
behind a `LateFace`, each blended in; and why none moves, while none does. Nothing that goes wrong here ends the stream:
a still picture is shown, the voice goes on, and it is tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from agent.stream_face import LateFace
from avatar.frames import FPS, TICK_MS, MienError
from avatar.playout import Playout
from avatar.renderer import Renderer
from avatar.static import StaticRenderer

logger = logging.getLogger(__name__)

WATCH_S = 1.0
LOST_TICKS = 3 * FPS
"""A renderer that gave no picture for this long is replaced."""
APART_S = 20.0
"""What fails is not tried again sooner."""
CLOSE_S = 10.0


class Renewal:
    """One stream's. `begin`, then `keep`, which runs until it is cancelled.

    Args:
        make: gives another renderer, or raises.
        blend: called with the media time, in ms, from which on the pictures are another renderer's.

    Attributes:
        problem: why the face does not move; None while it does.
    """

    def __init__(
        self,
        face: LateFace,
        playout: Playout,
        make: Callable[[], Awaitable[Renderer]],
        blend: Callable[[float], None],
    ) -> None:
        self.problem: str | None = None
        self._face = face
        self._playout = playout
        self._make = make
        self._blend = blend
        self._tried_at = float("-inf")
        self._failures = 0

    async def begin(self) -> None:
        """Make the first one, and show it; where there is none, `keep` goes on trying."""
        await self._renew()

    async def keep(self) -> None:
        """Replace what gives no pictures any more."""
        stats, playout = self._playout.stats, self._playout
        fresh, since = stats.fresh, playout.tick
        while True:
            await asyncio.sleep(WATCH_S)
            if stats.fresh != fresh:
                fresh, since = stats.fresh, playout.tick
            lost = playout.tick - since >= LOST_TICKS
            if (lost or self.problem is not None) and self._now() - self._tried_at > APART_S:
                if lost:
                    logger.error("the renderer has given no picture for %d ticks: it is replaced", LOST_TICKS)
                    # At once, and before there is another: what it holds, such as its place on a GPU, is needed.
                    await self._show(StaticRenderer(self._face.still))
                await self._renew()
                since = playout.tick

    async def _renew(self) -> None:
        self._tried_at = self._now()
        try:
            renderer = await self._make()
        except Exception as error:  # somebody else's code, and a card's driver: the stream goes on without
            self._failed(error)
            return
        self.problem, self._failures = None, 0
        await self._show(renderer)

    async def _show(self, renderer: Renderer) -> None:
        """This one from now on; the one before is closed."""
        before = self._face.show(renderer)
        # So far ahead the pictures have been asked for already.
        ahead = max(before.lead_ticks, renderer.lead_ticks)
        self._blend((self._playout.tick + ahead) * TICK_MS)
        try:
            async with asyncio.timeout(CLOSE_S):
                await before.aclose()
        except Exception as error:  # it is gone; what it may have left behind ends with the process
            logger.warning("the old renderer did not close: %s", str(error) or type(error).__name__)

    def _failed(self, error: Exception) -> None:
        known = isinstance(error, MienError)
        self.problem = str(error) if known else f"a fault in the renderer: {type(error).__name__}"
        self._failures += 1
        if self._failures.bit_count() == 1:  # at every doubling: one that is away for a night fills no disk
            logger.error(
                "there is no renderer: %s; a still picture is shown, and it is tried again every %.0f s (failure %d)",
                self.problem,
                APART_S,
                self._failures,
                exc_info=None if known else error,
            )

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
