"""Who the avatar is: a folder with `persona.toml`, read and checked.

In: a shipped persona's name or the path of a folder. Out: a frozen `Persona`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avatar.frames import MienError

SHIPPED = Path(__file__).resolve().parent.parent / "personas"


class PersonaError(MienError):
    """The persona cannot be used: which file, which field, what is accepted."""


class Persona(BaseModel):
    """One character. ``look`` is the renderer's own section; the renderer checks it.

    ``voice`` maps a TTS provider's name to its voice, for instance ``{"espeak": "en-us+f3"}``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=60)]
    instructions: Annotated[str, Field(min_length=1, max_length=20_000)]
    greeting: Annotated[str, Field(max_length=500)] = ""
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = "en"
    voice: dict[str, str] = {}
    look: dict[str, Any] = {}
    folder: Path


def shipped_personas() -> list[str]:
    return sorted(file.parent.name for file in SHIPPED.glob("*/persona.toml"))


def load_persona(name_or_path: str) -> Persona:
    """Read a persona by shipped name or by folder path.

    Raises:
        PersonaError: there is none, or its file is wrong.
    """
    folder = SHIPPED / name_or_path if name_or_path in shipped_personas() else Path(name_or_path).expanduser()
    file = folder / "persona.toml"
    if not file.is_file():
        raise PersonaError(
            f"no persona {name_or_path!r}: give a folder with persona.toml, or one of {', '.join(shipped_personas())}"
        )
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PersonaError(f"{file} is not TOML: {error}") from None
    try:
        return Persona.model_validate(content | {"folder": folder.resolve()})
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise PersonaError(f"{file}: {place}: {problem['msg']}") from None
