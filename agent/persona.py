"""Who the avatar is: a folder with `persona.toml`, read and checked.

In: a shipped persona's name or the path of a folder, and after a colon one of its looks. Out: a frozen `Persona`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from avatar.frames import MienError

DEFAULT_LOOK = "default"
LookName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]

SHIPPED = Path(__file__).resolve().parent.parent / "personas"


class PersonaError(MienError):
    """The persona cannot be used: which file, which field, what is accepted."""


class Persona(BaseModel):
    """One character.

    ``voice`` maps a TTS provider's name to its voice, for instance ``{"espeak": "en-us+f3"}``. ``look`` is what it
    wears: the renderer's own section, which the renderer checks. ``looks`` are others by name, each what differs from
    the file's ``[look]``; ``wears`` names the one in ``look``, ``default`` being ``[look]`` itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=60)]
    instructions: Annotated[str, Field(min_length=1, max_length=20_000)]
    greeting: Annotated[str, Field(max_length=500)] = ""
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = "en"
    voice: dict[str, str] = {}
    look: dict[str, Any] = {}
    looks: dict[LookName, dict[str, Any]] = {}
    wears: LookName = DEFAULT_LOOK
    folder: Path

    @model_validator(mode="after")
    def _known_look(self) -> Self:
        if DEFAULT_LOOK in self.looks:
            raise ValueError(f"looks.{DEFAULT_LOOK}: this name is [look]'s own, take another")
        if self.wears not in self.look_names:
            raise ValueError(f"wears = {self.wears!r}: its looks are {', '.join(self.look_names)}")
        return self

    @property
    def look_names(self) -> list[str]:
        return [DEFAULT_LOOK, *self.looks]


def shipped_personas() -> list[str]:
    return sorted(file.parent.name for file in SHIPPED.glob("*/persona.toml"))


def load_persona(name_or_path: str) -> Persona:
    """Read a persona by shipped name or by folder path; ``mien:evening`` is mien in its look ``evening``.

    Raises:
        PersonaError: there is none, its file is wrong, or it has no such look.
    """
    file, look = _file(name_or_path), None
    if file is None and ":" in name_or_path:
        rest, _, look = name_or_path.rpartition(":")
        file = _file(rest)
    if file is None:
        raise PersonaError(
            f"no persona {name_or_path!r}: give a folder with persona.toml, or one of {', '.join(shipped_personas())}"
        )
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PersonaError(f"{file} is not TOML: {error}") from None
    try:
        persona = Persona.model_validate(content | {"folder": file.parent.resolve()})
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        raise PersonaError(f"{file}: {place}: {message}" if place else f"{file}: {message}") from None
    wears = persona.wears if look is None else look
    if wears not in persona.look_names:
        raise PersonaError(f"{persona.name} has no look {wears!r}: choose one of {', '.join(persona.look_names)}")
    worn = persona.look | persona.looks.get(wears, {})
    return persona.model_copy(update={"look": worn, "wears": wears})


def _file(name_or_path: str) -> Path | None:
    """The persona.toml that is meant, if it is there."""
    folder = SHIPPED / name_or_path if name_or_path in shipped_personas() else Path(name_or_path).expanduser()
    file = folder / "persona.toml"
    return file if file.is_file() else None
