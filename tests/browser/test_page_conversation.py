"""The page holds a conversation: sound and picture, captions, messages, mute, interruption, voices, offers, leaving."""

from __future__ import annotations

import itertools

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.fakeserver import FakeServer
from tests.browser.steps import button, caption, say, start, state, stats, wait_until

pytestmark = pytest.mark.browser


def test_start_plays_picture_and_sound_through_one_element(open_page: OpenPage, server: FakeServer) -> None:
    server.word_s = 0.1
    page = open_page()
    start(page)
    wait_until(page, lambda: stats(page)["video"]["frames_decoded"] > 20, "20 pictures")
    measured = stats(page)
    assert measured["video"]["codec"] == "video/VP8"
    assert measured["audio"]["codec"] == "audio/opus"
    assert measured["audio"]["energy"] > 0.001, "the tone of the greeting was not heard"
    assert page.evaluate(
        """() => {
          const video = document.querySelector('mien-avatar').shadowRoot.querySelector('video');
          const kinds = video.srcObject.getTracks().map((track) => track.kind).sort();
          const { paused, muted, videoWidth, currentTime } = video;
          return { kinds, paused, muted, width: videoWidth, playing: currentTime > 0 };
        }"""
    ) == {"kinds": ["audio", "video"], "paused": False, "muted": False, "width": 256, "playing": True}
    [talk] = server.talks.values()
    wait_until(page, lambda: talk.microphone_packets > 25, "half a second of microphone")
    assert page.evaluate("mien.client.microphone").get("echoCancelled") is True


SOUND = """() => {
  const video = document.querySelector('mien-avatar').shadowRoot.querySelector('video');
  const [track] = video.srcObject.getAudioTracks();
  const receiver = connections.flatMap((pc) => pc.getReceivers()).find((receiver) => receiver.track === track);
  return { heard: track.enabled, rtp: receiver.getSynchronizationSources()[0].rtpTimestamp };
}"""


def test_cut_speech_is_silent_until_its_time_has_passed(open_page: OpenPage, server: FakeServer) -> None:
    page = open_page()
    page.evaluate(
        """() => {
          window.connections = [];
          const Original = RTCPeerConnection;
          window.RTCPeerConnection = class extends Original {
            constructor(...given) { super(...given); connections.push(this); }
          };
        }"""
    )
    start(page)
    wait_until(page, lambda: stats(page)["audio"]["packets"] > 30, "some sound")
    before = page.evaluate(SOUND)
    assert before["heard"]
    until = (before["rtp"] + 48_000) % 2**32
    server.tell("hush", until_rtp=until)
    wait_until(page, lambda: not page.evaluate(SOUND)["heard"], "silence", 1)
    wait_until(page, lambda: bool(page.evaluate(SOUND)["heard"]), "sound again", 5)
    assert 0 <= (page.evaluate(SOUND)["rtp"] - until) % 2**32 < 24_000
    # Long past: nothing of it is left to be silenced.
    server.tell("hush", until_rtp=until)
    page.wait_for_timeout(100)
    assert page.evaluate(SOUND)["heard"]


def test_the_depth_of_the_sound_buffer_is_told(open_page: OpenPage, server: FakeServer) -> None:
    page = open_page()
    start(page)
    wait_until(page, lambda: bool(server.heard("buffer")), "the page tells")
    [told, *_] = server.heard("buffer")
    assert 5 < told["sound_ms"] < 600


def test_the_four_states_are_told_apart_by_shape(open_page: OpenPage, server: FakeServer) -> None:
    server.thinking_s, server.word_s = 0.8, 0.25
    page = open_page(reduced_motion="reduce")
    start(page)
    looks = []
    for word in ("Listening", "Thinking", "Speaking"):
        if word == "Thinking":
            say(page, "a b c d e f")
        expect(state(page, word)).to_be_visible()
        looks.append(
            page.evaluate(
                """() => {
                  const root = document.querySelector('mien-avatar').shadowRoot;
                  const style = (node) => {
                    const { display, width, height, borderStyle, borderWidth, opacity } = getComputedStyle(node);
                    return [display, width, height, borderStyle, borderWidth, opacity].join();
                  };
                  return {
                    glyph: [...root.querySelectorAll('.glyph i')].map(style).join('|'),
                    halo: [...root.querySelectorAll('.halo i')].map(style).join('|'),
                  };
                }"""
            )
        )
    server.tell("state", state="idle")
    expect(state(page, "Ready")).to_be_visible()
    assert len({look["glyph"] for look in looks}) == 3
    assert len({look["halo"] for look in looks}) == 3


