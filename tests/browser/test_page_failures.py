"""What the page says and does when something fails: each failure has its own words and its own next step."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.fakeserver import FakeServer
from tests.browser.steps import button, caption, say, start, state, stats, wait_until

pytestmark = pytest.mark.browser

REFUSED = ("503 (Service Unavailable)",)
GONE = ("ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET")


def test_refused_microphone_goes_on_by_typing_and_can_be_tried_again(open_page: OpenPage, server: FakeServer) -> None:
    server.word_s = 0.1
    page = open_page(microphone=False)
    button(page, "Start conversation").click()
    expect(page.get_by_text("The microphone was refused.")).to_be_visible()
    expect(page.get_by_text("You can type, and Mien answers aloud.")).to_be_visible()
    expect(button(page, "Mute microphone")).to_be_disabled()
    expect(state(page, "Ready")).to_be_visible()
    say(page, "Can you hear me?")
    expect(caption(page)).to_have_text("You wrote: Can you hear me?")
    wait_until(page, lambda: stats(page)["audio"]["energy"] > 0.001, "the answer's sound")

    page.context.grant_permissions(["microphone"])
    button(page, "Try again").click()
    expect(page.get_by_text("The microphone was refused.")).to_have_count(0)
    expect(button(page, "Mute microphone")).to_be_enabled()
    wait_until(page, lambda: (stats(page)["microphone"] or {}).get("level", 0) > 0, "the microphone's sound")
    assert len(server.offers_seen) == 1, "no new connection is needed"


def test_start_without_a_microphone_asks_for_none(open_page: OpenPage, server: FakeServer) -> None:
    page = open_page()
    button(page, "Start without a microphone").click()
    expect(state(page, "Ready")).to_be_visible()
    expect(page.get_by_text("The microphone is off.")).to_be_visible()
    button(page, "Turn on microphone").click()
    expect(button(page, "Mute microphone")).to_be_enabled()
    expect(state(page, "Listening")).to_be_visible()


def test_full_server_is_tried_again_when_it_said(open_page: OpenPage, server: FakeServer) -> None:
    server.full_for, server.retry_after_s = 2, 1
    page = open_page(expected=REFUSED)
    button(page, "Start conversation").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Mien is busy")
    expect(alert).to_contain_text("All 4 places are taken right now.")
    expect(alert).to_contain_text("Trying again in 2 s")
    before = time.monotonic()
    expect(state(page, "Listening")).to_be_visible()
    assert len(server.offers_seen) == 3
    assert time.monotonic() - before > 1, "Retry-After is the least to wait"


def test_waiting_can_be_cancelled(open_page: OpenPage, server: FakeServer) -> None:
    server.full_for, server.retry_after_s = 9, 60
    page = open_page(expected=REFUSED)
    button(page, "Start conversation").click()
    expect(page.get_by_role("alert")).to_contain_text("Mien is busy")
    button(page, "Cancel").click()
    expect(button(page, "Start conversation")).to_be_visible()
    assert page.evaluate("mien.client.microphone.status") == "off"
    server.full_for = 0
    start(page)


def test_no_route_is_said_within_ten_seconds_with_what_was_tried(open_page: OpenPage, server: FakeServer) -> None:
    server.unreachable = True
    page = open_page()
    wait_until(page, lambda: bool(page.evaluate("'mien' in window")), "a page that is ready")
    page.evaluate(
        """() => {
          window.phases = {};
          mien.client.on('connection', ({ phase }) => (phases[phase] = performance.now()));
        }"""
    )
    button(page, "Start conversation").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("No route to the server")
    assert page.evaluate("phases.failed - phases.connecting") < 10_000
    expect(alert).to_contain_text("The server offered: host")
    expect(alert).to_contain_text("relay: no TURN relays")
    expect(alert).to_contain_text("srflx: no public addresses")
    expect(alert).to_contain_text("MIEN_ICE_SERVERS")
    tried = page.evaluate("mien.client.connection.tried")
    assert tried["host"] > 0
    server.unreachable = False
    button(page, "Try again").click()
    expect(state(page, "Listening")).to_be_visible()


def test_closed_connection_is_taken_up_again_with_the_conversation(open_page: OpenPage, server: FakeServer) -> None:
    page = open_page()
    start(page)
    button(page, "Transcript").click()
    page.evaluate(
        """() => {
          window.phases = [];
          mien.client.on('connection', ({ phase }) => phases.push([phase, performance.now()]));
        }"""
    )
    server.drop_peers()
    wait_until(page, lambda: [phase for phase, _ in page.evaluate("phases")][-1:] == ["connected"], "a new connection")
    phases = page.evaluate("phases")
    assert phases[0][0] == "reconnecting"
    assert phases[-1][1] - phases[0][1] < 5000
    assert server.offers_seen[1]["session"] in server.talks
    expect(page.get_by_role("log", name="Transcript")).to_contain_text(server.greeting)
    say(page, "Still there?")
    expect(caption(page)).to_have_text("You wrote: Still there?")
    wait_until(page, lambda: stats(page)["video"]["frames_decoded"] > 5, "pictures on the new connection")
    assert len(server.talks) == 1


def test_silent_loss_is_noticed_and_healed(open_page: OpenPage, server: FakeServer) -> None:
    page = open_page()
    start(page)
    before = time.monotonic()
    server.freeze(5)
    expect(state(page, "Reconnecting…")).to_be_visible()
    assert time.monotonic() - before < 5
    expect(page.get_by_role("log", name="Notices")).to_contain_text("Reconnecting… The conversation is kept.")
    expect(state(page, "Listening")).to_be_visible()
    assert len(server.talks) == 1


def test_late_channel_with_flowing_media_is_no_loss(open_page: OpenPage, server: FakeServer) -> None:
    page = open_page()
    start(page)
    server.deaf = True
    page.wait_for_timeout(4200)
    assert page.evaluate("mien.client.connection.phase") == "connected"
    assert len(server.offers_seen) == 1


def test_server_gone_and_back(open_page: OpenPage, server: FakeServer) -> None:
    page = open_page(expected=GONE)
    start(page)
    server.stop()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The server does not answer")
    expect(alert).to_contain_text("Trying again")
    server.start()
    expect(state(page, "Listening")).to_be_visible()
    assert server.offers_seen[-1]["session"] in server.talks


def test_conversation_that_is_gone_is_said_and_a_new_one_starts(open_page: OpenPage, server: FakeServer) -> None:
    page = open_page(expected=("410 (Gone)",))
    start(page)
    server.forget_sessions = True
    server.drop_peers()
    notices = page.get_by_role("log", name="Notices")
    expect(notices).to_contain_text("The earlier conversation could not be kept")
    wait_until(page, lambda: "session" not in server.offers_seen[-1], "an offer for a new conversation")
    expect(state(page, "Listening")).to_be_visible()


def test_bye_ends_for_good_and_says_why(open_page: OpenPage, server: FakeServer) -> None:
    page = open_page()
    titles = {
        "shutdown": "The server was shut down",
        "replaced": "Continued elsewhere",
        "error": "The conversation broke off",
        "left": "Mien has left",
    }
    for count, (reason, title) in enumerate(titles.items(), start=1):
        start(page)
        server.tell("bye", reason=reason, text="Until next time.")
        server.drop_peers()
        expect(page.get_by_role("alert")).to_contain_text(title)
        page.wait_for_timeout(300)
        assert len(server.offers_seen) == count, "it must not reconnect"


def test_token_is_taken_from_the_address_or_asked_for(open_page: OpenPage, server: FakeServer) -> None:
    server.token = "opensesame"
    page = open_page(path="/#token=opensesame")
    start(page)
    assert "opensesame" not in page.url
    asked = open_page(expected=("401 (Unauthorized)",))
    expect(asked.get_by_role("alert")).to_contain_text("This server asks for a token")
    asked.get_by_label("Access token").fill("wrong")
    button(asked, "Continue").click()
    expect(asked.get_by_role("alert")).to_contain_text("This server asks for a token")
    asked.get_by_label("Access token").fill("opensesame")
    button(asked, "Continue").click()
    start(asked)


def test_every_microphone_state_has_words_of_its_own(open_page: OpenPage) -> None:
    page = open_page()
    words = page.evaluate(
        """async () => {
          const { microphoneWords } = await import('/static/ui/words.js');
          const all = ['refused', 'absent', 'busy', 'insecure', 'off', 'asking', 'on'];
          return all.map((status) => microphoneWords(status, 'Mien'));
        }"""
    )
    assert words[5:] == ["", ""]
    assert len(set(words[:5])) == 5
    assert all("You can type" in each for each in words[:5])
