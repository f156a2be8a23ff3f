"""The page in LiveKit mode: a real Chromium, a real LiveKit server, `mien agent` and `mien page`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.chromium import executable
from tests.browser.conftest import FLAGS, Watched
from tests.browser.steps import button, caption, say, state, stats, wait_until
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
    wrong = [line for _, watched in opened for line in watched.wrong]
    assert not wrong, "\n".join(wrong)


def begin(page: Page) -> None:
    """Start, and wait until the avatar has said hello."""
    button(page, "Start conversation").click()
    expect(state(page, "Listening")).to_be_visible(timeout=PATIENCE_MS)


def begin_without(page: Page) -> None:
    """The same where there is no microphone."""
    button(page, "Start conversation").click()
    expect(state(page, "Ready")).to_be_visible(timeout=PATIENCE_MS)


def caption_text(page: Page) -> str:
    return caption(page).inner_text() if caption(page).count() else ""


def test_starts_hears_and_sees_the_avatar_through_one_element(open_page: OpenPage, url: str) -> None:
    page = open_page(url)
    begin(page)

    def decoded() -> int:
        report = stats(page)["video"]  # there is none before the first picture
        return int(report["frames_decoded"]) if report else 0

    wait_until(page, lambda: decoded() > 25, "25 pictures", PATIENCE_S)
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


def test_typing_is_answered_and_an_interruption_cuts_the_caption(open_page: OpenPage, url: str) -> None:
    page = open_page(url)
    begin(page)
    say(page, "What is two plus two?")
    expect(page.get_by_role("log", name="Captions")).to_contain_text("You: What is two plus two?")
    wait_until(page, lambda: "4" in caption_text(page) or "four" in caption_text(page), "an answer", PATIENCE_S)
    button(page, "Details").click()
    expect(page.get_by_role("row", name=re.compile("Together"))).to_be_visible(timeout=PATIENCE_MS)
    expect(state(page, "Listening")).to_be_visible(timeout=PATIENCE_MS)

    say(page, "Tell me a story")
    expect(state(page, "Speaking")).to_be_visible(timeout=PATIENCE_MS)
    wait_until(page, lambda: len(caption_text(page)) > 10, "some words", PATIENCE_S)
    page.evaluate(
        """() => {
          const [voice] = mien.client.stream.getAudioTracks();
          window.hushed = false;
          setInterval(() => (window.hushed ||= !voice.enabled), 5);
        }"""
    )
    button(page, "Interrupt").click()
    expect(state(page, "Listening")).to_be_visible(timeout=PATIENCE_MS)
    expect(caption(page)).to_contain_text("—")
    wait_until(page, lambda: bool(page.evaluate("window.hushed")), "what the buffer held is not heard", PATIENCE_S)
    enabled = "mien.client.stream.getAudioTracks()[0].enabled"
    wait_until(page, lambda: bool(page.evaluate(enabled)), "what comes next is heard", PATIENCE_S)


def test_mute_voices_and_half_duplex_reach_the_avatar(open_page: OpenPage, url: str) -> None:
    page = open_page(url)
    begin(page)
    wait_until(page, lambda: stats(page)["microphone"]["level"] > 0, "the microphone is heard", PATIENCE_S)
    button(page, "Mute microphone").click()
    expect(state(page, "Muted")).to_be_visible()
    wait_until(page, lambda: stats(page)["microphone"]["level"] == 0, "a silent microphone", PATIENCE_S)
    button(page, "Mute microphone").click()
    wait_until(page, lambda: stats(page)["microphone"]["level"] > 0, "the microphone again", PATIENCE_S)

    voices = page.evaluate("mien.client.hello.voices.filter(({ online }) => !online).map(({ id }) => id)")
    other = next(voice for voice in voices if voice != page.evaluate("mien.client.hello.voice"))
    page.evaluate("(voice) => mien.client.setVoice(voice)", other)
    wait_until(page, lambda: page.evaluate("mien.client.hello.voice") == other, "the other voice", PATIENCE_S)

    sent = stats(page)["microphone"]["packets"]
    button(page, "Choose microphone").click()
    page.get_by_role("menuitemradio", name="Fake Audio Input 2").click()
    wait_until(page, lambda: stats(page)["microphone"]["packets"] > sent + 20, "the other microphone", PATIENCE_S)


def test_leaving_ends_the_conversation_and_another_can_begin(open_page: OpenPage, url: str, worker: Worker) -> None:
    page = open_page(url)
    begin(page)
    first = page.evaluate("mien.client.hello.session")
    before = worker.conversations()
    button(page, "Leave").click()
    expect(button(page, "Start conversation")).to_be_visible()
    assert page.evaluate("mien.client.microphone.status") == "off", "the microphone must be given back"
    wait_until(page, lambda: worker.conversations() < before, "the avatar leaves too", PATIENCE_S)
    begin(page)
    assert page.evaluate("mien.client.hello.session") != first


def test_reload_goes_on_where_it_was(open_page: OpenPage, url: str) -> None:
    page = open_page(url)
    begin(page)
    session = page.evaluate("mien.client.hello.session")
    say(page, "What is two plus two?")
    wait_until(page, lambda: "4" in caption_text(page) or "four" in caption_text(page), "an answer", PATIENCE_S)
    page.reload()
    begin(page)
    assert page.evaluate("mien.client.hello.session") == session
    assert page.evaluate("mien.client.hello.resumed")
    button(page, "Transcript").click()
    expect(page.get_by_role("log", name="Transcript")).to_contain_text("What is two plus two?")

    button(page, "Leave").click()
    page.reload()
    begin(page)
    assert page.evaluate("mien.client.hello.session") != session, "who has left begins anew"


def test_without_a_microphone_one_types(open_page: OpenPage, url: str) -> None:
    page = open_page(url, microphone=False)
    begin_without(page)
    expect(page.get_by_text("The microphone was refused.")).to_be_visible()
    say(page, "What is two plus two?")
    wait_until(page, lambda: "4" in caption_text(page) or "four" in caption_text(page), "an answer", PATIENCE_S)


def test_two_tabs_are_two_rooms(open_page: OpenPage, url: str) -> None:
    first, second = open_page(url), open_page(url)
    begin(first)
    begin(second)
    session = "mien.client.hello.session"
    assert first.evaluate(session) != second.evaluate(session)
    say(first, "only here")
    expect(first.get_by_role("log", name="Captions")).to_contain_text("You: only here")
    assert "only here" not in second.locator("mien-avatar").inner_text()


def test_nothing_of_livekit_but_its_server_is_called(open_page: OpenPage, url: str, livekit: LiveKitServer) -> None:
    page = open_page(url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    begin(page)
    assert any(address.startswith(livekit.url) for address in asked)
    ours = (url, f"blob:{url}", livekit.url, livekit.url.replace("ws", "http", 1))
    assert [address for address in asked if not address.startswith(ours)] == []
