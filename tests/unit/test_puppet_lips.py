"""That mouths read as what they say: seen in pixels, and in the outlines that these are drawn from."""

from __future__ import annotations

import functools
import itertools

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from avatar.puppet import anatomy as at
from avatar.puppet.lips import Outline, outline
from avatar.puppet.look import Look
from avatar.puppet.motion import Pose
from avatar.puppet.mouth import REST, Mouth
from avatar.puppet.rig import Rig

pytestmark = pytest.mark.unit

SIZE_PX = 512
X = np.linspace(0.42, 0.58, 161, dtype=np.float32)
MIDDLE = len(X) // 2
LOOKS = {"light": Look(), "dark": Look(skin="#7d4e35", face="square")}

P = Mouth(jaw=0.3, closure=1.0)
F = Mouth(jaw=0.25, lip_teeth=1.0)
L = Mouth(jaw=0.3, tongue=1.0)
S = Mouth(jaw=0.1, spread=0.5)
I = Mouth(jaw=0.2, spread=1.0)  # noqa: E741
A = Mouth(jaw=1.0)
O = Mouth(jaw=0.6, rounding=0.7, spread=-0.4)  # noqa: E741
U = Mouth(jaw=0.25, rounding=1.0, spread=-0.5)
ALL = {"rest": REST, "p": P, "f": F, "l": L, "s": S, "i": I, "a": A, "o": O, "u": U}


def lips(mouth: Mouth, smile: float = 0.5) -> Outline:
    return outline(X, mouth, smile, 0.0, 0.6)


def gap(mouth: Mouth, smile: float = 0.5) -> npt.NDArray[np.float32]:
    drawn = lips(mouth, smile)
    return np.asarray(drawn.lower - drawn.upper, np.float32)


@functools.cache
def seen(look: str, sound: str) -> npt.NDArray[np.int16]:
    """RGB of the mouth, [height, width, 3]."""
    planes = Rig(LOOKS[look], SIZE_PX).draw(Pose(smile=0.5), ALL[sound])
    colour = cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_I420)
    return np.asarray(colour[290:350, 220:292], np.int16)


def teeth(look: str, sound: str) -> int:
    """Pixels that are bright and without colour, which neither skin nor lips are."""

    def pale(picture: npt.NDArray[np.int16]) -> npt.NDArray[np.bool_]:
        return np.asarray((picture.min(axis=2) > 150) & (picture.max(axis=2) - picture.min(axis=2) < 42))

    return int((pale(seen(look, sound)) & ~pale(seen(look, "p"))).sum())


def tongue(look: str, sound: str) -> int:
    """Pixels of the tongue's own pink, at the middle of the mouth between the lips."""
    picture = seen(look, sound)[:, 28:44]
    red, green, blue = (picture[..., k] for k in range(3))
    pink = (red > 150) & (green - red < -55) & (np.abs(green - blue) < 26) & (green > 78)
    drawn = lips(ALL[sound])
    rows = np.arange(290, 350)[:, None] / SIZE_PX
    return int((pink & (rows > drawn.upper[MIDDLE]) & (rows < drawn.lower[MIDDLE])).sum())


def dark(look: str, sound: str) -> int:
    return int((seen(look, sound).max(axis=2) < 70).sum())


def test_lips_meet_along_their_whole_length_at_p_b_m() -> None:
    assert float(gap(P).max()) <= 1e-6
    assert float(gap(Mouth(jaw=1.0, closure=1.0)).max()) <= 1e-6
    pressed, resting = lips(P), lips(REST)
    assert pressed.bottom[MIDDLE] - pressed.top[MIDDLE] < 0.85 * (resting.bottom[MIDDLE] - resting.top[MIDDLE])


@pytest.mark.parametrize("look", LOOKS)
def test_a_closure_is_dark_and_shows_no_teeth(look: str) -> None:
    assert teeth(look, "rest") <= 2
    assert tongue(look, "p") == tongue(look, "rest") == 0


@pytest.mark.parametrize("look", LOOKS)
def test_f_shows_teeth_on_the_lower_lip_and_little_dark(look: str) -> None:
    assert teeth(look, "f") > 40
    assert dark(look, "f") < 0.3 * dark(look, "a")
    drawn = lips(F)
    assert 0.002 < float(gap(F)[MIDDLE]) < 0.15 * float(gap(A)[MIDDLE])
    assert drawn.teeth_y >= drawn.lower[MIDDLE] - 0.001  # the teeth reach the lip
    thin, full = drawn.bottom[MIDDLE] - drawn.lower[MIDDLE], lips(REST).bottom[MIDDLE] - lips(REST).lower[MIDDLE]
    assert thin < 0.8 * full