def test_captions_grow_and_own_message_shows_at_once(open_page: OpenPage, server: FakeServer) -> None:
    server.thinking_s, server.word_s = 0.6, 0.15
    page = open_page()
    start(page)
    say(page, "How are you?")
    expect(caption(page)).to_have_text("How are you?")
    expect(page.get_by_role("textbox", name="Message")).to_have_value("")
    seen: list[str] = []

    def grown() -> bool:
        text = caption(page).inner_text() if caption(page).count() else ""
        if text.startswith("You wrote:") and (not seen or seen[-1] != text):
            seen.append(text)
        return text == "You wrote: How are you?"

    wait_until(page, grown, "the whole answer")
    assert len(seen) >= 3
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(seen))
    announced = page.get_by_role("log", name="Captions")
    expect(announced).to_contain_text("You: How are you?")
    expect(announced).to_contain_text("Avatar: You wrote: How are you?")
    [chat] = server.heard("chat")
    assert chat["text"] == "How are you?"
    assert chat["id"]


def test_interrupt_cuts_the_caption_with_a_dash(open_page: OpenPage, server: FakeServer) -> None:
    server.word_s = 0.3
    page = open_page()
    button(page, "Start conversation").click()
    expect(state(page, "Speaking")).to_be_visible()
    button(page, "Interrupt").click()
    expect(state(page, "Listening")).to_be_visible()
    expect(caption(page)).to_contain_text("—")
    assert len(server.heard("interrupt")) == 1
    assert "Mien" not in caption(page).inner_text()


def test_mute_silences_the_microphone_and_says_so(open_page: OpenPage, server: FakeServer) -> None:
    page = open_page()
    start(page)
    mute = button(page, "Mute microphone")
    mute.click()
    expect(mute).to_have_attribute("aria-pressed", "true")
    expect(state(page, "Muted")).to_be_visible()
    wait_until(page, lambda: server.heard("mute") == [{"type": "mute", "muted": True}], "the mute message")
    wait_until(page, lambda: stats(page)["microphone"]["level"] == 0, "a silent microphone")
    mute.click()
    expect(mute).to_have_attribute("aria-pressed", "false")
    wait_until(page, lambda: stats(page)["microphone"]["level"] > 0, "the microphone again")
    assert server.heard("mute")[-1] == {"type": "mute", "muted": False}


def test_choosing_voice_and_microphone(open_page: OpenPage, server: FakeServer) -> None:
    page = open_page()
    start(page)
    button(page, "Choose voice").click()
    online = page.get_by_role("group", name="edge-tts")
    expect(online).to_contain_text("Online: what is said is sent as text to edge-tts.")
    expect(page.get_by_role("group", name="espeak-ng")).to_contain_text("On this server.")
    expect(page.get_by_role("menuitemradio", name="Female 3")).to_be_checked()
    assert server.heard("voice") == []
    online.get_by_role("menuitemradio", name="Ava").click()
    wait_until(page, lambda: server.heard("voice") == [{"type": "voice", "voice": "edge:ava"}], "the voice message")
    button(page, "Choose voice").click()
    expect(page.get_by_role("menuitemradio", name="Ava")).to_be_checked()
    page.keyboard.press("Escape")
    expect(page.get_by_role("menu")).to_have_count(0)

    button(page, "Choose microphone").click()
    other = page.get_by_role("menuitemradio", name="Fake Audio Input 2")
    other.click()
    chosen = "mien.client.microphone.devices.find((d) => d.deviceId === mien.client.microphone.deviceId)?.label"
    wait_until(page, lambda: page.evaluate(chosen) == "Fake Audio Input 2", "the other microphone")
    sent = stats(page)["microphone"]["packets"]
    wait_until(page, lambda: stats(page)["microphone"]["packets"] > sent + 20, "its sound on the same connection")
    assert len(server.offers_seen) == 1


