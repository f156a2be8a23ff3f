"""People in LiveKit rooms, in a process of its own: livekit's own client, which decodes what it gets.

In, on stdin: ``join N`` for N more people, each to a room of their own with the avatar called into it; ``ask TEXT`` for
all to write it; ``sums`` for each to ask another sum; ``come-and-go N`` for N who come and leave, one after the other;
``stop``. The LiveKit server by LIVEKIT_URL and its key and secret. Out: JSON lines as rtpclient.py's.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

from livekit import api, rtc

from agent.settings import load_settings
from benchmarks.child import emit, told

REPORT_S = 1.0
COME_S = 30.0
ASK_AGAIN_S = 2.0
ANSWER_S, STRAY_S = 30.0, 5.0
"""How long an answer may take where the machine is full, and one that comes to the wrong room after it."""


class Visitor:
    """One person: ears, eyes and a keyboard."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.room = rtc.Room()
        self.senders: set[str] = set()
        self.read: list[str] = []
        """What the avatar said, utterance by utterance."""
        self._tracks: dict[int, rtc.RemoteTrack] = {}
        self._reading: set[asyncio.Task[None]] = set()

    async def join(self, url: str, key: str, secret: str, agent: str, name: str) -> None:
        self.room.on("track_subscribed", self._took)
        self.room.register_text_stream_handler("lk.transcription", self._transcribed)
        call = api.RoomConfiguration(agents=[api.RoomAgentDispatch(agent_name=agent)])
        token = api.AccessToken(key, secret).with_identity(f"visitor-{self.number}").with_room_config(call)
        await self.room.connect(url, token.with_grants(api.VideoGrants(room_join=True, room=name)).to_jwt())
        async with asyncio.timeout(COME_S):
            while len(self._tracks) < 2 or not (await self.received())["video"][2]:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.1)

    async def write(self, text: str) -> None:
        await self.room.local_participant.send_text(text, topic="lk.chat")

    @property
    def speaking(self) -> bool:
        states = [one.attributes.get("lk.agent.state") for one in self.room.remote_participants.values()]
        return "speaking" in states

    async def received(self) -> dict[str, Any]:
        """As rtpclient.py: ``video``: packets, lost, pictures, 0; ``audio``: packets, lost, 0, jitter in ms."""
        counts: dict[str, Any] = {"video": [0, 0, 0, 0], "audio": [0, 0, 0, 0]}
        for kind, track in list(self._tracks.items()):
            for one in await track.get_stats():
                if one.WhichOneof("stats") == "inbound_rtp":
                    got, video = one.inbound_rtp, kind == rtc.TrackKind.KIND_VIDEO
                    packets, lost = got.received.packets_received, got.received.packets_lost
                    pictures = got.inbound.frames_decoded if video else 0
                    jitter_ms = 0 if video else round(got.received.jitter * 1000)
                    counts["video" if video else "audio"] = [packets, lost, pictures, jitter_ms]
        return counts | {"speaking": self.speaking}

    async def leave(self) -> None:
        for task in self._reading:
            task.cancel()
        await self.room.disconnect()

    def _took(
        self, track: rtc.RemoteTrack, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        self.senders.add(participant.identity)
        self._tracks[track.kind] = track

    def _transcribed(self, reader: rtc.TextStreamReader, by: str) -> None:
        task = asyncio.create_task(self._read(reader, by))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _read(self, reader: rtc.TextStreamReader, by: str) -> None:
        self.senders.add(by)
        self.read.append(await reader.read_all())


async def visit() -> None:
    settings = load_settings(os.environ).livekit
    where = (*settings.credentials(), settings.agent_name)
    reader, visitors = await told(), list[Visitor]()
    print("(ready)", flush=True)
    reporting = asyncio.create_task(_report(visitors))
    while line := (await reader.readline()).decode().strip():
        match line.split(maxsplit=1):
            case ["join", number]:
                for _ in range(int(number)):
                    visitor = Visitor(len(visitors))
                    await visitor.join(*where, f"visited-{visitor.number}")
                    visitors.append(visitor)
                emit("joined", clients=len(visitors))
            case ["ask", text]:
                await asyncio.gather(*(visitor.write(text) for visitor in visitors))
            case ["sums"]:
                await _sums(visitors)
            case ["come-and-go", number]:
                for count in range(int(number)):
                    guest = Visitor(1000 + count)
                    await guest.join(*where, f"guest-{time.monotonic_ns()}")
                    await guest.leave()
                    emit("went", count=count + 1)
            case _:
                break
    reporting.cancel()
    await asyncio.gather(*(visitor.leave() for visitor in visitors))


async def _report(visitors: list[Visitor]) -> None:
    while True:
        await asyncio.sleep(REPORT_S)
        if visitors:
            clients = await asyncio.gather(*(visitor.received() for visitor in list(visitors)))
            emit("clients", clients=clients, cpu_s=sum(os.times()[:2]))


async def _sums(visitors: list[Visitor]) -> None:
    """Each asks for a sum of their own; whoever reads another's, or is sent anything by two, tells of a cross-over."""
    for visitor in visitors:
        visitor.read.clear()
        await visitor.write(f"What is {20 + visitor.number} plus {20 + visitor.number}?")

    def answered() -> list[bool]:
        return [any(str(40 + 2 * one.number) in text for text in one.read) for one in visitors]

    give_up = time.monotonic() + ANSWER_S
    while not all(answered()) and time.monotonic() < give_up:  # noqa: ASYNC110 - it looks now and then
        await asyncio.sleep(0.5)
    await asyncio.sleep(STRAY_S)
    right = answered()
    foreign = [
        any(str(40 + 2 * other.number) in text for text in one.read for other in visitors if other is not one)
        for one in visitors
    ]
    avatars = [{by for by in one.senders if not by.startswith("visitor-")} for one in visitors]
    shared = sum(len(mine & theirs) for at, mine in enumerate(avatars) for theirs in avatars[at + 1 :])
    emit("sums", right=sum(right), foreign=sum(foreign), several=sum(len(one) != 1 for one in avatars), shared=shared)


if __name__ == "__main__":
    asyncio.run(visit())
    sys.stdout.flush()
    os._exit(0)  # livekit's threads must not hold the process
