"""Nothing is drawn for nobody, and what is drawn afterwards is what would have been."""

from __future__ import annotations

import numpy as np
import pytest

from agent.watched import WatchedRenderer
from avatar.frames import SPEECH_RATE_HZ
from avatar.renderer import Shot
from tests.doubles.renderers import ScriptedRenderer, read_shot

pytestmark = pytest.mark.unit


async def test_the_face_rests_while_nobody_watches_and_hears_all_the_same() -> None:
    drawn: list[Shot] = []

    def draws(shot: Shot) -> float:
        drawn.append(shot)
        return 0.0

    renderer = WatchedRenderer(ScriptedRenderer(latency=draws))
    renderer.push(1, np.ones(SPEECH_RATE_HZ, np.int16))
    rest = renderer.request(Shot(10, 1, 0))
    assert rest.done()
    assert rest.result() is renderer.still
    assert drawn == []
    renderer.watched = True
    spoken = await renderer.request(Shot(12, 1, 2, 2))
    assert read_shot(spoken) == Shot(12, 1, 2, 2)
    assert drawn == [Shot(12, 1, 2, 2)]
    renderer.watched = False
    assert renderer.request(Shot(13, 1, 3, 3)).result() is renderer.still
    await renderer.aclose()
