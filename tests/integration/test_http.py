"""The web server's guards and errors, over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from avatar.frames import MienError
from rooms.http import BODY_LIMIT, Guard, Refusal, Service, make_app, serve

pytestmark = pytest.mark.loopback

TOKEN = "correct horse battery staple"


async def _offer(request: Mapping[str, Any]) -> dict[str, Any]:
    if request.get("full"):
        raise Refusal(503, "server_full", "all taken", retry_after_s=5)
    return {"type": "answer", "echo": request.get("sdp")}


@asynccontextmanager
async def server(guard: Guard) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    service = Service(
        config=lambda authorized: {"auth": guard.token is not None, "ice_servers": ["turn"] if authorized else []},
        offer=_offer,
        health=lambda: {"status": "ok"},
        metrics=lambda: b"mien_sessions 0\n",
        poster=lambda: b"\x89PNG",
    )
    runner, url = await serve(make_app(service, guard), "127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as client:
            yield client, url.rstrip("/")
    finally:
        await runner.cleanup()


OPEN = Guard(loopback=True, token=None, allowed_origins=())
CLOSED = Guard(loopback=False, token=TOKEN, allowed_origins=("https://app.example",))


async def refused(response: aiohttp.ClientResponse, status: int, code: str) -> dict[str, Any]:
    assert response.status == status
    error: dict[str, Any] = (await response.json())["error"]
    assert error["code"] == code
    assert error["message"]
    return error


async def test_the_page_and_its_modules_are_served_with_safe_headers() -> None:
    async with server(OPEN) as (client, url):
        for path, kind in (("/", "text/html"), ("/static/app.js", "javascript"), ("/api/poster.png", "image/png")):
            async with client.get(url + path) as response:
                assert response.status == 200
                assert kind in response.headers["Content-Type"]
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert "default-src 'none'" in response.headers["Content-Security-Policy"]


async def test_there_is_no_way_out_of_the_static_folder() -> None:
    async with server(OPEN) as (client, url):
        for path in ("/static/../agent/settings.py", "/static/%2e%2e/pyproject.toml", "/static/", "/nothing"):
            async with client.get(url + path) as response:
                assert response.status in (403, 404)
                assert "error" in await response.json()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_request"),
        (b"{", 400, "bad_request"),
        (b"[1]", 400, "bad_request"),
        (b"\xff\xfe", 400, "bad_request"),
        (b"[" * 100_000, 400, "bad_request"),
        (b'"' + b"x" * BODY_LIMIT + b'"', 413, "too_large"),
        (b'{"full": true}', 503, "server_full"),
    ],
)
async def test_a_bad_body_gets_a_reason_and_never_a_5xx_of_ours(body: bytes, status: int, code: str) -> None:
    async with server(OPEN) as (client, url), client.post(f"{url}/api/offer", data=body) as response:
        await refused(response, status, code)
        assert (response.headers.get("Retry-After") == "5") is (status == 503)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("POST", "/api/offer", b"Content-Type: application/json; charset=none-such", 200, None),
        ("POST", "/api/offer", b"Origin: http://[::1", 403, "forbidden_origin"),
        ("POST", "/api/offer", b"Origin: http://\xff", 403, "forbidden_origin"),
        ("GET", "/metrics", b"Host: [::1", 403, "forbidden_origin"),
        ("GET", "/static/" + "a" * 3000, b"", 404, "not_found"),
        ("GET", "/static/" + "%c3%a4" * 100, b"", 404, "not_found"),
        ("GET", "/static/%00", b"", 404, "not_found"),
    ],
)
async def test_odd_headers_and_names_get_a_reason_too(
    method: str, path: str, headers: bytes, status: int, code: str | None
) -> None:
    async with server(OPEN) as (_, url):
        answer = await asked(url, method, path, headers, b"{}" if method == "POST" else b"")
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        if code is not None:
            assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["code"] == code


async def test_a_token_of_any_bytes_is_compared() -> None:
    async with server(CLOSED) as (_, url):
        answer = await asked(url, "POST", "/api/offer", b"Authorization: Bearer \xff\xfe", b"{}")
        assert answer.startswith(b"HTTP/1.1 401 ")


async def asked(url: str, method: str, path: str, headers: bytes, body: bytes) -> bytes:
    """The whole answer to a request that HTTP clients refuse to send."""
    host = url.removeprefix("http://")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    lines = [f"{method} {path} HTTP/1.1".encode(), f"Content-Length: {len(body)}".encode(), b"Connection: close"]
    if not headers.startswith(b"Host:"):
        lines.append(f"Host: {host}".encode())
    writer.write(b"\r\n".join([*lines, *([headers] if headers else []), b"", body]))
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_wrong_method_and_unknown_path_are_json_too() -> None:
    async with server(OPEN) as (client, url):
        async with client.get(f"{url}/api/offer") as response:
            await refused(response, 405, "bad_request")
        async with client.get(f"{url}/api/nothing") as response:
            await refused(response, 404, "not_found")


async def test_on_loopback_a_foreign_page_or_host_name_may_not_call() -> None:
    async with server(OPEN) as (client, url):
        async with client.post(f"{url}/api/offer", json={}, headers={"Origin": "https://evil.example"}) as response:
            await refused(response, 403, "forbidden_origin")
        async with client.post(f"{url}/api/offer", json={}, headers={"Host": "evil.example"}) as response:
            await refused(response, 403, "forbidden_origin")
        async with client.get(f"{url}/metrics", headers={"Host": "evil.example:80"}) as response:
            await refused(response, 403, "forbidden_origin")
        async with client.post(f"{url}/api/offer", json={}, headers={"Origin": url}) as response:
            assert response.status == 200


async def test_beyond_loopback_the_token_is_asked_for_and_turn_credentials_are_kept_back() -> None:
    async with server(CLOSED) as (client, url):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            async with client.post(f"{url}/api/offer", json={}, headers=headers) as response:
                error = await refused(response, 401, "unauthorized")
                assert TOKEN not in error["message"]
            async with client.get(f"{url}/metrics", headers=headers) as response:
                await refused(response, 401, "unauthorized")
        async with client.get(f"{url}/api/config") as response:
            assert await response.json() == {"auth": True, "ice_servers": []}
        good = {"Authorization": f"Bearer {TOKEN}"}
        async with client.get(f"{url}/api/config", headers=good) as response:
            assert (await response.json())["ice_servers"] == ["turn"]
        async with client.post(f"{url}/api/offer", json={"sdp": "x"}, headers=good) as response:
            assert (await response.json())["echo"] == "x"
        async with client.get(f"{url}/health") as response:
            assert response.status == 200


async def test_an_allowed_page_elsewhere_may_embed_us() -> None:
    origin = {"Origin": "https://app.example"}
    async with server(CLOSED) as (client, url):
        async with client.options(f"{url}/api/offer", headers=origin) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
            assert "authorization" in response.headers["Access-Control-Allow-Headers"]
        async with client.get(f"{url}/static/element.js", headers=origin) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
        async with client.get(f"{url}/static/element.js", headers={"Origin": "https://evil.example"}) as response:
            assert "Access-Control-Allow-Origin" not in response.headers


async def test_an_address_in_use_is_named() -> None:
    async with server(OPEN) as (_, url):
        port = int(url.rsplit(":", 1)[1])
        app = make_app(Service(lambda _: {}, _offer, dict, bytes, bytes), OPEN)
        with pytest.raises(MienError, match=f"127.0.0.1:{port}"):
            await serve(app, "127.0.0.1", port)


async def test_tokens_are_issued_where_there_are_any_and_guarded() -> None:
    def token(request: Mapping[str, Any]) -> dict[str, str]:
        if "room_name" in request:
            raise Refusal(400, "bad_request", "not that room")
        return {"participant_token": "t"}

    service = Service(
        config=lambda authorized: {},
        offer=None,
        health=dict,
        metrics=lambda: b"",
        poster=lambda: b"",
        token=token,
        connects_to=("wss://livekit.example",),
    )
    runner, url = await serve(make_app(service, CLOSED), "127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as client:
            async with client.post(f"{url}api/token") as response:
                await refused(response, 401, "unauthorized")
            client.headers["Authorization"] = f"Bearer {TOKEN}"
            async with client.post(f"{url}api/token") as response:
                assert response.status == 201
                assert await response.json() == {"participant_token": "t"}
                assert response.headers["Cache-Control"] == "no-store"
            async with client.post(f"{url}api/token", json={"room_name": "x"}) as response:
                await refused(response, 400, "bad_request")
            async with client.post(f"{url}api/token", data=b"[") as response:
                await refused(response, 400, "bad_request")
            async with client.post(f"{url}api/offer", json={}) as response:
                await refused(response, 404, "not_found")
            async with client.get(url) as response:
                assert "connect-src 'self' wss://livekit.example;" in response.headers["Content-Security-Policy"]
    finally:
        await runner.cleanup()


async def test_the_embedded_server_has_no_tokens() -> None:
    async with server(OPEN) as (client, url), client.post(f"{url}/api/token", json={}) as response:
        await refused(response, 404, "not_found")
