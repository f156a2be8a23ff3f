"""The page in LiveKit mode: a real Chromium, a real LiveKit server, `mien agent` and `mien page`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.chromium import executable
from tests.browser.conftest import FLAGS, Watched
from tests.browser.steps import button, state, stats, wait_until
from tests.livekit.page import page_server
from tests.livekit.server import LiveKitServer
from tests.livekit.worker import Worker

pytestmark = [pytest.mark.livekit, pytest.mark.timeout(240)]

PATIENCE_MS = 40_000
"""Generous: the machine may be busy."""
PATIENCE_S = PATIENCE_MS / 1000

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Gone when other modules run event loops of their own in this thread."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(livekit: LiveKitServer, worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with page_server(livekit, tmp_path_factory.mktemp("page"), worker.name) as address:
        yield address


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[OpenPage]:
    """Pages in contexts of their own, whose consoles must say nothing wrong but what is ``expected``."""
    opened: list[tuple[Any, Watched]] = []

    def open_(address: str, *, microphone: bool = True, expected: tuple[str, ...] = ()) -> Page:
        permissions = ["microphone"] if microphone else ["geolocation"]
        context = chromium.new_context(viewport={"width": 1280, "height": 800}, permissions=permissions)
        context.set_default_timeout(PATIENCE_MS)
        watched = Watched(expected)
        opened.append((context, watched))
        page = context.new_page()
        page.on("console", watched.on_console)
        page.on("pageerror", watched.on_error)
        page.goto(address)
        return page

    yield open_
    for context, _ in opened:
        context.close()
    assert [watched.wrong for _, watched in opened if watched.wrong] == []


def begin(page: Page) -> None:
    """Start, and wait until the avatar has said hello."""
    button(page, "Start conversation").click()
    expect(state(page, "Listening")).to_be_visible(timeout=PATIENCE_MS)


def connected(page: Page) -> bool:
    return bool(page.evaluate("mien.client.connection.phase === 'connected'"))


def test_starts_hears_and_sees_the_avatar_through_one_element(open_page: OpenPage, url: str) -> None:
    page = open_page(url)
    begin(page)
    wait_until(page, lambda: stats(page)["video"]["frames_decoded"] > 25, "25 pictures", PATIENCE_S)
    measured = stats(page)
    assert measured["video"]["codec"] == "video/VP8"
    assert measured["audio"]["codec"] in ("audio/opus", "audio/red")
    assert measured["audio"]["energy"] > 0.0001, "the greeting was not heard"
    assert measured["connection"]["bytes_received"] > 0
    wait_until(page, lambda: stats(page)["microphone"]["packets"] > 20, "the microphone is sent", PATIENCE_S)
    assert (
        page.evaluate(
            "document.querySelector('mien-avatar').shadowRoot.querySelector('video').srcObject.getTracks().length"
        )
        == 2
    )
    captions = page.get_by_role("log", name="Captions")
    expect(captions).to_contain_text(re.compile("Mien"))
