"""A local server that speaks as much of the model hub's protocol as its client needs to fetch a repository's files."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Self

from aiohttp import web

from tests.endpoints.behaviour import Behaviour

REVISION = "0123456789abcdef0123456789abcdef01234567"
PART_BYTES = 65_536


class HubEndpoint:
    """Args:
    folder: the files that every repository has.

    Attributes:
        behaviour: how the sending of files behaves; parts are pieces of one file.
        url: its address.
        fetched: which files were asked for, in order.
    """

    def __init__(self, folder: Path) -> None:
        self.behaviour = Behaviour()
        self.url = ""
        self.fetched: list[str] = []
        self._folder = folder
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/api/models/{owner}/{name}", self._info)
        app.router.add_get("/api/models/{owner}/{name}/revision/{revision}", self._info)
        app.router.add_get("/{owner}/{name}/resolve/{revision}/{file:.+}", self._file)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _info(self, request: web.Request) -> web.Response:
        if self.behaviour.status != 200:
            return web.Response(status=self.behaviour.status)
        names = sorted(file.name for file in self._folder.iterdir())
        siblings = [{"rfilename": name, "size": (self._folder / name).stat().st_size} for name in names]
        repository = f"{request.match_info['owner']}/{request.match_info['name']}"
        return web.json_response(
            {"id": repository, "sha": REVISION, "siblings": siblings, "private": False, "tags": []}
        )

    async def _file(self, request: web.Request) -> web.StreamResponse:
        if self.behaviour.status != 200:
            return web.Response(status=self.behaviour.status)
        file = self._folder / request.match_info["file"]
        if not file.is_file():
            return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
        data = await asyncio.to_thread(file.read_bytes)
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": REVISION,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }
        start = 0
        if (wanted := request.http_range).start:
            start = wanted.start
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        headers["Content-Length"] = str(len(data) - start)
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        self.fetched.append(file.name)
        for number, place in enumerate(range(start, len(data), PART_BYTES)):
            if not await self.behaviour.before_part(number):
                if request.transport is not None:
                    request.transport.abort()
                return response
            await response.write(data[place : place + PART_BYTES])
        return response
