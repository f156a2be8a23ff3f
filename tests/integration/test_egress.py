"""`mien egress` against a local endpoint of LiveKit's API: what is asked of it, field by field, and what is made of its
answers.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from livekit import api

pytestmark = pytest.mark.loopback

ROOT = Path(__file__).parents[2]
KEY, SECRET = "testkey", "a-secret-of-thirty-two-characters-and-more"
STREAM_KEY = "live-key-0123456789"
URL = f"rtmp://live.example/app/{STREAM_KEY}"
AGENT, PERSON = api.ParticipantInfo.Kind.AGENT, api.ParticipantInfo.Kind.STANDARD
NO_MORE = api.VideoGrants()
"""What every token holds, and nobody can use without a room."""
REQUESTS: dict[str, type[Message]] = {
    "RoomService/ListRooms": api.ListRoomsRequest,
    "RoomService/ListParticipants": api.ListParticipantsRequest,
    "Egress/StartParticipantEgress": api.ParticipantEgressRequest,
    "Egress/StartRoomCompositeEgress": api.RoomCompositeEgressRequest,
    "Egress/ListEgress": api.ListEgressRequest,
    "Egress/StopEgress": api.StopEgressRequest,
}


def participant(
    identity: str, kind: Any = AGENT, *, video: bool = True, attributes: dict[str, str] | None = None
) -> api.ParticipantInfo:
    tracks = [api.TrackInfo(type=api.TrackType.AUDIO)] + [api.TrackInfo(type=api.TrackType.VIDEO)] * video
    return api.ParticipantInfo(identity=identity, kind=kind, tracks=tracks, attributes=attributes)


def info(
    egress_id: str,
    state: Any = api.EgressStatus.EGRESS_ACTIVE,
    began_s: int = 1_795_280_000,
    streams: tuple[api.StreamInfo, ...] = (api.StreamInfo(url="rtmp://live.example/app/{liv...789}"),),
    error: str = "",
) -> api.EgressInfo:
    """As the egress service tells of itself; it shortens keys, and leaves their beginning and end."""
    return api.EgressInfo(
        egress_id=egress_id,
        room_name="lobby",
        status=state,
        started_at=began_s * 10**9,
        participant=api.ParticipantEgressRequest(room_name="lobby", identity="mien"),
        stream_results=streams,
        error=error,
    )


@dataclass
class Endpoint:
    """LiveKit's API over HTTP: Twirp, protobuf in and out, errors as JSON."""

    url: str = ""
    rooms: tuple[str, ...] = ("lobby",)
    there: list[api.ParticipantInfo] = field(default_factory=lambda: [participant("ada", PERSON), participant("mien")])
    pages: list[api.ListEgressResponse] = field(default_factory=list)
    info: api.EgressInfo = field(default_factory=api.EgressInfo)
    failing: str = ""
    failure: web.Response | None = None
    """What the method of that name is answered with."""
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    grants: set[str] = field(default_factory=set)
    """What the tokens of calls to Egress allowed."""

    async def answer(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        assert request.content_type == "application/protobuf"
        token = api.TokenVerifier(KEY, SECRET).verify(request.headers["Authorization"].removeprefix("Bearer "))
        asked = REQUESTS[method]()
        asked.ParseFromString(await request.read())
        self.asked.append((method, MessageToDict(asked, preserving_proto_field_name=True)))
        if method.startswith("Egress/"):
            assert token.video is not None
            self.grants |= {name for name, value in vars(token.video).items() if value != getattr(NO_MORE, name)}
            if method == self.failing and self.failure is not None:
                return self.failure
        return web.Response(body=self._told(method).SerializeToString(), content_type="application/protobuf")

    def _told(self, method: str) -> Message:
        match method:
            case "RoomService/ListRooms":
                wanted = self.asked[-1][1]["names"]
                return api.ListRoomsResponse(rooms=[api.Room(name=name) for name in self.rooms if name in wanted])
            case "RoomService/ListParticipants":
                return api.ListParticipantsResponse(participants=self.there)
            case "Egress/ListEgress":
                return self.pages.pop(0) if self.pages else api.ListEgressResponse()
        return self.info

    def started(self) -> dict[str, Any]:
        """The last request."""
        return self.asked[-1][1]


@pytest_asyncio.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    told = Endpoint()
    app = web.Application()
    app.router.add_post("/twirp/livekit.{method:.*}", told.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    told.url = f"ws://127.0.0.1:{runner.addresses[0][1]}"
    yield told
    await runner.cleanup()


async def egress(endpoint: Endpoint, *arguments: str, **environ: str) -> tuple[int, str, str]:
    """Run the command as its users do, told to log all that it can; status, what it said, and its complaints."""
    own = {"LIVEKIT_URL": endpoint.url, "LIVEKIT_API_KEY": KEY, "LIVEKIT_API_SECRET": SECRET}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "agent.cli", "egress", *arguments, "--verbose"),
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)} | own | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    for secret in (STREAM_KEY, SECRET):
        assert secret not in out.decode() + errors.decode()
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


