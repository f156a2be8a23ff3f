"""Messages in a LiveKit room: JSON objects both ways with one participant, and LiveKit's own transcription beside them.

In: messages for the person's side, and text streams on the topic `mien` from it. Out: text streams on that topic, in
order; captions besides as `lk.transcription`, word by word, so that any LiveKit client shows them; and what came.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable

from livekit import rtc
from livekit.agents.voice import io

from rooms.room import Message

logger = logging.getLogger(__name__)

TOPIC = "mien"
MESSAGE_LIMIT = 64 * 1024
_OUTBOX_LIMIT = 256
_ID_LIMIT = 64
_REMEMBERED = 256
_READ_S = 5.0
"""How long one message may take to come in."""
_FLUSH_S = 0.5


class LiveKitMessages:
    """Set ``to`` when a person is there, and ``transcription`` once the session has one.

    Args:
        on_message: told of each message and the identity of who sent it.
    """

    def __init__(self, room: rtc.Room, on_message: Callable[[str, Message], None]) -> None:
        self.to: str | None = None
        """The identity of the person whose side is told; nobody is while it is None."""
        self.transcription: io.TextOutput | None = None
        self._room = room
        self._on_message = on_message
        self._outbox: asyncio.Queue[tuple[str, Message]] = asyncio.Queue(_OUTBOX_LIMIT)
        self._inbox: asyncio.Queue[tuple[str, rtc.TextStreamReader]] = asyncio.Queue(_OUTBOX_LIMIT)
        self._got: deque[tuple[str, str]] = deque(maxlen=_REMEMBERED)
        """The last messages: whose, and their ids. A page says again what it does not know to have arrived."""
        self._captioned = ("", "")
        """The caption that is growing as transcription: its id, and its text so far."""
        room.register_text_stream_handler(TOPIC, self._came)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._send_all()), loop.create_task(self._read_all())]

    def send(self, message: Message) -> None:
        if self.to is None:
            return
        try:
            self._outbox.put_nowait((self.to, message))
        except asyncio.QueueFull:
            logger.warning("LiveKit does not take its messages; %s is dropped", message.get("type"))

    def is_new(self, sender: str, number: object) -> bool:
        """Whether a message with this id was not there before; who sent it is told that it came, again too."""
        if not isinstance(number, str) or not 0 < len(number) <= _ID_LIMIT:
            return True
        self.send({"type": "heard", "id": number})
        if (sender, number) in self._got:
            return False
        self._got.append((sender, number))
        return True

    async def aclose(self) -> None:
        """Send what waits, for half a second at most."""
        if not self._tasks:
            return
        tasks, self._tasks = self._tasks, []
        self._room.unregister_text_stream_handler(TOPIC)
        try:
            async with asyncio.timeout(_FLUSH_S):
                await self._outbox.join()
        except TimeoutError:
            logger.info("%d messages were not sent", self._outbox.qsize())
        for task in tasks:
            task.cancel()
        while not self._inbox.empty():
            self._inbox.get_nowait()[1].close()

    # -- out

    async def _send_all(self) -> None:
        while True:
            to, message = await self._outbox.get()
            try:
                await self._transcribe(message)
                text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
                await self._room.local_participant.send_text(text, topic=TOPIC, destination_identities=[to])
            except (
                Exception
            ) as error:  # livekit raises what it has; the person may be leaving, and the next hello tells all
                logger.info("a message of type %s was not delivered: %s", message.get("type"), error)
            finally:
                self._outbox.task_done()

    async def _transcribe(self, message: Message) -> None:
        """The avatar's words as LiveKit's own transcription: what a caption has grown by."""
        match message:
            case {"type": "caption", "role": "assistant", "id": str(number), "text": str(text), "final": bool(final)}:
                pass
            case _:
                return
        if self.transcription is None:
            return
        last, shown = self._captioned
        if last != number:
            if last:
                self.transcription.flush()
            shown = ""
        if text.startswith(shown) and text != shown:
            await self.transcription.capture_text(text[len(shown) :])
        self._captioned = (number, text)
        if final:
            self.transcription.flush()
            self._captioned = ("", "")

    # -- in

    def _came(self, reader: rtc.TextStreamReader, identity: str) -> None:
        try:
            self._inbox.put_nowait((identity, reader))
        except asyncio.QueueFull:
            logger.warning("%s sends faster than it is read; a message is dropped", identity)
            reader.close()

    async def _read_all(self) -> None:
        while True:
            identity, reader = await self._inbox.get()
            try:
                message = json.loads(await _read(reader))
            except (ValueError, TimeoutError, RecursionError, rtc.StreamError) as error:
                logger.warning("%s sent something that is no message; it is ignored: %s", identity, error)
                continue
            finally:
                reader.close()
            if isinstance(message, dict) and isinstance(message.get("type"), str):
                self._on_message(identity, message)
            else:
                logger.warning("%s sent something that is no message; it is ignored", identity)


async def _read(reader: rtc.TextStreamReader) -> str:
    text = ""
    async with asyncio.timeout(_READ_S):
        async for part in reader:
            text += part
            if len(text) > MESSAGE_LIMIT:
                raise ValueError(f"longer than {MESSAGE_LIMIT} characters")
    return text
