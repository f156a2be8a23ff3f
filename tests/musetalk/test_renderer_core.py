"""The renderer and engine over the real core, tiny and with random weights: features and pictures by the live path."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from avatar.frames import Pcm
from avatar.musetalk.config import TINY
from avatar.musetalk.core import Core, Options
from avatar.musetalk.engine import Engine
from avatar.musetalk.weights import ModelWeights
from avatar.renderer import Shot
from tests.conformance.conftest import babble
from tests.doubles.engine import MuseTalkAlone, person

pytestmark = pytest.mark.media

PATIENCE_S = 60.0
PICTURES = (0, 1, 4)


async def drawn(core: Core, pieces: Sequence[Pcm], *, end: bool) -> list[bytes]:
    """Random weights make no mouths, so the check is off."""
    engine = Engine(lambda: core, person().identity, check=None, call_limit_s=PATIENCE_S)
    engine.start()
    assert (await asyncio.to_thread(engine.wait_ready, PATIENCE_S)).state == "ready"
    renderer = MuseTalkAlone(engine, patient=True)
    try:
        for piece in pieces:
            renderer.push(1, piece)
        if end:
            renderer.end(1)
        answers = [await asyncio.wait_for(renderer.request(Shot(n, 1, n, 20)), PATIENCE_S) for n in PICTURES]
        bodies = [frame.body for frame in person().identity.frames]
        assert all(not np.array_equal(one.planes, bodies[n % 6]) for n, one in zip(PICTURES, answers, strict=True))
        return [one.planes.tobytes() for one in answers]
    finally:
        await renderer.aclose()


async def test_pictures_of_the_real_core_are_a_function_of_the_speech(tiny_weights: ModelWeights) -> None:
    core = Core(TINY, tiny_weights, "cpu", Options(batch_sizes=(1, 2)))
    speech = babble(0.5, seed=3)
    whole = await drawn(core, [speech], end=False)
    edges = [0, 700, 701, 2500, len(speech)]
    pieces = [speech[start:stop] for start, stop in itertools.pairwise(edges)]
    assert await drawn(core, pieces, end=False) == whole
    beyond = speech.copy()
    beyond[5 * 640 + 1480 :] = 0
    assert await drawn(core, [beyond], end=False) == whole
    short = speech[: 5 * 640 - 100]
    silence = np.zeros(4000, np.int16)
    assert await drawn(core, [short], end=True) == await drawn(core, [np.concatenate([short, silence])], end=False)