async def refused(endpoint: Endpoint, *arguments: str, **environ: str) -> str:
    status, out, errors = await egress(endpoint, *arguments, **environ)
    assert (status, out) == (2, "")
    assert errors.startswith("mien: ")
    assert errors.count("\n") == 1
    return errors


PICTURE = {
    "width": 1280,
    "height": 720,
    "framerate": 25,
    "video_codec": "H264_MAIN",
    "video_bitrate": 2500,
    "key_frame_interval": 2.0,
    "audio_codec": "AAC",
    "audio_bitrate": 128,
    "audio_frequency": 48000,
}


async def test_the_avatar_is_found_and_put_on_air(endpoint: Endpoint) -> None:
    endpoint.info = info("EG_one", api.EgressStatus.EGRESS_STARTING, 0)
    status, out, errors = await egress(endpoint, "start", "--room", "lobby", "--rtmp", URL)
    assert (status, errors) == (0, "")
    assert out == (
        "EG_one  starting, not begun: participant mien of room lobby\n    to rtmp://live.example/app/***: active\n"
    )
    assert endpoint.asked == [
        ("RoomService/ListRooms", {"names": ["lobby"]}),
        ("RoomService/ListParticipants", {"room": "lobby"}),
        ("Egress/ListEgress", {"room_name": "lobby", "active": True}),
        (
            "Egress/StartParticipantEgress",
            {
                "room_name": "lobby",
                "identity": "mien",
                "advanced": PICTURE,
                "stream_outputs": [{"protocol": "RTMP", "urls": [URL]}],
            },
        ),
    ]
    assert endpoint.grants == {"room_record"}


async def test_all_of_a_room_as_the_settings_have_it_to_several_servers(endpoint: Endpoint) -> None:
    second = f"rtmps://second.example:8443/app/deep/{STREAM_KEY}?auth={STREAM_KEY}"
    environ = {"RTMP_RESOLUTION": "720x1280", "RTMP_FPS": "30", "RTMP_BITRATE": "4000"}
    endpoint.there = []
    status, _, errors = await egress(
        endpoint, "start", "--room", "lobby", "--composite", "--rtmp", f"{URL}, {second},{URL}", **environ
    )
    assert (status, errors) == (0, "")
    assert endpoint.asked[2:] == [
        (
            "Egress/StartRoomCompositeEgress",
            {
                "room_name": "lobby",
                "layout": "speaker",
                "advanced": PICTURE | {"width": 720, "height": 1280, "framerate": 30, "video_bitrate": 4000},
                "stream_outputs": [{"protocol": "RTMP", "urls": [URL, second]}],
            },
        )
    ]
    assert endpoint.grants == {"room_record"}


async def test_where_to_comes_from_the_environment_too_so_that_no_process_list_has_the_key(endpoint: Endpoint) -> None:
    status, _, _ = await egress(endpoint, "start", "--room", "lobby", RTMP_URL=URL)
    assert status == 0
    assert endpoint.started()["stream_outputs"][0]["urls"] == [URL]
    assert "where to? Give --rtmp" in await refused(endpoint, "start", "--room", "lobby")


