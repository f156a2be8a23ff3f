"""What goes wrong behind the page in LiveKit mode, and what the page says and does: nobody comes, the worker dies, the
LiveKit server restarts."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.steps import button, caption, say, state, stats, wait_until
from tests.livekit.page import page_server
from tests.livekit.server import LiveKitServer, livekit_server
from tests.livekit.test_page import PATIENCE_MS, PATIENCE_S, OpenPage, begin, chromium, open_page
from tests.livekit.worker import working

__all__ = ["chromium", "open_page"]

pytestmark = [pytest.mark.livekit, pytest.mark.timeout(300)]

DIES = (
    "WebSocket",
    "Failed to load resource",
    "ERR_CONNECTION_REFUSED",
    "error reading from signal stream",
    "while trying to (re)connect",
    "Failed to fetch",
)
"""What the browser and livekit-client log about a server that is gone."""


@pytest.mark.slow
def test_where_no_avatar_comes_the_page_says_so_and_calls_again(
    open_page: OpenPage, livekit: LiveKitServer, tmp_path: Path
) -> None:
    with page_server(livekit, tmp_path, "tardy") as url:
        page = open_page(url)
        button(page, "Start conversation").click()
        card = page.get_by_role("alert")
        expect(card).to_contain_text("Mien has not come yet", timeout=PATIENCE_MS)
        expect(card).to_contain_text("Trying again in")
        with working(livekit, tmp_path, "tardy"):
            expect(state(page, "Listening")).to_be_visible(timeout=2 * PATIENCE_MS)


@pytest.mark.slow
def test_when_the_worker_is_killed_the_page_says_so_and_meets_the_next(
    open_page: OpenPage, livekit: LiveKitServer, tmp_path: Path
) -> None:
    with page_server(livekit, tmp_path, "mortal") as url:
        page = open_page(url)
        with working(livekit, tmp_path, "mortal") as worker:
            begin(page)
            worker.process.kill()
            notices = page.get_by_role("log", name="Notices")
            expect(notices).to_contain_text("The avatar has gone away.", timeout=PATIENCE_MS)
            expect(state(page, "Reconnecting…")).to_be_visible()
        card = page.get_by_role("alert")
        expect(card).to_contain_text("Mien has left", timeout=PATIENCE_MS)
        with working(livekit, tmp_path, "mortal"):
            expect(state(page, "Listening")).to_be_visible(timeout=2 * PATIENCE_MS)
            seen = stats(page)["video"]["frames_decoded"]
            wait_until(page, lambda: stats(page)["video"]["frames_decoded"] > seen, "pictures again", PATIENCE_S)


def test_when_livekit_restarts_the_conversation_goes_on(open_page: OpenPage, tmp_path: Path) -> None:
    with (
        livekit_server(tmp_path) as server,
        working(server, tmp_path, "mien") as worker,
        page_server(server, tmp_path, "mien") as url,
    ):
        page = open_page(url, expected=DIES)
        begin(page)
        session = page.evaluate("mien.client.hello.session")
        server.process.kill()
        server.process.wait()
        expect(state(page, "Reconnecting…")).to_be_visible(timeout=PATIENCE_MS)
        port, udp_port = server.ports
        with livekit_server(tmp_path, port=port, udp_port=udp_port):
            expect(state(page, "Listening")).to_be_visible(timeout=2 * PATIENCE_MS)
            # At once: livekit-client does not send it yet, and does not say so.
            say(page, "What is two plus two?")
            expect(caption(page)).to_contain_text("4", timeout=PATIENCE_MS)
            asked = page.get_by_role("log", name="Captions").get_by_text("You: What is two plus two?", exact=True)
            expect(asked).to_have_count(1)
            assert page.evaluate("mien.client.hello.session") == session, "the same conversation"
            assert worker.conversations() == 1
