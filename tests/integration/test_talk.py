"""`mien talk` as a person starts it: a process of its own, its page, its health, and its end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.doubles.page import Page, until

pytestmark = pytest.mark.loopback

START_S = 60
"""Generous: the machine may be busy. benchmarks/ has the real figure."""


@asynccontextmanager
async def talking(
    folder: Path, *arguments: str, **environment: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The running server and its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "agent.cli", "talk", "--port", "0", "--no-open", *arguments),
        cwd=folder,
        env=dict(os.environ) | {"MIEN_ICE_ADDRESSES": "127.0.0.1", "PYTHONPATH": str(Path.cwd())} | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_S):
            line = (await process.stdout.readline()).decode()
        found = re.search(r"https?://\S+", line)
        assert found is not None, f"no address in {line!r}: {await _errors(process)}"
        yield process, found[0]
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def _errors(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    return (await process.stderr.read()).decode()


async def join(page: Page, url: str, headers: Mapping[str, str] | None = None) -> None:
    async def answered(sdp: str) -> str:
        async with (
            aiohttp.ClientSession(headers=headers) as client,
            client.post(f"{url}api/offer", json={"type": "offer", "sdp": sdp}, ssl=False) as response,
        ):
            assert response.status == 200, await response.text()
            return str((await response.json())["sdp"])

    await page.join(answered)


async def test_it_shows_a_face_greets_and_tells_how_it_is(tmp_path: Path) -> None:
    async with talking(tmp_path) as (_, url), aiohttp.ClientSession() as client:
        async with client.get(f"{url}api/poster.png") as response:
            assert (await response.read()).startswith(b"\x89PNG")
        page = Page()
        await join(page, url)
        await until(lambda: len(page.pictures) > 10, "pictures come", 30)
        await until(lambda: any(m["type"] == "caption" and m["final"] for m in page.messages), "the greeting", 30)
        assert page.pictures[-1].width == page.pictures[-1].height == 512
        async with client.get(f"{url}health") as response:
            health = await response.json()
        assert health["status"] == "ok"
        assert health["avatar_backend"] == "puppet"
        assert health["device"]["type"] == "cpu"
        assert health["sessions"] == {"open": 1, "limit": 4}
        assert health["models"]["tts"].startswith("espeak")
        async with client.get(f"{url}metrics") as response:
            metrics = await response.text()
        assert re.search(r"^mien_sessions 1\.0$", metrics, re.MULTILINE)
        fresh = re.search(r'^mien_pictures_total\{kind="fresh"\} (\S+)$', metrics, re.MULTILINE)
        assert fresh is not None
        assert float(fresh[1]) > 10
        page.send({"type": "leave"})
        await until(lambda: any(m["type"] == "bye" for m in page.messages), "goodbye")
        await page.aclose()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_it_ends_within_two_seconds_with_a_page_connected(tmp_path: Path, how: signal.Signals) -> None:
    async with talking(tmp_path) as (process, url):
        page = Page()
        await join(page, url)
        await until(lambda: len(page.pictures) > 5, "pictures come", 30)
        began = time.monotonic()
        process.send_signal(how)
        errors = await _errors(process)
        await process.wait()
        assert time.monotonic() - began < 2.5, "two seconds, and half a one for a busy machine to notice"
        assert process.returncode == 0
        assert "Traceback" not in errors
        await page.aclose()


async def test_a_wrong_setting_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    for environment, words in (
        ({"MIEN_PROT": "1"}, "MIEN_PORT"),
        ({"MIEN_PERSONA": "nobody"}, "no persona 'nobody'"),
        ({"MIEN_HOST": "0.0.0.0"}, "MIEN_TOKEN"),
    ):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "agent.cli", "talk", "--no-open"),
            cwd=tmp_path,
            env=dict(os.environ) | {"PYTHONPATH": str(Path.cwd())} | environment,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(START_S):
            errors = await _errors(process)
            assert await process.wait() == 2
        assert words in errors
        assert errors.count("\n") == 1
