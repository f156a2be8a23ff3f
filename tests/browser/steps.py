"""What a person does on the page, by the names that a screen reader reads."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, cast

from playwright.sync_api import Locator, Page, expect


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def state(page: Page, word: str) -> Locator:
    """The pill on the picture, when it says this word."""
    return page.locator(".state").filter(has_text=re.compile(f"^{re.escape(word)}$"))


def caption(page: Page) -> Locator:
    return page.locator(".caption[data-on]")


def start(page: Page) -> None:
    """Begin, and wait for the end of the greeting."""
    button(page, "Start conversation").click()
    expect(state(page, "Listening")).to_be_visible()


def say(page: Page, text: str) -> None:
    page.get_by_role("textbox", name="Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def stats(page: Page) -> dict[str, Any]:
    return cast(dict[str, Any], page.evaluate("mien.getStats().then(({ raw, ...rest }) => rest)"))


def wait_until(page: Page, condition: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    """Let the page live on until the condition holds."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        page.wait_for_timeout(50)
