"""Where MuseTalk cannot run, that is said, and a conversation gets another face."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.face import Face, choose_face
from agent.persona import load_persona
from agent.settings import AvatarSettings
from avatar.musetalk.jobs import Unavailable
from avatar.musetalk.live import shared_engine, unavailable
from tests.doubles.engine import person

pytestmark = pytest.mark.media


def has_card() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def test_asked_for_where_it_cannot_run_the_puppet_takes_its_place_and_says_why() -> None:
    face = choose_face(AvatarSettings(backend="musetalk"), load_persona("mien"))
    assert face.backend == "puppet"
    assert face.why.startswith("not musetalk, as AVATAR_BACKEND asks: ")
    if not has_card():
        assert "there is no CUDA card" in face.why


def test_without_a_card_there_is_no_engine(tmp_path: Path) -> None:
    if has_card():
        assert "fetch the weights with `mien download musetalk`" in str(unavailable(tmp_path))
    with pytest.raises(Unavailable, match="MuseTalk cannot run here: "):
        shared_engine(tmp_path, person())


@pytest.mark.parametrize("backend", ["musetalk", "puppet"])
def test_health_names_what_really_draws(backend: str) -> None:
    face = Face(backend, "a test", AvatarSettings(), load_persona("mien"))
    on_card = backend == "musetalk" and has_card()
    assert face.device()["type"] == ("cuda" if on_card else "cpu")
    assert face.device()["name"]
