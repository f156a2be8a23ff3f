"""A renderer that rests while nobody sees its pictures.

In: a conversation's renderer, and whether anybody watches. Out: the same renderer, which hears all speech but draws
only while somebody does; meanwhile the face at rest stands for every picture, and the clock and the sound go on.
"""

from __future__ import annotations

import asyncio

from avatar.frames import Pcm, Picture
from avatar.renderer import Expression, Renderer, Shot


class WatchedRenderer:
    """Set ``watched`` at any time; pictures that were asked for before are still drawn."""

    def __init__(self, renderer: Renderer) -> None:
        self.watched = False
        self._renderer = renderer

    @property
    def name(self) -> str:
        return self._renderer.name

    @property
    def width(self) -> int:
        return self._renderer.width

    @property
    def height(self) -> int:
        return self._renderer.height

    @property
    def lookahead_ms(self) -> float:
        return self._renderer.lookahead_ms

    @property
    def lead_ticks(self) -> int:
        return self._renderer.lead_ticks

    @property
    def start_ticks(self) -> int:
        return self._renderer.start_ticks

    @property
    def start_grace_ms(self) -> int:
        return self._renderer.start_grace_ms

    @property
    def still(self) -> Picture:
        return self._renderer.still

    def push(self, segment: int, pcm: Pcm) -> None:
        self._renderer.push(segment, pcm)

    def end(self, segment: int) -> None:
        self._renderer.end(segment)

    def clear(self, generation: int) -> None:
        self._renderer.clear(generation)

    def express(self, expression: Expression, tick: int) -> None:
        self._renderer.express(expression, tick)

    def request(self, shot: Shot) -> asyncio.Future[Picture]:
        if self.watched:
            return self._renderer.request(shot)
        rest: asyncio.Future[Picture] = asyncio.get_running_loop().create_future()
        rest.set_result(self._renderer.still)
        return rest

    async def aclose(self) -> None:
        await self._renderer.aclose()
