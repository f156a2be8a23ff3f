"""The page for everyone: keyboard, screen reader, contrast in both schemes, small screens, reduced motion."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.fakeserver import FakeServer
from tests.browser.steps import button, caption, say, start, state, wait_until

pytestmark = pytest.mark.browser

COLOURS_JS = """
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ratio = (a, b) => {
    const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const root = getComputedStyle(document.documentElement);
  const pageColours = ['--bg', '--bg-deep', '--glow'].map((name) => rgba(root.getPropertyValue(name)));
"""

MARKS_JS = f"""
() => {{
  {COLOURS_JS}
  return ['--listening', '--thinking', '--speaking', '--alarm', '--focus'].flatMap((name) =>
    pageColours.map((colour) => ratio(rgba(root.getPropertyValue(name)), colour)));
}}
"""

CONTRAST_JS = (
    "() => {"
    + COLOURS_JS
    + """
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
  const parent = (node) => node.assignedSlot ?? node.parentElement ?? node.getRootNode().host ?? null;
  const backgrounds = (element) => {
    const layers = [];
    let bases = pageColours;
    for (let node = element; node; node = parent(node)) {
      const style = getComputedStyle(node);
      const colour = rgba(style.backgroundColor);
      if (node.matches('.frame')) { bases = [[0, 0, 0], [255, 255, 255]]; break; }  // any picture
      if (colour[3] > 0) layers.unshift(colour);
      if (colour[3] === 1) break;
    }
    return bases.map((base) => layers.reduce((below, layer) => over(layer, below), base));
  };
  const elements = [];
  const walk = (scope) => {
    for (const element of scope.querySelectorAll('*')) {
      if (element.shadowRoot) walk(element.shadowRoot);
      elements.push(element);
    }
  };
  walk(document);
  const found = [];
  for (const element of elements) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    const isIcon = element.matches('button:has(> svg)');
    const isField = element.matches('textarea, input');
    if (!(own || isIcon || isField) || element.matches('script, style, title, noscript, :disabled')) continue;
    if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (element.closest('.unseen')) continue;
    const style = getComputedStyle(element);
    const colours = [rgba(style.color)];
    if (isField) colours.push(rgba(getComputedStyle(element, '::placeholder').color));
    for (const colour of colours) {
      const worst = Math.min(...backgrounds(element).map((below) => ratio(over(colour, below), below)));
      found.push({ worst, text: (element.getAttribute('aria-label') ?? element.textContent).trim().slice(0, 40) });
    }
  }
  return found;
}
"""
)


def assert_contrast(page: Page, at_least: int) -> None:
    found: list[dict[str, Any]] = page.evaluate(CONTRAST_JS)
    assert len(found) >= at_least, f"only {len(found)} texts were measured"
    assert [(each["text"], round(each["worst"], 2)) for each in found if each["worst"] < 4.5] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_at_least_aa(open_page: OpenPage, server: FakeServer, scheme: str) -> None:
    server.offers = [{"id": "whisper", "text": "A better recognizer can run here.", "size_mb": 145}]
    server.thinking_s = 0
    page = open_page(color_scheme=scheme, reduced_motion="reduce")  # colours that do not ease in need no waiting
    expect(button(page, "Start conversation")).to_be_visible()
    assert_contrast(page, 6)
    start(page)
    say(page, "Hello")
    expect(caption(page)).to_have_text("You wrote: Hello")
    server.tell("notice", level="warning", code="x", text="Something to know.")
    button(page, "Mute microphone").click()
    button(page, "Details").click()
    assert_contrast(page, 40)
    button(page, "Transcript").click()
    button(page, "Choose voice").click()
    assert_contrast(page, 20)
    page.evaluate("() => (document.querySelector('.panel h2').style.color = '#777a')")
    assert any(each["worst"] < 4.5 for each in page.evaluate(CONTRAST_JS)), "the measure must notice faint text"
    marks: list[float] = page.evaluate(MARKS_JS)
    assert len(marks) == 15
    assert min(marks) >= 3, "a ring or an outline is hard to see on the page"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_a_failure(open_page: OpenPage, server: FakeServer, scheme: str) -> None:
    server.full_for, server.retry_after_s = 9, 60
    page = open_page(color_scheme=scheme, reduced_motion="reduce", expected=("503 (Service Unavailable)",))
    button(page, "Start conversation").click()
    expect(page.get_by_role("alert")).to_contain_text("Mien is busy")
    assert_contrast(page, 7)


def test_screen_reader_finds_landmarks_names_and_live_regions(open_page: OpenPage, server: FakeServer) -> None:
    page = open_page()
    expect(page.get_by_role("banner")).to_be_visible()
    expect(page.get_by_role("main")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Mien")
    expect(page.get_by_role("img", name="Portrait of Mien, an AI avatar")).to_be_visible()
    expect(page.get_by_text("AI avatar", exact=True)).to_be_visible()
    start(page)
    expect(page.get_by_role("status").filter(has_text="Listening")).to_be_visible()
    expect(page.get_by_role("log", name="Captions")).to_have_attribute("aria-live", "polite")
    expect(page.get_by_role("log", name="Notices")).to_have_attribute("aria-live", "polite")
    for name in ("Mute microphone", "Choose microphone", "Send", "Interrupt", "Choose voice", "Leave"):
        expect(button(page, name)).to_be_visible()
    expect(page.get_by_role("textbox", name="Message", exact=True)).to_be_visible()
    button(page, "Details").click()
    expect(page.get_by_role("complementary", name="Details")).to_be_visible()

    cdp = page.context.new_cdp_session(page)
    nodes = cdp.send("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "textbox", "switch", "region", "complementary", "group", "img", "heading")
    nameless = [
        node["role"]["value"]
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in roles and not node.get("name", {}).get("value")
    ]
    assert nameless == []


def test_everything_by_keyboard(open_page: OpenPage, server: FakeServer) -> None:
    server.word_s = 0.3
    page = open_page()
    expect(button(page, "Start conversation")).to_be_visible()

    def focused() -> str:
        return str(
            page.evaluate(
                """() => {
                  let at = document.activeElement;
                  while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
                  return at?.getAttribute('aria-label') ?? at?.textContent ?? '';
                }"""
            )
        )

    order = []
    for _ in range(4):
        page.keyboard.press("Tab")
        order.append(focused())
    assert order == ["Transcript", "Details", "Start conversation", "Start without a microphone"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(state(page, "Speaking")).to_be_visible()
    assert focused() == "Mute microphone", "the focus goes on where the conversation is"

    page.keyboard.press("Escape")
    expect(state(page, "Listening")).to_be_visible()
    assert len(server.heard("interrupt")) == 1

    page.keyboard.press("m")
    expect(button(page, "Mute microphone")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("m")
    expect(button(page, "Mute microphone")).to_have_attribute("aria-pressed", "false")

    order = []
    for _ in range(6):
        page.keyboard.press("Tab")
        order.append(focused())
    assert order == ["Choose microphone", "Message", "Send", "Interrupt", "Choose voice", "Leave"]
    outline = "getComputedStyle(document.querySelector('mien-avatar').shadowRoot.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid", "the focus is visible"

    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert focused().startswith("Female 3")
    page.keyboard.press("s")
    assert focused().startswith("Sonia")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    assert focused().startswith("Male 1")
    page.keyboard.press("Enter")
    wait_until(page, lambda: server.heard("voice") == [{"type": "voice", "voice": "espeak:m1"}], "the choice")
    assert focused() == "Choose voice"
    assert len(server.heard("interrupt")) == 1, "Escape and letters in a menu stay there"

    page.get_by_role("textbox", name="Message").focus()
    page.keyboard.type("mmm")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second line")
    page.keyboard.press("Enter")
    wait_until(page, lambda: [chat["text"] for chat in server.heard("chat")] == ["mmm\nsecond line"], "the message")
    expect(button(page, "Mute microphone")).to_have_attribute("aria-pressed", "false")

    button(page, "Details").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Interrupt the avatar")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("complementary")).to_have_count(0)
    assert focused() == "Details"


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_nothing_is_cut_off(open_page: OpenPage, server: FakeServer, width: int) -> None:
    server.offers = [{"id": "whisper", "text": "A better recognizer (faster-whisper) can run here.", "size_mb": 145}]
    page = open_page(width=width)

    def assert_fits() -> None:
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), "scrolls sideways"
        outside = page.evaluate(
            """() => {
              const shadow = document.querySelector('mien-avatar').shadowRoot;
              const seen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
              const inert = (element) => element.getRootNode().host?.closest('[inert]');
              const parts = 'button, .frame, .badge, .state, .caption p, textarea';
              return [...document.querySelectorAll('button, h1, h2'), ...shadow.querySelectorAll(parts)]
                .filter((element) => seen(element) && !inert(element))
                .filter((element) => {
                  const { left, right, width } = element.getBoundingClientRect();
                  return width > 0 && (left < 0 || right > innerWidth);
                })
                .map((element) => element.getAttribute('aria-label') ?? element.className);
            }"""
        )
        assert outside == []

    expect(button(page, "Start conversation")).to_be_visible()
    assert_fits()
    start(page)
    say(page, "Averyveryverylongwordwithoutanyspacesinitthatmustbebrokensomewheretofit " * 3)
    expect(caption(page)).to_be_visible()
    assert_fits()
    face = page.locator("mien-avatar .frame").bounding_box()
    assert face is not None
    assert face["width"] >= min(280, width - 40)
    assert face["height"] >= 280
    button(page, "Choose voice").click()
    assert_fits()
    page.keyboard.press("Escape")
    for name in ("Transcript", "Details"):
        button(page, name).click()
        assert_fits()
        button(page, "Close").click()


def test_reduced_motion_stops_all_animation(open_page: OpenPage, server: FakeServer) -> None:
    server.word_s = 1.0
    page = open_page(reduced_motion="reduce")
    button(page, "Start conversation").click()
    running = "document.getAnimations({ subtree: true }).length"
    expect(state(page, "Speaking")).to_be_visible()
    assert page.evaluate(running) == 0
