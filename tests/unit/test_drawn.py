"""What every drawn renderer does, whoever draws."""

from __future__ import annotations

import weakref

import pytest

from avatar.drawn import DrawnRenderer
from avatar.puppet.look import Look
from avatar.puppet.rig import Rig

pytestmark = pytest.mark.unit


async def test_what_draws_is_let_go_once_it_is_closed() -> None:
    """Whoever still holds the renderer, as a conversation that ended does until Python collects it, holds no more."""
    rig = Rig(Look(), 256)
    drawn = weakref.ref(rig)
    renderer = DrawnRenderer("puppet", rig)
    del rig
    assert drawn() is not None
    await renderer.aclose()
    assert drawn() is None
    assert renderer.still.width == 256
