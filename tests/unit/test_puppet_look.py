"""What a persona may ask of the puppet's looks, and what it is told when it asks for something else."""

from __future__ import annotations

import itertools

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


def test_every_shipped_persona_has_a_look_that_can_be_drawn() -> None:
    assert shipped_personas()
    for name in shipped_personas():
        Look.parse(load_persona(name).look)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"hare": "#000000"}, r"look\.hare is not known: accepted are .*hair_style"),
        ({"hair": "brown"}, r"look\.hair = 'brown': .*#rrggbb"),
        ({"hair": "#12345g"}, r"#rrggbb"),
        ({"hair_style": "mohawk"}, r"'mohawk'.*'waves', 'bob', 'bun' or 'short'"),
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
        luma = Rig(Look(), size).draw(AT_REST, REST)[:size].astype(float)
        edges = np.linspace(0, size, 9).astype(int)
        pairs = list(itertools.pairwise(edges))
        return np.array([[luma[a:b, c:d].mean() for c, d in pairs] for a, b in pairs])

    assert np.abs(coarse(size_px) - coarse(320)).max() < 3.0


def test_looks_differ_where_they_say_so() -> None:
    first, other = (Rig(Look.parse(section), 256).draw(AT_REST, REST).astype(int) for section in ({}, OTHER))
    cheek = slice(125, 135), slice(95, 105)
    assert first[cheek].mean() > other[cheek].mean() + 20
    hair = slice(40, 50), slice(110, 146)
    assert first[hair].mean() > other[hair].mean()


@pytest.mark.parametrize("style", ["waves", "bob", "bun", "short"])
@pytest.mark.parametrize("clothes", ["turtleneck", "hoodie"])
def test_every_style_can_be_painted(style: str, clothes: str) -> None:
    look = Look.parse(
        {
            "hair_style": style,
            "clothes": clothes,
            "earrings": "hoops",
            "glasses": "round",
            "freckles": 0.5,
            "background": "plain",
        }
    )
    planes = Rig(look, 256).draw(AT_REST, REST)
    assert planes[:256].std() > 20
    assert 16 <= planes[:256].min() <= planes[:256].max() <= 235