NAMED = {"lk.agent.name": "mien"}


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ([participant("thinks", video=False, attributes=NAMED), participant("face")], "face"),
        ([participant("films"), participant("ours", attributes=NAMED)], "ours"),
        ([participant("films"), participant("face", attributes={"lk.publish_on_behalf": "thinks"})], "face"),
    ],
)
async def test_which_of_the_agents_is_the_avatar(
    endpoint: Endpoint, there: list[api.ParticipantInfo], found: str
) -> None:
    endpoint.there = [participant("ada", PERSON), *there]
    status, _, _ = await egress(endpoint, "start", "--room", "lobby", "--rtmp", URL)
    assert (status, endpoint.started()["identity"]) == (0, found)


async def test_whoever_is_named_is_put_on_air(endpoint: Endpoint) -> None:
    to_ada = ("start", "--room", "lobby", "--rtmp", URL, "--participant")
    status, _, _ = await egress(endpoint, *to_ada, "ada")
    assert (status, endpoint.started()["identity"]) == (0, "ada")
    assert "no participant 'bob' in room 'lobby': there is ada, mien" in await refused(endpoint, *to_ada, "bob")


async def test_whom_to_put_on_air_is_asked_where_it_is_not_clear(endpoint: Endpoint) -> None:
    start = ("start", "--room", "lobby", "--rtmp", URL)
    endpoint.there = [participant("mien-2", attributes=NAMED), participant("mien-1", attributes=NAMED)]
    assert "say which with --participant: mien-1, mien-2" in await refused(endpoint, *start)
    endpoint.there = [participant("ada", PERSON), participant("thinks", video=False)]
    assert "no avatar with a picture in room 'lobby': there is ada, thinks." in await refused(endpoint, *start)
    for how in ([], ["--composite"], ["--participant", "ada"]):
        said = await refused(endpoint, "start", "--room", "attic", "--rtmp", URL, *how)
        assert f"no room 'attic' at {endpoint.url}" in said
    assert not [method for method, _ in endpoint.asked if method.startswith("Egress/")]


async def test_what_is_on_air_is_listed_without_keys(endpoint: Endpoint) -> None:
    failed = api.StreamInfo.Status.FAILED
    streams = (
        api.StreamInfo(url=URL),
        api.StreamInfo(url=f"srt://srt.example:9?streamid={STREAM_KEY}", status=failed, error=f"could not open {URL}"),
        api.StreamInfo(url=f"twitch://{STREAM_KEY}", status=api.StreamInfo.Status.FINISHED),
    )
    file = api.EgressInfo(
        egress_id="EG_file",
        room_name="attic",
        room_composite=api.RoomCompositeEgressRequest(),
        file_results=[api.FileInfo(filename="/out/attic.mp4")],
        status=99,  # type: ignore[arg-type]
    )
    pages = [
        api.ListEgressResponse(
            items=[info("EG_one", streams=streams, error=f"gave up {URL}: refused")],
            next_page_token=api.TokenPagination(token="more"),
        ),
        api.ListEgressResponse(items=[file], next_page_token=api.TokenPagination(token="end")),
    ]
    endpoint.pages = list(pages)
    status, out, errors = await egress(endpoint, "list")
    assert (status, errors) == (0, "")
    assert out.splitlines() == [
        "EG_one  active, since 2026-11-21 16:53:20 UTC: participant mien of room lobby",
        "    to rtmp://live.example/app/***: active",
        "    to srt://srt.example/***: failed, could not open rtmp://live.example/app/***",
        "    to twitch://***: finished",
        "    error: gave up rtmp://live.example/app/*** refused",
        "EG_file  99, not begun: room composite of room attic",
        "    to /out/attic.mp4: file",
    ]
    asked = [{"active": True}, {"active": True, "page_token": {"token": "more"}}]
    asked.append({"active": True, "page_token": {"token": "end"}})
    assert endpoint.asked == [("Egress/ListEgress", one) for one in asked]

    endpoint.pages = list(pages)
    status, out, _ = await egress(endpoint, "list", "--all", "--json")
    assert (status, endpoint.asked[3]) == (0, ("Egress/ListEgress", {}))
    first, second = json.loads(out)
    assert first == {
        "id": "EG_one",
        "room": "lobby",
        "what": "participant mien",
        "state": "active",
        "since": "2026-11-21T16:53:20+00:00",
        "to": [
            {"url": "rtmp://live.example/app/***", "state": "active", "error": ""},
            {
                "url": "srt://srt.example/***",
                "state": "failed",
                "error": "could not open rtmp://live.example/app/***",
            },
            {"url": "twitch://***", "state": "finished", "error": ""},
        ],
        "error": "gave up rtmp://live.example/app/*** refused",
    }
    assert (second["id"], second["since"]) == ("EG_file", None)


