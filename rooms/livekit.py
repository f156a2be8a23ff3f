"""The LiveKit room: the avatar as a participant of a room in which a person meets it, with any LiveKit SDK.

RoomIO of livekit-agents brings sound, chat and state; the sink's two tracks and our own messages go out beside it. The
room outlives its person's connection for a while, and its own: livekit reconnects by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from livekit import rtc
from livekit.agents import Agent, AgentSession
from livekit.agents.job import DEFAULT_PARTICIPANT_KINDS
from livekit.agents.types import ATTRIBUTE_AGENT_STATE
from livekit.agents.voice import room_io
from livekit.agents.voice.room_io.types import DEFAULT_CLOSE_ON_DISCONNECT_REASONS

from avatar.frames import SPEECH_RATE_HZ
from rooms.livekit_messages import LiveKitMessages
from rooms.livekit_microphone import HeldMicrophone
from rooms.livekit_sink import LiveKitSink
from rooms.livekit_tracks import RoomError, publish
from rooms.room import Message, Presence

logger = logging.getLogger(__name__)

LINGER_S = 30.0
"""How long the room waits for a person who was cut off."""
GRACE_S = 2.0
"""How long it waits for another when one went: who comes as another goes is told of late, because LiveKit's server
gathers such news for a second."""
RETURNS = "mien.returns"
"""The attribute of a person whose side says so when they leave. Who goes without that word may be a page that is loaded
again, and is waited for like one who was cut off."""
LISTEN_S = 5.0
"""How long the first word waits for the person's side to subscribe to the voice."""
_CLOSE_S = 2.0
_HEARD_FRAME_MS = 20


async def connect(room: rtc.Room, url: str, token: str) -> None:
    """Join as the avatar.

    Raises:
        RoomError: the server cannot be reached, or refuses the token.
    """
    try:
        # dynacast: the server says when nobody takes the picture any more, and then it is not encoded. We subscribe to
        # the sound of the person whom the avatar talks with, and to nothing else.
        await room.connect(url, token, rtc.RoomOptions(auto_subscribe=False, dynacast=True))
    except rtc.ConnectError as error:
        raise RoomError(f"cannot join the LiveKit room at {url}: {error}") from error