def test_f_parts_the_middle_of_the_lips_only() -> None:
    near_corner = np.abs(lips(F).u) > 0.88
    assert float(gap(F)[near_corner].max()) <= 1e-6
    assert float(gap(S)[near_corner & (np.abs(lips(S).u) < 0.95)].max()) > 0.0


def test_widths_tell_i_from_u() -> None:
    widths = {name: lips(mouth).half_width for name, mouth in ALL.items()}
    assert widths["i"] > 1.08 * widths["rest"] > 1.08 * widths["a"] * 0.9
    assert widths["u"] < 0.65 * widths["rest"]
    assert widths["u"] < widths["o"] < widths["a"] < widths["i"]
    by_rounding = [lips(Mouth(jaw=0.3, rounding=k / 10)).half_width for k in range(11)]
    assert all(b < a for a, b in itertools.pairwise(by_rounding))


def test_rounded_lips_are_thick_and_high() -> None:
    def height(mouth: Mouth) -> float:
        drawn = lips(mouth)
        return float(drawn.bottom[MIDDLE] - drawn.lower[MIDDLE] + drawn.upper[MIDDLE] - drawn.top[MIDDLE])

    assert height(U) > 1.1 * height(REST) > 1.1 * height(I)


def test_openings_are_in_the_order_of_vowels() -> None:
    openings = [float(gap(mouth)[MIDDLE]) for mouth in (P, U, I, O, A)]
    assert openings[0] == 0.0 < openings[1] < openings[3] < openings[4]
    assert openings[2] < openings[3]
    assert openings[4] > 0.045


@pytest.mark.parametrize("look", LOOKS)
def test_the_tongue_is_seen_at_l_before_the_teeth(look: str) -> None:
    assert tongue(look, "l") > 25
    assert tongue(look, "l") > 3 * max(tongue(look, sound) for sound in ("s", "i", "u", "f"))
    drawn = lips(L)
    assert drawn.tip_y < drawn.teeth_y < drawn.lower[MIDDLE]
    assert teeth(look, "l") > 10


def test_the_tongue_rises_from_behind_the_lip() -> None:
    tips = [lips(Mouth(jaw=0.3, tongue=k / 10)).tip_y for k in range(11)]
    assert tips[0] > lips(Mouth(jaw=0.3)).lower[MIDDLE]
    assert all(b < a for a, b in itertools.pairwise(tips))
    assert max(a - b for a, b in itertools.pairwise(tips)) < 0.003


@pytest.mark.parametrize("look", LOOKS)
def test_an_open_mouth_shows_teeth_above_dark(look: str) -> None:
    assert teeth(look, "a") > 40
    assert dark(look, "a") > 200


def test_a_grin_shows_teeth_only_above_one() -> None:
    assert float(gap(REST, smile=1.0).max()) <= 1e-6
    assert float(gap(REST, smile=1.7)[MIDDLE]) > 0.01
    assert float(gap(P, smile=1.7).max()) <= 1e-6  # a closure closes it
    assert lips(REST, smile=1.7).corner_y < lips(REST, smile=1.0).corner_y < at.MOUTH_Y


def test_nothing_inside_the_mouth_appears_at_once() -> None:
    """Through every way of opening a mouth in small steps, the window changes in small steps."""
    rig = Rig(Look(), SIZE_PX)
    for to_mouth in (A, O, U, I, L, F, P):
        before = None
        for share in np.linspace(0.0, 1.0, 61):
            mouth = Mouth(*(float(share) * value for value in (
                to_mouth.jaw, to_mouth.spread, to_mouth.rounding, to_mouth.closure, to_mouth.lip_teeth,
                to_mouth.tongue,
            )))  # fmt: skip
            now = rig.draw(Pose(smile=0.5), mouth)[290:350, 220:292].astype(np.int16)
            if before is not None:
                assert float(np.abs(now - before).mean()) < 5.0, (to_mouth, share)
            before = now


def test_lips_are_the_same_at_a_tick_whatever_was_drawn_before() -> None:
    rig, other = Rig(Look(), SIZE_PX), Rig(Look(), SIZE_PX)
    rig.draw(Pose(lids=1.0), A)
    for sound in ALL.values():
        assert np.array_equal(rig.draw(Pose(), sound), other.draw(Pose(), sound))
