"""What may be put into the inbox: a message's JSON in, a checked `Message` out, or a reason why not.

Text is to be spoken, audio to be played, a control changes what is going on. docs/queue.md describes the fields.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import json
import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from avatar.frames import MienError

MAX_TEXT = 50_000
"""Characters in one message: about an hour of speech."""
MAX_AUDIO_BYTES = 8 * 2**20
MAX_BODY_BYTES = MAX_AUDIO_BYTES * 4 // 3 + 4096
"""Of one message's JSON, whichever way it comes."""
MAX_PRIORITY = 9

Command = Literal["start", "stop", "skip", "pause", "resume", "clear"]
AudioFormat = Literal["wav", "mp3", "ogg", "flac"]


class InvalidMessage(MienError):
    """A message that cannot be taken: which field, which value, what is accepted."""


class _Base(BaseModel):
    """What every message may say.

    Args:
        id: names the message for ever: one that was spoken is not spoken again under the same id.
        session_id: whose it is; told back with every event.
        timestamp: when it was written, as its sender says.
        priority: 0 to 9; higher ones are spoken first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:@+=~-]{1,128}$")] = Field(default_factory=lambda: uuid.uuid4().hex)
    session_id: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{0,128}$")] = ""
    timestamp: datetime | None = None
    priority: Annotated[int, Field(ge=0, le=MAX_PRIORITY)] = 0


class TextMessage(_Base):
    """A text to be spoken.

    Args:
        language: BCP 47, for instance ``de``; the persona's by default.
        voice: ``provider:voice`` as in ``espeak:en-us+f3``, or a voice of the provider in use.
    """

    type: Literal["text"]
    data: Annotated[str, Field(max_length=MAX_TEXT)]
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")] | None = None
    voice: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,100}$")] | None = None

    @field_validator("data")
    @classmethod
    def _speakable(cls, text: str) -> str:
        if not any(character.isalnum() for character in text):
            raise ValueError("there is nothing to say: give a text with letters or digits")
        return text


class AudioMessage(_Base):
    """A recording to be played; ``data`` is base64 in JSON and bytes here."""

    type: Literal["audio"]
    data: bytes = Field(repr=False)
    format: AudioFormat

    @field_validator("data", mode="before")
    @classmethod
    def _decoded(cls, data: object) -> bytes:
        if not isinstance(data, str):
            raise ValueError("must be a string in base64")
        if len(data) > MAX_AUDIO_BYTES * 4 // 3 + 4:
            raise ValueError(f"holds more than {MAX_AUDIO_BYTES // 2**20} MiB: cut the recording into several messages")
        try:
            decoded = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"is not base64 ({error})") from None
        if not decoded:
            raise ValueError("holds no sound: give a recording in base64")
        return decoded


class ControlMessage(_Base):
    """Something to be done at once. docs/queue.md says what each command does."""

    type: Literal["control"]
    data: Command


Speakable = TextMessage | AudioMessage
Message = Speakable | ControlMessage
_ADAPTER: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])
_FIELDS = sorted({name for kind in (TextMessage, AudioMessage, ControlMessage) for name in kind.model_fields})


def parse(body: bytes | str, defaults: dict[str, Any] | None = None) -> Message:
    """Check one message. It takes a tenth of a second for a big recording: call it on a thread then.

    Args:
        defaults: fields to be taken where the message has none, for instance its broker's ``id``.

    Raises:
        InvalidMessage: it is too big, not JSON, or one of its fields is not as it must be.
    """
    if len(body) > MAX_BODY_BYTES:
        raise InvalidMessage(f"the message has {len(body)} bytes: at most {MAX_BODY_BYTES} are taken")
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"the message is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InvalidMessage(
            f'the message is a JSON {_json_kind(fields)}: send an object such as {{"type": "text", "data": "Hello."}}'
        )
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return _ADAPTER.validate_python((defaults or {}) | given)
    except ValidationError as error:
        raise InvalidMessage(_explained(error)) from None


def _json_kind(value: object) -> str:
    kinds: dict[type, str] = {list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    return kinds.get(type(value), "null")


def _explained(error: ValidationError) -> str:
    """One clause a problem: the field, its value (shortened), what is accepted."""
    clauses = []
    for problem in error.errors(include_url=False)[:5]:
        name = ".".join(str(part) for part in problem["loc"] if part not in ("text", "audio", "control")) or "type"
        words = problem["msg"].removeprefix("Value error, ")
        match problem["type"]:
            case "union_tag_not_found":
                clauses.append("type is missing: set it to text, audio or control")
            case "union_tag_invalid":
                clauses.append(f"type={_short(problem['ctx']['tag'])}: must be text, audio or control")
            case "missing":
                clauses.append(f"{name} is missing")
            case "extra_forbidden":
                near = difflib.get_close_matches(name, _FIELDS, n=1, cutoff=0.6)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(_FIELDS)}"
                clauses.append(f"{name} is no field of this message: {hint}")
            case _:
                clauses.append(f"{name}={_short(problem['input'])}: {words}")
    return "; ".join(clauses)


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
