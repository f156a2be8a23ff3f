"""The token endpoint: what a token lets one do, and what may be asked for."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from agent.settings import LiveKitSettings, SettingsError
from agent.tokens import TTL, Tokens
from rooms.http import Refusal

pytestmark = pytest.mark.unit

SECRET = "a-secret-that-is-long-enough-for-hmac"
SETTINGS = LiveKitSettings(url="wss://livekit.example", api_key=SecretStr("key"), api_secret=SecretStr(SECRET))


def claims(request: dict[str, Any], **settings: str) -> dict[str, Any]:
    answer = Tokens(SETTINGS.model_copy(update=settings), ["mien", "other"]).issue(request)
    decoded: dict[str, Any] = jwt.decode(answer["participant_token"], SECRET, algorithms=["HS256"])
    return decoded


def test_it_answers_as_the_convention_says_and_in_camel_case() -> None:
    answer = Tokens(SETTINGS, ["mien"]).issue({"room_name": "lobby", "participant_name": "Ada"})
    assert answer["server_url"] == answer["serverUrl"] == "wss://livekit.example"
    assert answer["participant_token"] == answer["participantToken"]
    assert (answer["roomName"], answer["participantName"]) == ("lobby", "Ada")


def test_a_token_is_short_lived_and_good_for_one_room_a_microphone_and_data() -> None:
    told = claims({"room_name": "lobby", "participant_identity": "ada", "participant_attributes": {"mood": "good"}})
    assert (told["sub"], told["iss"], told["attributes"]) == ("ada", "key", {"mood": "good"})
    assert 0 < told["exp"] - time.time() <= TTL.total_seconds() <= 900
    assert {name: value for name, value in told["video"].items() if value} == {
        "roomJoin": True,
        "room": "lobby",
        "canSubscribe": True,
        "canPublish": True,
        "canPublishSources": ["microphone"],
        "canPublishData": True,
    }
    assert told["video"].get("canUpdateOwnMetadata") is False


def test_without_wishes_it_is_a_new_room_and_a_new_name_and_calls_our_agent() -> None:
    one, other = claims({}), claims({})
    assert one["video"]["room"] != other["video"]["room"]
    assert one["sub"] != other["sub"]
    assert [agent["agentName"] for agent in one["roomConfig"]["agents"]] == ["mien"]


def test_camel_case_is_understood_and_a_dispatch_passed_on() -> None:
    config = {"agents": [{"agentName": "other", "metadata": "{}"}], "empty_timeout": 30}
    told = claims({"roomName": "lobby", "participantName": "Ada", "roomConfig": config})
    assert (told["video"]["room"], told["name"]) == ("lobby", "Ada")
    assert [agent["agentName"] for agent in told["roomConfig"]["agents"]] == ["other"]
    assert told["roomConfig"]["emptyTimeout"] == 30


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"room_name": 7}, "room_name"),
        ({"room_name": "x" * 129}, "128"),
        ({"participant_identity": "agent-AJ_1"}, "agent-AJ_1"),
        ({"participant_attributes": []}, "participant_attributes"),
        ({"participant_attributes": {"a": 1}}, "texts"),
        ({"participant_attributes": {str(n): "" for n in range(17)}}, "16"),
        ({"participant_attributes": {"lk.publish_on_behalf": "agent"}}, "lk.publish_on_behalf"),
        ({"participant_metadata": "x" * 9000}, "participant_metadata"),
        ({"room_config": "mien"}, "room_config"),
        ({"room_config": {"agents": 3}}, "room_config"),
        ({"room_config": {"no_such_field": 3}}, "no_such_field"),
        ({"room_config": {"egress": {"room": {"roomName": "x"}}}}, "egress"),
        ({"room_config": {"agents": [{"agent_name": "expensive"}]}}, "expensive"),
    ],
)
def test_what_may_not_be_asked_for_is_refused_with_a_reason(request_: dict[str, Any], said: str) -> None:
    with pytest.raises(Refusal, match=said) as refused:
        Tokens(SETTINGS, ["mien"]).issue(request_)
    assert (refused.value.status, refused.value.code) == (400, "bad_request")


def test_pages_may_reach_the_server_elsewhere_than_we_do() -> None:
    settings = SETTINGS.model_copy(update={"public_url": "https://rooms.example"})
    assert Tokens(settings, ["mien"]).url == "wss://rooms.example"


def test_without_livekit_it_says_what_is_missing() -> None:
    with pytest.raises(SettingsError, match="LIVEKIT_API_SECRET"):
        Tokens(LiveKitSettings(url="ws://x", api_key=SecretStr("key")), ["mien"])