class LiveKitRoom:
    """A `Room`, in a LiveKit room that was joined with `connect`.

    Args:
        width: of the pictures, px.
        height: px.
    """

    def __init__(self, presence: Presence, room: rtc.Room, *, width: int, height: int) -> None:
        self._presence = presence
        self._room = room
        self._sink = LiveKitSink(width, height)
        self._size = (width, height)
        self._sink.watched = self._sink.known = False
        self._messages = LiveKitMessages(room, self._message)
        self._microphone: HeldMicrophone | None = None
        self._session: AgentSession[None] | None = None
        self._heard: asyncio.Task[None] | None = None
        """Done when somebody has subscribed to the voice."""
        self._person: str | None = None
        """The identity of who the avatar talks with."""
        self._greeted = False
        """Whether their page was told how things stand."""
        self._joined = False
        self._left = False
        self._waiting: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def on_sent(self) -> Callable[[int, float], None] | None:
        return self._sink.on_sent

    @on_sent.setter
    def on_sent(self, callback: Callable[[int, float], None] | None) -> None:
        self._sink.on_sent = callback

    async def begin(self, session: AgentSession[None], agent: Agent, *, listen: bool) -> None:
        """Raises:
        RoomError: the tracks cannot be published.
        """
        self._session = session
        publishing = asyncio.create_task(self._publish())
        try:
            await session.start(
                agent, room=self._room, room_options=self._options(listen), record=False, session_host=False
            )
        except BaseException:
            publishing.cancel()
            raise
        self._messages.transcription = session.output.transcription
        if session.input.audio is not None:
            self._microphone = HeldMicrophone(session.input.audio)
            session.input.audio = self._microphone
        await publishing
        room = self._room
        room.on("participant_connected", self._came)
        room.on("participant_active", self._active)
        room.on("participant_disconnected", self._gone)
        room.on("track_published", self._published)
        room.on("reconnecting", self._lost)
        room.on("reconnected", self._found_again)
        room.on("disconnected", self._disconnected)
        self._look_around()

    def send(self, message: Message) -> None:
        self._messages.send(message)

    def hold_microphone(self, held: bool) -> None:
        if self._microphone is not None:
            self._microphone.held = held

    async def aclose(self) -> None:
        self._left = True
        if self._waiting is not None:
            self._waiting.cancel()
        for task in self._tasks:
            task.cancel()
        await self._messages.aclose()
        await self._sink.aclose()
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._room.disconnect()
        except TimeoutError:
            logger.warning("LiveKit did not let go of the room within %.0f s", _CLOSE_S)

    # -- what is published

    def _options(self, listen: bool) -> room_io.RoomOptions:
        hearing = room_io.AudioInputOptions(
            sample_rate=SPEECH_RATE_HZ, num_channels=1, frame_size_ms=_HEARD_FRAME_MS, auto_gain_control=False
        )
        return room_io.RoomOptions(
            audio_input=hearing if listen else False,
            audio_output=False,
            video_input=False,
            text_input=room_io.TextInputOptions(text_input_cb=self._chat),
            text_output=room_io.TextOutputOptions(sync_transcription=False),
            close_on_disconnect=False,
            delete_room_on_close=False,
        )

    async def _publish(self) -> None:
        sounding, pictures = await publish(self._room, self._sink, *self._size)
        self._heard = self._task(sounding.wait_for_subscription())
        self._task(pictures.watch(self._watched, known=self._known))

    def _known(self) -> None:
        self._sink.known = True

    def _watched(self, watched: bool) -> None:
        self._sink.watched = watched
        if self._joined:
            self._presence.on_watched(watched)

    # -- who is there

    def _look_around(self) -> None:
        for participant in list(self._room.remote_participants.values()):
            self._came(participant)

    def _came(self, participant: rtc.RemoteParticipant) -> None:
        if self._person is not None or self._left or participant.kind not in DEFAULT_PARTICIPANT_KINDS:
            return
        assert self._session is not None, "nobody is looked for before begin()"
        logger.info("talking with %s", participant.identity)
        if self._waiting is not None:
            self._waiting.cancel()
        self._person = self._messages.to = participant.identity
        self._session.room_io.set_participant(participant.identity)
        for publication in participant.track_publications.values():
            self._published(publication, participant)
        self._active(participant)
        self._task(self._join(participant.identity))

    async def _join(self, identity: str) -> None:
        """Speak once somebody can hear it."""
        assert self._heard is not None, "it is published before anybody is met"
        # Not by cancelling: livekit has one future for this, for good.
        await asyncio.wait([self._heard], timeout=LISTEN_S)
        if not self._heard.done():
            logger.info("%s does not take the voice; it speaks all the same", identity)
        if self._person == identity and not self._joined and not self._left:
            self._joined = True
            self._presence.on_joined(self._sink)
            self._presence.on_watched(self._sink.watched)

    def _active(self, participant: rtc.RemoteParticipant) -> None:
        """They can take messages."""
        active = participant.state == rtc.ParticipantState.PARTICIPANT_STATE_ACTIVE
        if participant.identity == self._person and active and not self._greeted:
            self._greeted = True
            self._presence.on_page()

    def _gone(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity != self._person:
            return
        self._lose()
        self._look_around()
        if self._person is not None or self._left:
            return
        self._wait(GRACE_S if _for_good(participant) else LINGER_S)

    def _published(self, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant) -> None:
        if participant.identity == self._person and publication.kind == rtc.TrackKind.KIND_AUDIO:
            publication.set_subscribed(True)

    def _lose(self) -> None:
        self._person = self._messages.to = None
        self._greeted = False
        if self._joined:
            self._joined = False
            self._presence.on_lost(self._sink)

    def _wait(self, seconds: float) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = asyncio.get_running_loop().call_later(seconds, self._leave)

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._presence.on_left()

    # -- our own connection

    def _lost(self) -> None:
        logger.warning("the connection to LiveKit broke; reconnecting")
        self._lose()

    def _found_again(self) -> None:
        logger.info("reconnected to LiveKit")
        self._task(self._tell_state())
        self._look_around()
        if self._person is None:
            self._wait(LINGER_S)

    async def _tell_state(self) -> None:
        """A server that was started anew knows nothing of what the one before was told; RoomIO tells changes only."""
        if self._session is not None:
            await self._room.local_participant.set_attributes({ATTRIBUTE_AGENT_STATE: self._session.agent_state})

    def _disconnected(self, reason: object) -> None:
        self._lose()
        self._leave()

    # -- what they say

    def _chat(self, session: AgentSession[Any], event: room_io.TextInputEvent) -> None:
        """Written on LiveKit's own topic, `lk.chat`."""
        number = event.info.stream_id if event.info is not None else ""
        self._presence.on_message({"type": "chat", "id": number, "text": event.text})

    def _message(self, identity: str, message: Message) -> None:
        if identity != self._person:
            logger.debug("ignored a message of %s, with whom the avatar does not talk", identity)
        elif message["type"] == "leave":
            self._lose()
            self._leave()
        elif message["type"] == "hello":
            self._presence.on_page()
        elif self._messages.is_new(identity, message.get("id")):
            self._presence.on_message(message)

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _for_good(gone: rtc.RemoteParticipant) -> bool:
    """Whether they went of their own will and will not be back."""
    if gone.disconnect_reason == rtc.DisconnectReason.CLIENT_INITIATED and RETURNS in gone.attributes:
        return False
    return gone.disconnect_reason in DEFAULT_CLOSE_ON_DISCONNECT_REASONS
