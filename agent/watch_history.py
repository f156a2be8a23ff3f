"""What was said so far, on its way from an avatar whose worker died to the one that takes its place.

In: a session's history. Out: JSON in the answers that `mien watch` gets while the avatar lives, and in the metadata of
the dispatch by which it calls the next one. Whoever may call an avatar can write such metadata: it is read as chat text
of a bounded size and as nothing else.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from livekit.agents import llm

METHOD = "mien.alive"
"""The call. Its payload is the tag of what the caller knows already; the answer is what is new."""
HISTORY_BYTES = 10_000
"""LiveKit's calls carry 15 KiB."""
TEXT_LIMIT = 4000
FIELD = "away"
"""Of the dispatch's metadata."""
ROLES = ("user", "assistant")

Said = Mapping[str, str]
"""``{"role", "text"}``"""


@dataclass(frozen=True, slots=True)
class Away:
    """The avatar was here before, in a worker that is gone.

    Args:
        said: oldest first.
        words: what it says of it; None: its language model finds them.
    """

    said: tuple[Said, ...]
    words: str | None = None


def said(history: llm.ChatContext) -> list[Said]:
    """What was said, without instructions and tools."""
    return [
        {"role": item.role, "text": item.text_content}
        for item in history.items
        if isinstance(item, llm.ChatMessage) and item.role in ROLES and item.text_content
    ]


def answer(history: Iterable[Said], known: str) -> str:
    """Of an avatar that is asked whether it lives.

    Args:
        known: the tag that the caller has; what it stands for is not said again.
    """
    packed = pack(history)
    tag = f"{zlib.crc32(json.dumps(packed).encode()):08x}"
    return json.dumps({"tag": tag} if tag == known else {"tag": tag, "said": packed}, ensure_ascii=False)


def pack(history: Iterable[Said]) -> list[Said]:
    """The newest of it that fit; longer texts are cut."""
    kept: list[Said] = []
    left = HISTORY_BYTES
    for one in reversed(list(history)):
        cut = {"role": one["role"], "text": one["text"][:TEXT_LIMIT]}
        left -= len(json.dumps(cut, ensure_ascii=False).encode()) + 2
        if left < 0:
            break
        kept.append(cut)
    return kept[::-1]


def parse(told: object) -> tuple[Said, ...]:
    """Whatever was handed over, as chat text: what is no such thing is left out, and so is what is too much."""
    if not isinstance(told, Sequence) or isinstance(told, str):
        return ()
    sound = []
    for one in told:
        match one:
            case {"role": str(role), "text": str(text), **more} if role in ROLES and text.strip() and not more:
                sound.append({"role": role, "text": text})
    return tuple(pack(sound))


def away(metadata: Mapping[str, Any]) -> Away | None:
    """What a dispatch's metadata says of an avatar that was here before."""
    return Away(parse(metadata[FIELD])) if FIELD in metadata else None


def context(said: Iterable[Said]) -> llm.ChatContext:
    """For a session that goes on from there."""
    made = llm.ChatContext.empty()
    for one in said:
        made.add_message(role="user" if one["role"] == "user" else "assistant", content=one["text"])
    return made
