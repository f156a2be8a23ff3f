"""What a character looks like: a persona's ``[look]`` section, checked.

In: a mapping from TOML. Out: a frozen `Look`; every field has a default, so an empty section is the first character.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from avatar.frames import MienError


class LookError(MienError):
    """A look cannot be drawn: which field, which value, what is accepted."""


def _hex(colour: str) -> str:
    digits = colour.removeprefix("#")
    if len(colour) != 7 or len(digits) != 6 or any(digit not in "0123456789abcdef" for digit in digits.lower()):
        raise ValueError("a colour is written #rrggbb, for example #d8a07f")
    return colour.lower()


Colour = Annotated[str, AfterValidator(_hex)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Look(BaseModel):
    """Colours and features of the puppet. Colours are ``#rrggbb``; shares run from 0 to 1.

    Args:
        skin, lips, blush, eyes, brows, hair: colours; ``lips``, ``blush``, ``brows`` follow skin and hair when not set.
        hair_style: ``waves`` (long, parted on the left), ``bob`` (to the jaw, with a fringe), ``bun`` (tied up),
            ``short`` or ``coils`` (cropped).
        hair_light: how much light the hair catches.
        face: ``oval``, or ``square`` with a stronger jaw.
        lip_fullness, brow_weight, lashes, nose: how full, how heavy, how long, how broad.
        lines: the folds and lines of age.
        freckles, stubble: how much of each.
        beard: ``none``, ``short`` or ``full``, in the hair's colour when ``beard_colour`` is not set.
        glasses: ``none``, ``round`` or ``square``, in the colour ``glasses_frame``.
        earrings: ``none``, ``studs``, ``drops`` or ``hoops``, of the colour ``jewellery``, as a dress's necklace.
        clothes: ``blazer`` or ``cardigan`` (over something of the colour ``top``), ``crew``, ``turtleneck``, ``hoodie``
            or ``dress``, of the colour ``fabric``.
        background: ``studio`` (a sunny wall), ``evening`` (lights of a town), ``library`` or ``plain``, in the colour
            ``backdrop``; all but the last out of focus.
        light: colour of the light that comes from behind; ``rim`` is how strongly it edges hair and shoulders.
        key: colour of the light on everything; white changes nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    skin: Colour = "#f3c8a9"
    lips: Colour | None = None
    blush: Colour | None = None
    eyes: Colour = "#4f7d74"
    brows: Colour | None = None
    hair: Colour = "#5a3324"
    hair_style: Literal["waves", "bob", "bun", "short", "coils"] = "waves"
    hair_light: Share = 0.6
    face: Literal["oval", "square"] = "oval"
    lip_fullness: Share = 0.6
    brow_weight: Share = 0.5
    lashes: Share = 0.7
    nose: Share = 0.2
    lines: Share = 0.0
    freckles: Share = 0.0
    stubble: Share = 0.0
    beard: Literal["none", "short", "full"] = "none"
    beard_colour: Colour | None = None
    glasses: Literal["none", "round", "square"] = "none"
    glasses_frame: Colour = "#3a2c2a"
    earrings: Literal["none", "studs", "drops", "hoops"] = "none"
    jewellery: Colour = "#e3bd6a"
    clothes: Literal["blazer", "cardigan", "crew", "turtleneck", "hoodie", "dress"] = "blazer"
    fabric: Colour = "#2f4858"
    top: Colour = "#f3ece2"
    background: Literal["studio", "evening", "library", "plain"] = "studio"
    backdrop: Colour = "#7fa3a5"
    light: Colour = "#ffd9ad"
    rim: Share = 0.6
    key: Colour = "#ffffff"

    @classmethod
    def parse(cls, section: Mapping[str, Any]) -> Look:
        """Check a ``[look]`` section.

        Raises:
            LookError: one line a problem, with the field, its value, and what is accepted.
        """
        try:
            return cls.model_validate(dict(section))
        except ValidationError as error:
            raise LookError("; ".join(_explained(problem) for problem in error.errors(include_url=False))) from None


def _explained(problem: Any) -> str:
    field = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"look.{field} is not known: accepted are {', '.join(sorted(Look.model_fields))}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"look.{field} = {problem['input']!r}: {message[0].lower()}{message[1:]}"
