"""`mien egress`: have LiveKit's Egress service put a room of its server on air at RTMP servers.

In: LiveKit's settings, those of the stream's picture, a room and RTMP addresses. Out: requests to the LiveKit server,
which hands them to its egress service by Redis; and what runs there, without keys. No media passes through here.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from google.protobuf.message import DecodeError
from livekit import api

from agent.settings import LiveKitSettings, StreamSettings
from avatar.frames import SAMPLE_RATE_HZ, MienError
from rooms.rtmp_address import Address, AddressError

REQUEST_S = 40.0
"""livekit-server 1.13.5 says after 22 to 23 s that no egress service answers; livekit's own limit, 10 s, hides it."""
AUDIO_KBPS = 128
KEYFRAME_S = 2.0
LAYOUT = "speaker"
"""Of a composite: who speaks is large."""
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"'<>]*", re.IGNORECASE)
_ON_BEHALF = "lk.publish_on_behalf"
"""Attribute of an avatar that speaks for an agent elsewhere."""
_NAME = "lk.agent.name"
_WITHOUT_EGRESS = "or have the agent send it itself: mien agent start --rtmp (docs/streaming.md)"


class EgressError(MienError):
    """The room cannot be put on air, or what runs cannot be told or ended: why, and what to do. Holds no key."""


@dataclass(frozen=True, slots=True)
class Target:
    """Args:
    url: with the key hidden.
    state: active, finished or failed.
    """

    url: str
    state: str
    error: str


@dataclass(frozen=True, slots=True)
class Egress:
    """One of the server's. It may be another program's, and write files.

    Args:
        what: for instance "participant ada", "room composite".
        state: starting, active, ending, complete, failed, aborted or limit_reached.
        since: UTC; None before it began.
    """

    id: str
    room: str
    what: str
    state: str
    since: datetime.datetime | None
    to: tuple[Target, ...]
    error: str

    def __str__(self) -> str:
        began = f"since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since is not None else "not begun"
        lines = [f"{self.id}  {self.state}, {began}: {self.what} of room {self.room}"]
        lines += [f"    to {to.url}: {to.state}" + (f", {to.error}" if to.error else "") for to in self.to]
        lines += [f"    error: {self.error}"] if self.error else []
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "room": self.room,
            "what": self.what,
            "state": self.state,
            "since": None if self.since is None else self.since.isoformat(timespec="seconds"),
            "to": [{"url": to.url, "state": to.state, "error": to.error} for to in self.to],
            "error": self.error,
        }


