"""Tokens for LiveKit rooms, after LiveKit's convention for token endpoints.

In: the request's JSON object, in snake_case as the convention has it or in camelCase. Out: where to connect and the
token: short-lived, for one room, to listen, to speak and to write, and with the avatar called into the room.
"""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from livekit import api

from agent.settings import LiveKitSettings
from rooms.http import Refusal

TTL = datetime.timedelta(minutes=10)
"""To join with; who is in the room stays, and livekit renews it."""
NAME_LIMIT = 128
METADATA_LIMIT = 8 * 1024
ATTRIBUTES_LIMIT = 16
_FIELDS = {
    "room_name": "roomName",
    "participant_name": "participantName",
    "participant_identity": "participantIdentity",
    "participant_metadata": "participantMetadata",
    "participant_attributes": "participantAttributes",
    "room_config": "roomConfig",
}
_CONFIGURABLE = {"name", "agents", "empty_timeout", "departure_timeout", "max_participants", "metadata"}
"""Of a room; the rest costs money, or is the server's business."""
_RESERVED = "lk."
_AGENTS = "agent-"
"""How LiveKit names agents; who took such a name could put one out of its room."""


class Tokens:
    """Issues them.

    Args:
        agents: the agents that a request may call; the first is called where it names none.

    Raises:
        SettingsError: LiveKit is not configured.
    """

    def __init__(self, settings: LiveKitSettings, agents: Sequence[str]) -> None:
        url, self._key, self._secret = settings.credentials()
        self._url = _websocket(settings.public_url or url)
        self._agents = tuple(agents)

    @property
    def url(self) -> str:
        """Where pages connect."""
        return self._url

    def issue(self, request: Mapping[str, Any]) -> dict[str, str]:
        """Raises:
        Refusal: 400, for a field that is wrong or may not be chosen.
        """
        fields = _fields(request)
        room = _text(fields, "room_name", NAME_LIMIT) or f"mien-{secrets.token_urlsafe(9)}"
        name = _text(fields, "participant_name", NAME_LIMIT) or ""
        identity = _text(fields, "participant_identity", NAME_LIMIT) or f"person-{secrets.token_urlsafe(9)}"
        if identity.startswith(_AGENTS):
            raise _bad(f"participant_identity={identity!r} is how agents are called: choose another")
        grants = api.VideoGrants(
            room_join=True,
            room=room,
            can_subscribe=True,
            can_publish=True,
            can_publish_sources=["microphone"],
            can_publish_data=True,
            can_update_own_metadata=False,
        )
        token = (
            api.AccessToken(self._key, self._secret)
            .with_ttl(TTL)
            .with_identity(identity)
            .with_name(name)
            .with_metadata(_text(fields, "participant_metadata", METADATA_LIMIT) or "")
            .with_attributes(_attributes(fields))
            .with_grants(grants)
            .with_room_config(self._room_config(fields))
        )
        jwt = token.to_jwt()
        return {
            "server_url": self._url,
            "participant_token": jwt,
            "serverUrl": self._url,
            "roomName": room,
            "participantName": name,
            "participantToken": jwt,
        }

    def _room_config(self, fields: Mapping[str, Any]) -> api.RoomConfiguration:
        given = fields.get("room_config")
        if given is not None and not isinstance(given, dict):
            raise _bad("room_config must be an object")
        try:
            wanted = ParseDict(given or {}, api.RoomConfiguration())
        except ParseError as error:
            raise _bad(f"room_config is not LiveKit's RoomConfiguration: {error}") from None
        forbidden = sorted({field.name for field, _ in wanted.ListFields()} - _CONFIGURABLE)
        if forbidden:
            raise _bad(f"room_config may not set {', '.join(forbidden)}")
        for called in wanted.agents:
            if called.agent_name not in self._agents:
                raise _bad(f"there is no agent {called.agent_name!r} to call: only {', '.join(self._agents)}")
        if not wanted.agents:
            wanted.agents.append(api.RoomAgentDispatch(agent_name=self._agents[0]))
        return wanted


def _fields(request: Mapping[str, Any]) -> dict[str, Any]:
    """What is set, under the convention's names."""
    named = {}
    for snake, camel in _FIELDS.items():
        value = request.get(snake, request.get(camel))
        if value is not None:
            named[snake] = value
    return named


def _text(fields: Mapping[str, Any], name: str, limit: int) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > limit:
        raise _bad(f"{name} must be a text of at most {limit} characters")
    return value.strip()


def _attributes(fields: Mapping[str, Any]) -> dict[str, str]:
    value = fields.get("participant_attributes", {})
    if not isinstance(value, dict) or len(value) > ATTRIBUTES_LIMIT:
        raise _bad(f"participant_attributes must be an object of at most {ATTRIBUTES_LIMIT} texts")
    for name, text in value.items():
        if not isinstance(text, str) or len(name) + len(text) > METADATA_LIMIT:
            raise _bad("participant_attributes must be an object of texts")
        if name.startswith(_RESERVED):
            raise _bad(f"participant_attributes may not set {name}: {_RESERVED}* is LiveKit's own")
    return dict(value)


def _bad(text: str) -> Refusal:
    return Refusal(400, "bad_request", text)


def _websocket(url: str) -> str:
    return "ws" + url.removeprefix("http") if url.startswith("http") else url
