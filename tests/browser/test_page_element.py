"""<mien-avatar> on a page that is not ours, and the modules by themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import OpenPage
from tests.browser.fakeserver import FakeServer
from tests.browser.steps import start, state, wait_until

pytestmark = pytest.mark.browser

WEB = Path(__file__).resolve().parents[2] / "web"


@pytest.fixture
def foreign_page() -> Iterator[Callable[[str], str]]:
    """Serves one HTML text from an origin of its own, and gives its address."""
    content: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(content[0])

        def log_message(self, format: str, *args: object) -> None:
            """The test's output is no access log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.05,))
        thread.start()

        def serve(html: str) -> str:
            content[:] = [html.encode()]
            return f"http://127.0.0.1:{http.server_port}/"

        yield serve
        http.shutdown()
        thread.join()


def test_element_works_on_a_foreign_page(
    chromium: Browser, server: FakeServer, foreign_page: Callable[[str], str]
) -> None:
    url = foreign_page(
        f"""<!doctype html><html lang="en"><title>A shop</title><link rel="icon" href="data:,"><h1>Ask us</h1>
        <style>* {{ color: red; font-size: 40px }} mien-avatar {{ width: 420px; height: 560px }}</style>
        <script type="module" src="{server.url}/static/element.js"></script>
        <mien-avatar src="{server.url}" controls></mien-avatar></html>"""
    )
    server.allow_origin = url.rstrip("/")
    context = chromium.new_context(permissions=["microphone"])
    try:
        page = context.new_page()
        page.goto(url)
        expect(page.get_by_role("img", name="Portrait of Mien, an AI avatar")).to_be_visible()
        start(page)
        box = page.locator("mien-avatar").bounding_box()
        assert box is not None
        assert (box["width"], box["height"]) == (420, 560)
        assert page.locator("mien-avatar .state").evaluate("(pill) => getComputedStyle(pill).fontSize") == "13px"
        page.evaluate("document.querySelector('mien-avatar').remove()")
        wait_until(page, lambda: server.heard("leave") == [{"type": "leave"}], "the word of leaving")
    finally:
        context.close()


def test_autostart_begins_without_a_click(open_page: OpenPage) -> None:
    page = open_page()
    page.evaluate(
        """() => {
          const avatar = document.createElement('mien-avatar');
          avatar.toggleAttribute('autostart', true);
          document.querySelector('mien-avatar').replaceWith(avatar);
        }"""
    )
    expect(state(page, "Listening")).to_be_visible()
    expect(page.get_by_role("textbox")).to_have_count(0)


def test_every_module_loads_by_itself(open_page: OpenPage) -> None:
    page = open_page()
    # The script of the page that watches a stream is that page's alone.
    files = [file for file in WEB.rglob("*.js") if file.parent.name != "watch"]
    modules = [f"/static/{file.relative_to(WEB).as_posix()}" for file in files]
    assert len(modules) > 15
    loaded: list[Any] = page.evaluate("(modules) => Promise.all(modules.map((m) => import(m).then(() => m)))", modules)
    assert loaded == modules


def test_long_captions_show_their_end(open_page: OpenPage) -> None:
    page = open_page()

    def tail(text: str) -> str:
        return str(page.evaluate("(text) => import('/static/ui/words.js').then(({ tail }) => tail(text, 120))", text))

    assert tail("Short.") == "Short."
    last = "word " * 20 + "end."
    assert tail("One sentence that is here. " + last) == last
    cut = tail("x" * 50 + " " + "word " * 40)
    assert cut.startswith("…word")
    assert len(cut) <= 121
