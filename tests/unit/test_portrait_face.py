"""Which face a conversation gets when portraits are about, and that live and offline make the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.face import choose_face
from agent.persona import Persona
from agent.settings import AvatarSettings, load_settings
from avatar.photo.renderer import PhotoRenderer
from avatar.portrait import PortraitError
from avatar.renderer import Shot
from avatar.static import StaticRenderer
from tests.doubles.portraits import saved

pytestmark = pytest.mark.unit


def persona(folder: Path, **look: str) -> Persona:
    return Persona(name="Somebody", instructions="Be kind.", look=dict(look), folder=folder)


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    saved(tmp_path / "face")
    return tmp_path / "face"


def test_the_setting_is_read() -> None:
    assert load_settings({"MIEN_PORTRAIT": "/some/where"}).avatar.portrait == Path("/some/where")
    assert load_settings({}).avatar.portrait is None


@pytest.mark.parametrize("backend", ["auto", "puppet"])
async def test_a_portrait_of_the_settings_is_drawn(portrait: Path, tmp_path: Path, backend: str) -> None:
    settings = AvatarSettings.model_validate({"backend": backend, "size_px": 256, "portrait": portrait})
    face = choose_face(settings, persona(tmp_path))
    assert face.backend == "portrait"
    assert "--portrait" in face.why
    renderer = face.make(seed=4)
    assert isinstance(renderer, PhotoRenderer)
    assert renderer.still.planes.tobytes() == face.still().planes.tobytes()
    assert (await renderer.request(Shot(3))).width == 256
    await renderer.aclose()


async def test_a_persona_brings_its_own(portrait: Path, tmp_path: Path) -> None:
    face = choose_face(AvatarSettings(size_px=256), persona(tmp_path, portrait="face"))
    assert face.backend == "portrait"
    assert "Somebody" in face.why
    still = choose_face(AvatarSettings(size_px=256, backend="static"), persona(tmp_path, portrait="face"))
    renderer = still.make()
    assert isinstance(renderer, StaticRenderer)
    assert renderer.still.planes.tobytes() == face.still().planes.tobytes()
    await renderer.aclose()


def test_a_portrait_that_cannot_be_used_is_named_before_anything_starts(portrait: Path, tmp_path: Path) -> None:
    with pytest.raises(PortraitError, match="no portrait at"):
        choose_face(AvatarSettings(portrait=tmp_path / "none"), persona(tmp_path))
    (portrait / "picture.png").write_bytes(b"")
    with pytest.raises(PortraitError, match="was changed"):
        choose_face(AvatarSettings(portrait=portrait, size_px=256), persona(tmp_path)).still()
