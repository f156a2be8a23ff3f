"""The one door of the inbox for raw messages: bytes in; a message that can be said or carried out, or why not, out."""

from __future__ import annotations

import asyncio
from typing import Any

from agent.inbox.messages import AudioMessage, Message, parse
from agent.inbox.sound import check

SMALL_BYTES = 64 * 1024
"""What is read on the event loop itself; more goes to a thread."""


async def read(body: bytes, defaults: dict[str, Any] | None = None) -> Message:
    """Check a message, its recording too.

    Args:
        defaults: fields to be taken where the message has none.

    Raises:
        InvalidMessage: what is wrong, which value, what to do.
    """
    if len(body) <= SMALL_BYTES:
        message = parse(body, defaults)
    else:
        message = await asyncio.to_thread(parse, body, defaults)
    if isinstance(message, AudioMessage):
        await asyncio.to_thread(check, message)
    return message