class Egresses:
    """Those of a LiveKit server; use it with ``async with``. Every call raises EgressError when it cannot be done.

    Raises:
        SettingsError: LIVEKIT_URL, LIVEKIT_API_KEY or LIVEKIT_API_SECRET is missing.
    """

    def __init__(self, settings: LiveKitSettings) -> None:
        self._settings = settings
        self._credentials = settings.credentials()
        self._server = self._credentials[0]

    async def __aenter__(self) -> Self:
        self._api = api.LiveKitAPI(*self._credentials, timeout=aiohttp.ClientTimeout(total=REQUEST_S))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._api.aclose()

    async def start(
        self,
        room: str,
        addresses: Sequence[Address],
        picture: StreamSettings,
        *,
        participant: str | None = None,
        composite: bool = False,
    ) -> Egress:
        """Put ``participant`` of the room, the avatar if None, or with ``composite`` all of the room, on air."""
        if not addresses:
            raise EgressError("where to? Give --rtmp rtmp://host/app/key, or set RTMP_URL")
        await self._room(room)
        urls = list(dict.fromkeys(f"{address.url}/{address.key}" for address in addresses))
        outputs = [api.StreamOutput(protocol=api.StreamProtocol.RTMP, urls=urls)]
        identity = None if composite else await self._identity(room, participant)
        await self._redis(room)
        if identity is None:
            everything = api.RoomCompositeEgressRequest(
                room_name=room, layout=LAYOUT, advanced=encoding(picture), stream_outputs=outputs
            )
            async with self._asking(addresses):
                return told(await self._api.egress.start_room_composite_egress(everything), addresses)
        one = api.ParticipantEgressRequest(
            room_name=room, identity=identity, advanced=encoding(picture), stream_outputs=outputs
        )
        async with self._asking(addresses):
            return told(await self._api.egress.start_participant_egress(one), addresses)

    async def running(self, *, ended: bool = False) -> list[Egress]:
        """What is starting, active or ending; with ``ended`` also what the server remembers of the past."""
        found: list[Egress] = []
        request = api.ListEgressRequest(active=not ended)
        async with self._asking():
            while True:
                page = await self._api.egress.list_egress(request)
                found += [told(info) for info in page.items]
                # A token that stays the same would be asked for again for ever.
                if not page.items or page.next_page_token.token in ("", request.page_token.token):
                    return found
                request.page_token.CopyFrom(page.next_page_token)

    async def stop(self, egress_id: str) -> Egress:
        async with self._asking():
            return told(await self._api.egress.stop_egress(api.StopEgressRequest(egress_id=egress_id)))

    async def _room(self, room: str) -> None:
        async with self._asking():
            # Who is in it would be answered with nobody for a room that does not exist.
            rooms = (await self._api.room.list_rooms(api.ListRoomsRequest(names=[room]))).rooms
        if not rooms:
            raise EgressError(f"no room {room!r} at {self._server}: it exists once somebody has joined it")

    async def _redis(self, room: str) -> None:
        """A server without Redis says so when it is asked what runs. Asked to start something, it would wait and then
        say what one with Redis and without an egress service says."""
        async with self._asking():
            await self._api.egress.list_egress(api.ListEgressRequest(room_name=room, active=True))

    async def _identity(self, room: str, wanted: str | None) -> str:
        async with self._asking():
            answer = await self._api.room.list_participants(api.ListParticipantsRequest(room=room))
        there = ", ".join(sorted(one.identity for one in answer.participants)) or "nobody"
        if wanted is not None:
            if all(one.identity != wanted for one in answer.participants):
                raise EgressError(f"no participant {wanted!r} in room {room!r}: there is {there}")
            return wanted
        avatars = avatars_among(answer.participants, self._settings.agent_name)
        if len(avatars) == 1:
            return avatars[0]
        if avatars:
            raise EgressError(f"several avatars in room {room!r}: say which with --participant: {', '.join(avatars)}")
        raise EgressError(
            f"no avatar with a picture in room {room!r}: there is {there}. Call one in (docs/livekit.md), "
            "name somebody with --participant, or take all with --composite"
        )

    @asynccontextmanager
    async def _asking(self, addresses: Iterable[Address] = ()) -> AsyncIterator[None]:
        """Turns what livekit, aiohttp and protobuf raise into words. Not chained: theirs may quote a key."""
        try:
            yield
        except api.ServerError as error:
            raise EgressError(self._explained(error, addresses)) from None
        except TimeoutError:
            raise EgressError(f"the LiveKit server at {self._server} did not answer within {REQUEST_S:.0f} s") from None
        except aiohttp.ClientError as error:
            raise EgressError(
                f"cannot reach the LiveKit server at {self._server}: {hidden(str(error))}; "
                "does it run, and is LIVEKIT_URL right?"
            ) from None
        except DecodeError:
            raise EgressError(f"what answers at {self._server} is no LiveKit server: set LIVEKIT_URL to one") from None

    def _explained(self, error: api.ServerError, addresses: Iterable[Address]) -> str:
        said = hidden(error.message, addresses).removeprefix("twirp error unknown: ")
        if error.status in (401, 403):
            return (
                f"the LiveKit server at {self._server} refuses the key: "
                "set LIVEKIT_API_KEY and LIVEKIT_API_SECRET to a pair that it has"
            )
        if "egress not connected" in said:
            return (
                f"the LiveKit server at {self._server} has no egress ({said}): give it Redis, and run LiveKit's Egress "
                f"service beside it (deploy/compose.yaml); {_WITHOUT_EGRESS}"
            )
        if error.code == api.ServerErrorCode.UNAVAILABLE:
            return (
                f"no egress service answers the LiveKit server at {self._server} ({said}): start LiveKit's Egress with "
                f"the same Redis (deploy/compose.yaml), or another where all are busy; {_WITHOUT_EGRESS}"
            )
        if "egress does not exist" in said:
            return f"the LiveKit server at {self._server} has no such egress: `mien egress list` has those that run"
        if not said:
            return f"what answers at {self._server} says {error.status} and no more: is LIVEKIT_URL a LiveKit server?"
        return f"the LiveKit server at {self._server} refuses: {said} ({error.code})"


