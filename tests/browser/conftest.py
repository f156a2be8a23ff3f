"""A real Chromium, and pages of it that fail their test when they log an error nobody expected."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from benchmarks.chromium import executable
from tests.browser.fakeserver import FakeServer

FLAGS = (
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--autoplay-policy=no-user-gesture-required",
)
PATIENCE_MS = 15_000

OpenPage = Callable[..., Page]


@dataclasses.dataclass
class Watched:
    """A page's console: what it may say, and what it said wrong."""

    expected: tuple[str, ...]
    wrong: list[str] = dataclasses.field(default_factory=list)

    def on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(text in message.text for text in self.expected):
            self.wrong.append(f"{message.type}: {message.text}")

    def on_error(self, error: Any) -> None:
        self.wrong.append(f"uncaught: {error}")


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """One browser for these tests; each page has a context of its own. Its client runs an event loop in this thread, so
    it must be gone when tests of other folders run theirs."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def open_page(chromium: Browser, server: FakeServer) -> Iterator[OpenPage]:
    """Opens the page in a context of its own: ``expected`` names the console errors that belong to the test."""
    contexts: list[BrowserContext] = []
    consoles: list[Watched] = []

    def open_(
        *, path: str = "/", microphone: bool = True, expected: tuple[str, ...] = (), width: int = 1280, **options: Any
    ) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": 800},
            # Granting something else refuses the microphone, as a person would.
            permissions=["microphone"] if microphone else ["geolocation"],
            **options,
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        watched = Watched(expected)
        consoles.append(watched)
        page = context.new_page()
        page.on("console", watched.on_console)
        page.on("pageerror", watched.on_error)
        page.goto(server.url + path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert [console.wrong for console in consoles if console.wrong] == []