async def test_nothing_on_air_is_said(endpoint: Endpoint) -> None:
    assert await egress(endpoint, "list") == (0, "nothing is on air by egress\n", "")
    assert (await egress(endpoint, "list", "--json"))[1] == "[]\n"


async def test_one_is_stopped(endpoint: Endpoint) -> None:
    endpoint.info = info("EG_one", api.EgressStatus.EGRESS_ENDING)
    status, out, errors = await egress(endpoint, "stop", "EG_one")
    assert (status, errors) == (0, "")
    assert out.startswith("EG_one  ending, since 2026-11-21 16:53:20 UTC")
    assert endpoint.asked == [("Egress/StopEgress", {"egress_id": "EG_one"})]
    assert endpoint.grants == {"room_record"}


def failure(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"code": code, "msg": f"twirp error unknown: {message}"}, status=status)


START, LIST = "Egress/StartParticipantEgress", "Egress/ListEgress"


@pytest.mark.parametrize(
    ("failing", "answer", "said"),
    [
        # The first three as livekit-server 1.13.5 answers.
        (
            LIST,
            failure(500, "internal", "egress not connected (redis required)"),
            "has no egress (egress not connected",
        ),
        (
            START,
            failure(503, "unavailable", "no response from servers"),
            "no egress service answers the LiveKit server",
        ),
        (START, web.Response(status=401, text="invalid API key"), "refuses the key: set LIVEKIT_API_KEY and LIVEKIT_"),
        (
            START,
            failure(400, "invalid_argument", f"{URL} is no url; {STREAM_KEY}"),
            "refuses: rtmp://live.example/app/*",
        ),
        (
            START,
            web.Response(status=502, text="<html>Bad gateway</html>"),
            "says 502 and no more: is LIVEKIT_URL a Live",
        ),
        (START, web.Response(text="<html>Welcome</html>", content_type="text/html"), "is no LiveKit server"),
    ],
)
async def test_what_the_server_refuses_is_put_in_words(
    endpoint: Endpoint, failing: str, answer: web.Response, said: str
) -> None:
    endpoint.failing, endpoint.failure = failing, answer
    told = await refused(endpoint, "start", "--room", "lobby", "--rtmp", URL)
    assert said in told
    assert endpoint.url in told
    assert endpoint.asked[-1][0] == failing


async def test_to_stop_what_is_not_there_is_refused(endpoint: Endpoint) -> None:
    endpoint.failing, endpoint.failure = "Egress/StopEgress", failure(404, "not_found", "egress does not exist")
    assert "has no such egress: `mien egress list`" in await refused(endpoint, "stop", "EG_gone")


async def test_a_server_that_is_not_there_is_named(endpoint: Endpoint) -> None:
    endpoint.url = "ws://127.0.0.1:1"
    assert "cannot reach the LiveKit server at ws://127.0.0.1:1" in await refused(endpoint, "list")


async def test_an_address_that_is_none_is_refused_before_anything_is_asked(endpoint: Endpoint) -> None:
    wrong = f"https://live.example/app/{STREAM_KEY}"
    told = await refused(endpoint, "start", "--room", "lobby", "--rtmp", f"{URL},{wrong}")
    assert "begins with rtmp:// or rtmps://, not https" in told
    assert endpoint.asked == []