def test_offer_needs_a_yes_and_shows_progress(open_page: OpenPage, server: FakeServer) -> None:
    server.offers = [{"id": "whisper", "text": "A better recognizer can run here.", "size_mb": 145}]
    page = open_page()
    start(page)
    offer = page.get_by_role("group", name="Offer")
    expect(offer).to_contain_text("145 MB")
    assert server.heard("consent") == []
    button(page, "Yes, go ahead").click()
    expect(page.get_by_role("progressbar", name="Download")).to_be_visible()
    expect(offer).to_have_count(0)
    assert server.heard("consent") == [{"type": "consent", "offer": "whisper", "granted": True}]
    button(page, "Details").click()
    expect(page.get_by_text("faster-whisper base")).to_be_visible()


def test_notices_parts_latency_and_half_duplex(open_page: OpenPage, server: FakeServer) -> None:
    page = open_page()
    start(page)
    server.tell(
        "notice", level="error", code="tts_failed", text="edge-tts does not answer; the voice is espeak-ng now."
    )
    notice = page.get_by_role("log", name="Notices")
    expect(notice).to_contain_text("edge-tts does not answer")
    button(page, "Dismiss").click()
    expect(notice).not_to_contain_text("edge-tts")
    button(page, "Details").click()
    expect(page.get_by_text("no GPU was found")).to_be_visible()
    expect(page.get_by_role("row", name="First picture 61 ms")).to_be_visible()
    expect(page.get_by_role("row", name="Together 567 ms")).to_be_visible()
    switch = page.get_by_role("switch", name="Half-duplex")
    expect(switch).not_to_be_checked()
    switch.click()
    expect(switch).to_be_checked()
    wait_until(page, lambda: server.heard("half_duplex") == [{"type": "half_duplex", "on": True}], "the switch")


def test_transcript_keeps_what_was_said(open_page: OpenPage, server: FakeServer) -> None:
    page = open_page()
    start(page)
    say(page, "<b>bold</b> & more")
    button(page, "Transcript").click()
    log = page.get_by_role("complementary").get_by_role("log", name="Transcript")
    expect(log.locator(".said")).to_have_text([server.greeting, "<b>bold</b> & more", "You wrote: <b>bold</b> & more"])


def test_leave_and_start_again(open_page: OpenPage, server: FakeServer) -> None:
    page = open_page()
    start(page)
    button(page, "Leave").click()
    expect(button(page, "Start conversation")).to_be_visible()
    wait_until(page, lambda: server.heard("leave") == [{"type": "leave"}], "the word of leaving")
    assert page.evaluate("mien.client.microphone.status") == "off", "the microphone must be given back"
    start(page)
    wait_until(page, lambda: stats(page)["video"]["frames_decoded"] > 5, "pictures again")
    assert len(server.offers_seen) == 2
    assert "session" not in server.offers_seen[1], "leaving ends the conversation"


def test_reload_goes_on_where_it_was(open_page: OpenPage, server: FakeServer) -> None:
    page = open_page()
    start(page)
    page.reload()
    start(page)
    assert server.offers_seen[1]["session"] in server.talks
    button(page, "Transcript").click()
    expect(page.get_by_role("log", name="Transcript")).to_contain_text(server.greeting)


def test_two_pages_are_two_conversations(open_page: OpenPage, server: FakeServer) -> None:
    first, second = open_page(), open_page()
    start(first)
    start(second)
    say(first, "only here")
    expect(caption(first)).to_have_text("You wrote: only here")
    assert "only here" not in second.locator("mien-avatar").inner_text()
    assert len(server.talks) == 2
