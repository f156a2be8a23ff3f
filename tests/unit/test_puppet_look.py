"""What a persona may ask of the puppet's looks, and what it is told when it asks for something else."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from agent.persona import load_persona, shipped_personas
from avatar.frames import MienError
from avatar.puppet.look import Look, LookError
from avatar.puppet.motion import AT_REST
from avatar.puppet.mouth import REST
from avatar.puppet.rig import Rig
from avatar.renderer import RendererError

pytestmark = pytest.mark.unit

OTHER = {
    "skin": "#a86f4c",
    "hair": "#1d1716",
    "hair_style": "short",
    "face": "square",
    "clothes": "crew",
    "background": "evening",
    "stubble": 0.5,
    "glasses": "square",
}


def test_an_empty_section_is_a_character() -> None:
    assert Look.parse({}) == Look()


WORN = [f"{name}:{look}" for name in shipped_personas() for look in load_persona(name).look_names]


def test_there_are_two_looks_of_one_persona_and_a_second_persona() -> None:
    assert {"mien:default", "mien:evening", "abel:default"} <= set(WORN)


def test_every_shipped_look_is_another_picture() -> None:
    """Of one person the face is the same and what surrounds it differs; of two the face differs as well."""
    drawn = {
        name: Rig(Look.parse(load_persona(name).look), 256).draw(AT_REST, REST)[:256].astype(np.int16) for name in WORN
    }
    eyes, around = (slice(100, 160), slice(90, 166)), (slice(200, 256), slice(0, 256))

    def apart(one: str, other: str, part: tuple[slice, slice]) -> float:
        return float(np.abs(drawn[one][part] - drawn[other][part]).mean())

    for one, other in itertools.combinations(WORN, 2):
        assert apart(one, other, around) > 15.0
    assert apart("mien:default", "mien:evening", eyes) < 20.0 < 30.0 < apart("mien:default", "abel:default", eyes)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"hare": "#000000"}, r"look\.hare is not known: accepted are .*hair_style"),
        ({"hair": "brown"}, r"look\.hair = 'brown': .*#rrggbb"),
        ({"hair": "#12345g"}, r"#rrggbb"),
        ({"hair_style": "mohawk"}, r"'mohawk'.*'waves', 'bob', 'bun', 'short' or 'coils'"),
        ({"stubble": 3}, r"look\.stubble = 3: .*less than or equal to 1"),
        ({"hair": "red", "eyes": 7}, r"look\.eyes = 7.*; look\.hair"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_what_can(section: dict[str, object], says: str) -> None:
    with pytest.raises(LookError, match=says) as refused:
        Look.parse(section)
    assert isinstance(refused.value, MienError)


@pytest.mark.parametrize("size_px", [255, 254, 1026, 301])
def test_sizes_that_cannot_be_drawn_are_refused(size_px: int) -> None:
    with pytest.raises(RendererError, match=f"{size_px} px.*256 to 1024"):
        Rig(Look(), size_px)


@pytest.mark.parametrize("size_px", [256, 258, 400])
def test_any_even_size_shows_the_same_figure(size_px: int) -> None:
    """Of every size the mean brightness in a coarse grid is the same, so nothing is shifted or cut."""

    def coarse(size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        luma = Rig(Look(), size).draw(AT_REST, REST)[:size].astype(np.float64)
        return np.asarray(cv2.resize(luma, (8, 8), interpolation=cv2.INTER_AREA))

    assert np.abs(coarse(size_px) - coarse(320)).max() < 3.0


def test_looks_differ_where_they_say_so() -> None:
    first, other = (Rig(Look.parse(section), 256).draw(AT_REST, REST).astype(int) for section in ({}, OTHER))
    cheek = slice(125, 135), slice(95, 105)
    assert first[cheek].mean() > other[cheek].mean() + 20
    hair = slice(40, 50), slice(110, 146)
    assert first[hair].mean() > other[hair].mean()


@pytest.mark.parametrize(
    ("style", "clothes", "background"),
    [
        ("waves", "turtleneck", "plain"),
        ("bob", "hoodie", "studio"),
        ("bun", "dress", "evening"),
        ("short", "cardigan", "library"),
        ("coils", "crew", "plain"),
    ],
)
@pytest.mark.parametrize("beard", ["none", "short"])
def test_every_style_can_be_painted(style: str, clothes: str, background: str, beard: str) -> None:
    look = Look.parse(
        {
            "hair_style": style,
            "clothes": clothes,
            "earrings": "hoops",
            "glasses": "round",
            "freckles": 0.5,
            "lines": 0.5,
            "background": background,
            "beard": beard,
        }
    )
    planes = Rig(look, 256).draw(AT_REST, REST)
    assert planes[:256].std() > 20
    assert 16 <= planes[:256].min() <= planes[:256].max() <= 235
