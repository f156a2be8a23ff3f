"""`mien talk --rtmp`, `mien agent start --rtmp`: a conversation in a room goes on air as well, as one more sink of its
playout.

In: the stream's settings. Out: the kind of conversation that is then held, in a browser's room or a LiveKit one. One at
a time is on air, the first to come; its stream begins and ends with it. The room stays the primary sink: whatever
becomes of the stream, the conversation does not notice.
"""

from __future__ import annotations

import importlib.metadata
import logging
import threading

from agent.conversation import Conversation
from agent.settings import StreamSettings
from avatar.frames import MienError, Sink
from rooms.canvas import Canvas, Stage
from rooms.mp4 import Provenance
from rooms.room import Room
from rooms.rtmp import StreamSettings as SinkSettings
from rooms.rtmp import StreamSink
from rooms.rtmp_address import Address
from rooms.rtmp_recording import StreamRecording

logger = logging.getLogger(__name__)


class Broadcast:
    """The stream of a process that holds conversations.

    Raises:
        MienError: an address, the background or the folder for recordings cannot be used: at the start, not within
            somebody's conversation.
    """

    def __init__(self, settings: StreamSettings, persona: str, renderer: str) -> None:
        self._settings = settings
        self._targets = tuple(Address.parse(url.get_secret_value()) for url in settings.urls)
        version = importlib.metadata.version("mien")
        self._maker = f"Mien {version} (AI-generated)"
        self._provenance = Provenance(version, persona, renderer)
        self._stage = Stage(settings.width, settings.height, background=settings.background, label=settings.label)
        Canvas(self._stage).close()
        self.sink: StreamSink | None = None
        """While a conversation is on air."""
        self._opening = threading.Lock()
        """Conversations in LiveKit rooms have a thread each."""

    def open(self) -> StreamSink | None:
        """A sink for a conversation that begins, on its event loop; None when another one is on air, or none can be."""
        with self._opening:
            if self.sink is not None:
                logger.info("this conversation is not streamed: another one is on air")
                return None
            try:
                self.sink = self._sink(Canvas(self._stage))
            except MienError as error:  # what was there at the start is gone: the conversation is not to suffer for it
                logger.error("this conversation is not streamed: %s", error)
            return self.sink

    def _sink(self, canvas: Canvas) -> StreamSink:
        settings = self._settings
        recording = []
        if settings.record is not None:
            try:
                recording.append(StreamRecording(settings.record, self._provenance, keep_s=settings.keep_h * 3600))
            except MienError as error:
                logger.error("this conversation is not recorded: %s", error)
        return StreamSink(
            canvas,
            settings.width,
            settings.height,
            SinkSettings(self._targets, settings.fps, settings.bitrate_kbps * 1000, settings.encoder, self._maker),
            outlets=recording,
        )

    async def close(self, sink: StreamSink) -> None:
        """The conversation is over: goodbye to every target; bounded."""
        try:
            await sink.aclose()
        finally:
            if self.sink is sink:
                self.sink = None


def streamed(broadcast: Broadcast) -> type[Conversation]:
    """The kind of conversation that goes on air."""

    class StreamedConversation(Conversation):
        """A conversation whose playout has one more sink. On air it is watched all the time, whoever is in the room."""

        _on_air = False

        def on_watched(self, watched: bool) -> None:
            super().on_watched(watched or self._on_air)

        def on_lost(self, sink: Sink) -> None:
            super().on_lost(sink)
            super().on_watched(self._on_air)

        async def run(self, room: Room) -> None:
            sink = broadcast.open()
            if sink is None:
                await super().run(room)
                return
            self._on_air = True
            super().on_watched(True)
            self._playout.attach(sink)
            try:
                await super().run(room)
            finally:
                await broadcast.close(sink)

    return StreamedConversation