def encoding(picture: StreamSettings) -> api.EncodingOptions:
    """As `mien stream` encodes. livekit's unit of bit rates is kb/s."""
    return api.EncodingOptions(
        width=picture.width,
        height=picture.height,
        framerate=picture.fps,
        video_codec=api.VideoCodec.H264_MAIN,
        video_bitrate=picture.bitrate_kbps,
        key_frame_interval=KEYFRAME_S,
        audio_codec=api.AudioCodec.AAC,
        audio_bitrate=AUDIO_KBPS,
        audio_frequency=SAMPLE_RATE_HZ,
    )


def avatars_among(participants: Iterable[api.ParticipantInfo], name: str) -> list[str]:
    """The identities of agents that show a picture: of those that speak for another agent or are called ``name`` if
    there are any, else of all."""
    seen = [
        one
        for one in participants
        if one.kind == api.ParticipantInfo.Kind.AGENT and any(track.type == api.TrackType.VIDEO for track in one.tracks)
    ]
    ours = [one for one in seen if _ON_BEHALF in one.attributes or one.attributes.get(_NAME) == name]
    return sorted(one.identity for one in ours or seen)


def told(info: api.EgressInfo, addresses: Iterable[Address] = ()) -> Egress:
    """What the server says of one, without keys: neither ``addresses``' nor others'."""
    kind = info.WhichOneof("request") or "egress"
    request = getattr(info, kind, None)
    identity = getattr(request, "identity", "")
    return Egress(
        id=info.egress_id,
        room=info.room_name,
        what=f"{kind.replace('_', ' ')} {identity}".rstrip(),
        state=_name(api.EgressStatus, info.status).removeprefix("EGRESS_").lower(),
        since=datetime.datetime.fromtimestamp(info.started_at // 10**9, datetime.UTC) if info.started_at else None,
        to=(
            *(
                Target(shown(one.url), _name(api.StreamInfo.Status, one.status).lower(), hidden(one.error, addresses))
                for one in info.stream_results
            ),
            *(Target(file.filename, "file", "") for file in info.file_results),
            *(Target(segments.playlist_name, "segments", "") for segments in info.segment_results),
        ),
        error=hidden(info.error, addresses),
    )


def shown(url: str) -> str:
    """``url`` without what may be a key: of rtmp[s]://host/app/key the key, of others all but scheme and host."""
    try:
        return str(Address.parse(url))
    except AddressError:
        pass
    try:
        parts = urlsplit(url)
        # mux://KEY and twitch://KEY are LiveKit's own.
        host = parts.hostname if parts.scheme in ("rtmp", "rtmps", "srt", "ws", "wss", "http", "https") else None
    except ValueError:
        return "***"
    return f"{parts.scheme}://{host}/***" if host else f"{parts.scheme or '?'}://***"


def hidden(text: str, addresses: Iterable[Address] = ()) -> str:
    """``text``, which comes from elsewhere, without the keys of ``addresses`` and of any URL in it."""
    text = _URL.sub(lambda url: shown(url[0]), text)
    for address in addresses:
        text = address.hidden(text)
    return text


def _name(kind: Any, value: int) -> str:
    """An enum's name; the number, of a server that is newer than our protocol."""
    return str(kind.Name(value)) if value in kind.values() else str(value)
