"""What goes wrong behind the page in LiveKit mode, and what the page says and does: nobody comes, the worker
dies."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.steps import button, state, stats, wait_until
from tests.livekit.page import page_server
from tests.livekit.server import LiveKitServer
from tests.livekit.test_page import PATIENCE_MS, PATIENCE_S, OpenPage, begin, chromium, open_page
from tests.livekit.worker import working

__all__ = ["chromium", "open_page"]

pytestmark = [pytest.mark.livekit, pytest.mark.timeout(300)]


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
