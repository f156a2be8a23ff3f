"""A real Chromium on the real page, with a microphone that the benchmark plays into and ears and eyes of its own.

In: the address of a running server. Out: a `Visit`, whose recording grows while it lasts. See page.js for what is added
to the page and recording.py for what its times mean.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from playwright.async_api import Page, async_playwright

from avatar.frames import Pcm
from benchmarks.recording import Event, Recording
from benchmarks.report import ROOT

FLAGS = (
    "--no-sandbox",
    "--allow-loopback-in-peer-connection",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    # The microphone is ours, so the browser never sees a permission and would hide its address behind an mDNS name.
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    # Nobody looks at the window: the page must run at full speed all the same.
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
)
TAKE_EVERY_S = 0.5
SCRIPT = Path(__file__).with_name("page.js")

_FOLLOW = """() => {
  const { client } = window.mien;
  for (const type of ['connection', 'state', 'userstate', 'caption', 'turn', 'notice', 'hello']) {
    client.on(type, (detail) => window.bench.note(type, detail));
  }
}"""
VIDEO = "document.querySelector('mien-avatar').shadowRoot.querySelector('video')"
"""The page's one media element, in JavaScript."""
_ATTEND = f"() => window.bench.attend({VIDEO})"


def executable() -> str:
    """Path of the Chromium to use: the one that scripts/chromium finds.

    Raises:
        RuntimeError: there is none; says what to do.
    """
    found = subprocess.run([ROOT / "scripts" / "chromium", "--find"], capture_output=True, text=True, check=False)
    if found.returncode:
        raise RuntimeError(found.stderr.strip())
    return found.stdout.strip()


class Visit:
    """One page in one browser. Everything it records is in ``recording``."""

    def __init__(self, page: Page, version: str) -> None:
        self.page = page
        self.chromium = version
        self.recording = Recording()
        self._taking = asyncio.Lock()

    async def meet(self, url: str) -> None:
        """Open the page, start a conversation as a person does, and listen from the first sound on."""
        await self.page.goto(url)
        await self.page.wait_for_function("() => window.mien !== undefined")
        await self.page.evaluate("() => window.bench.opened")
        await self.page.evaluate(_FOLLOW)
        await self.page.get_by_role("button", name="Start conversation").click()
        await self.page.wait_for_function(f"() => {VIDEO}.srcObject?.getTracks().length")
        await self.page.evaluate(_ATTEND)
        await self.page.wait_for_function("() => window.mien.client.connection.phase === 'connected'")
        await self.synchronize()

    async def synchronize(self, exchanges: int = 20) -> None:
        """Relate the page's clock with ours, again: the best of all exchanges so far counts."""
        for _ in range(exchanges):
            sent = time.monotonic()
            page_ms = await self.page.evaluate("() => performance.now()")
            self.recording.exchanged(sent, page_ms, time.monotonic())

    async def say(self, sound: Pcm) -> int:
        """Play int16 mono 48 kHz into the microphone; returns the context frame at which it begins."""
        frame: int = await self.page.evaluate("(sound) => window.bench.say(sound)", _base64(sound))
        return frame

    async def write(self, text: str) -> None:
        """What the chat box does."""
        await self.page.evaluate("(text) => window.mien.client.sendChat(text)", text)

    async def echo(self, gain: float) -> None:
        """Let what the page plays into its own microphone, by this factor, 80 ms late."""
        await self.page.evaluate("(gain) => window.bench.echo(gain)", gain)

    async def look_at(self, x: int, y: int, width: int, height: int, columns: int, rows: int) -> None:
        """Read this part of every picture from now on (px of the video), scaled to columns by rows."""
        region = {"from": [x, y, width, height], "columns": columns, "rows": rows}
        await self.page.evaluate("(region) => window.bench.region(region)", region)

    async def parts(self) -> dict[str, str]:
        """What the conversation uses, as the page was told: which recognizer, which voice, …"""
        used = await self.page.evaluate("() => window.mien.client.hello.parts.map(({ part, name }) => [part, name])")
        return dict(used)

    async def statistics(self) -> dict[str, Any]:
        """The page's own snapshot of its connection."""
        summary: dict[str, Any] = await self.page.evaluate("() => window.mien.getStats()")
        return summary

    async def buffered(self) -> tuple[float, float]:
        """Totals of the browser's sound buffer: (seconds that samples spent in it, samples); compare two of them."""
        raw = (await self.statistics())["raw"]
        sound = next(entry for entry in raw if entry["type"] == "inbound-rtp" and entry["kind"] == "audio")
        return sound["jitterBufferDelay"], sound["jitterBufferEmittedCount"]

    async def take(self) -> None:
        """Fetch what was recorded since the last time."""
        async with self._taking:
            if not self.recording.pictures:
                await self.synchronize(3)
            batch = await self.page.evaluate("() => window.bench.take()")
            self.recording.add(batch)

    async def record(self) -> None:
        """Fetch again and again, until cancelled."""
        while True:
            await self.take()
            await self.synchronize(1)
            await asyncio.sleep(TAKE_EVERY_S)

    # -- waiting for what the page is told

    @property
    def mark(self) -> int:
        """How many events there are: `event` looks at later ones."""
        return len(self.recording.events)

    async def event(self, mark: int, type_: str, timeout_s: float, **detail: Any) -> Event | None:
        """The first event after ``mark`` of this type whose detail has these values; None when none comes in time."""
        deadline = time.monotonic() + timeout_s
        while True:
            for event in self.recording.events[mark:]:
                if event.type == type_ and all(event.detail.get(name) == value for name, value in detail.items()):
                    return event
            if time.monotonic() > deadline:
                return None
            await asyncio.sleep(0.1)


@asynccontextmanager
async def chromium() -> AsyncIterator[Visit]:
    """A fresh browser with one empty page, recording once it has met somebody."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable(), args=list(FLAGS))
        try:
            # The meter is a worklet from a blob, which the page's own policy rightly refuses.
            context = await browser.new_context(bypass_csp=True, viewport={"width": 900, "height": 800})
            await context.add_init_script(path=SCRIPT)
            yield Visit(await context.new_page(), browser.version)
        finally:
            await browser.close()


@asynccontextmanager
async def conversation(url: str) -> AsyncIterator[Visit]:
    """A visit that has met the avatar at this address and is being recorded."""
    async with chromium() as visit:
        await visit.meet(url)
        recording = asyncio.create_task(visit.record())
        try:
            yield visit
        finally:
            recording.cancel()
            with suppress(asyncio.CancelledError):
                await recording


def _base64(sound: Pcm) -> str:
    return base64.b64encode(sound.tobytes()).decode()
