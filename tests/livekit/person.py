"""A person in a LiveKit room, with livekit's own client: a microphone, ears, eyes, and a page that keeps it all."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from livekit import rtc

from avatar.frames import SAMPLE_RATE_HZ, Pcm

PACKET = SAMPLE_RATE_HZ // 50
TOPIC = "mien"


@dataclass
class Seen:
    """A decoded picture."""

    at_us: int
    width: int
    height: int
    planes: npt.NDArray[np.uint8]


@dataclass
class LiveKitPerson:
    """Join with `join`; what is heard, seen and told is kept."""

    identity: str = "ada"
    room: rtc.Room = field(default_factory=rtc.Room)
    sound: list[Pcm] = field(default_factory=list)
    """48 kHz mono, in 10 ms pieces, without a gap while subscribed."""
    pictures: list[Seen] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    """Those of Mien's own topic."""
    said: list[dict[str, Any]] = field(default_factory=list)
    """`lk.transcription`: ``{"id", "by", "text", "final"}``, one entry a stream, growing."""
    senders: set[str] = field(default_factory=set)
    """Whose tracks were heard or seen."""

    def __post_init__(self) -> None:
        self._pending: Pcm = np.zeros(0, np.int16)
        self._tasks: set[asyncio.Task[None]] = set()
        self._source: rtc.AudioSource | None = None
        self._inbox: asyncio.Queue[rtc.TextStreamReader] = asyncio.Queue()
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def join(
        self, url: str, token: str, *, microphone: bool = True, look: bool = True, listen: bool = True
    ) -> None:
        room = self.room
        room.on("track_subscribed", self._took)
        room.register_text_stream_handler(TOPIC, lambda reader, by: self._inbox.put_nowait(reader))
        room.register_text_stream_handler("lk.transcription", self._transcribed)
        self._task(self._read())
        self._task(self._tell())
        if listen and not look:
            room.on("track_published", self._listen_only)
        await room.connect(url, token, rtc.RoomOptions(auto_subscribe=look))
        if listen and not look:
            for participant in room.remote_participants.values():
                for publication in participant.track_publications.values():
                    self._listen_only(publication, participant)
        if microphone:
            self._source = rtc.AudioSource(SAMPLE_RATE_HZ, 1, queue_size_ms=100)
            track = rtc.LocalAudioTrack.create_audio_track("microphone", self._source)
            options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
            await room.local_participant.publish_track(track, options)
            self._task(self._talk())

    def say(self, pcm: Pcm) -> None:
        """Speak: int16 at 48 kHz."""
        self._pending = np.concatenate([self._pending, pcm])

    @property
    def speaking(self) -> bool:
        return self._pending.size > 0

    async def write(self, text: str) -> None:
        """As every LiveKit client writes."""
        await self.room.local_participant.send_text(text, topic="lk.chat")

    async def tell(self, message: dict[str, Any]) -> None:
        """As our page does."""
        await self.room.local_participant.send_text(json.dumps(message), topic=TOPIC)

    def tell_soon(self, message: dict[str, Any]) -> None:
        """The same, in order with others that are told so."""
        self._outbox.put_nowait(message)

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]

    def state(self) -> str:
        """The avatar's, as LiveKit's clients see it."""
        states = [one.attributes.get("lk.agent.state", "") for one in self.room.remote_participants.values()]
        return next((state for state in states if state), "")

    def heard(self) -> Pcm:
        return np.concatenate([np.zeros(0, np.int16), *self.sound])

    def loud(self, last_s: float) -> bool:
        pieces = self.sound[-round(last_s * 100) :]
        return any(int(np.abs(piece.astype(int)).max()) > 300 for piece in pieces)

    def watch(self, on: bool) -> None:
        """Subscribe to the pictures, or no more."""
        for participant in self.room.remote_participants.values():
            for publication in participant.track_publications.values():
                if publication.kind == rtc.TrackKind.KIND_VIDEO:
                    publication.set_subscribed(on)

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.room.disconnect()

    # -- what comes

    def _listen_only(self, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant) -> None:
        if publication.kind == rtc.TrackKind.KIND_AUDIO:
            publication.set_subscribed(True)

    def _took(
        self, track: rtc.Track, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        self.senders.add(participant.identity)
        self._task(self._hear(track) if track.kind == rtc.TrackKind.KIND_AUDIO else self._see(track))

    async def _hear(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream.from_track(track=track, sample_rate=SAMPLE_RATE_HZ, num_channels=1)
        try:
            async for event in stream:
                self.sound.append(np.frombuffer(event.frame.data, np.int16))
        finally:
            await stream.aclose()

    async def _see(self, track: rtc.Track) -> None:
        stream = rtc.VideoStream(track, format=rtc.VideoBufferType.I420)
        try:
            async for event in stream:
                frame = event.frame
                planes = np.frombuffer(frame.data, np.uint8).reshape(frame.height * 3 // 2, frame.width)
                self.pictures.append(Seen(event.timestamp_us, frame.width, frame.height, planes))
        finally:
            await stream.aclose()

    async def _read(self) -> None:
        while True:
            reader = await self._inbox.get()
            self.messages.append(json.loads(await reader.read_all()))

    async def _tell(self) -> None:
        while True:
            await self.tell(await self._outbox.get())

    def _transcribed(self, reader: rtc.TextStreamReader, by: str) -> None:
        self._task(self._follow(reader, by))

    async def _follow(self, reader: rtc.TextStreamReader, by: str) -> None:
        attributes = reader.info.attributes or {}
        entry: dict[str, Any] = {"id": attributes.get("lk.segment_id", ""), "by": by, "text": "", "final": False}
        self.said.append(entry)
        async for part in reader:
            entry["text"] += part
        entry["final"] = True

    async def _talk(self) -> None:
        """20 ms of microphone every 20 ms; between words there is a little noise."""
        assert self._source is not None
        noise = np.random.default_rng(1)
        clock = asyncio.get_running_loop().time
        began, packets = clock(), 0
        while True:
            await asyncio.sleep(max(0.0, began + packets * 0.02 - clock()))
            packet = noise.integers(-4, 5, PACKET).astype(np.int16)
            said = self._pending[:PACKET]
            packet[: said.size] += said
            self._pending = self._pending[PACKET:]
            await self._source.capture_frame(rtc.AudioFrame(packet.tobytes(), SAMPLE_RATE_HZ, 1, PACKET))
            packets += 1

    def _task(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
