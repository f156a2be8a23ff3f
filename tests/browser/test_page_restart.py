"""An ICE restart, answered by a second Chromium page: aiortc cannot answer one, other servers can."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.fakeserver import FakeServer
from tests.browser.steps import button, state, wait_until

pytestmark = pytest.mark.browser

ANSWERER_JS = """
() => {
  const canvas = document.createElement('canvas');
  const [picture] = canvas.captureStream(5).getVideoTracks();
  const audio = new AudioContext().createMediaStreamDestination();
  const [sound] = audio.stream.getAudioTracks();
  let pc = null;
  let channel = null;
  let deaf = false;
  const send = (message) => channel.send(JSON.stringify(message));
  window.answer = async (sdp) => {
    const fresh = pc === null;
    pc ??= new RTCPeerConnection();
    if (fresh) {
      pc.addEventListener('datachannel', (event) => {
        channel = event.channel;
        channel.addEventListener('message', ({ data }) => {
          const message = JSON.parse(data);
          if (message.type === 'ping' && !deaf) send({ type: 'pong', t: message.t });
        });
        const greet = () => {
          send({ type: 'hello', session: 's', version: '0', persona: { name: 'Mien' }, parts: [], voices: [],
                 voice: '', offers: [], history: [] });
          send({ type: 'state', state: 'thinking' });
        };
        if (channel.readyState === 'open') greet();
        else channel.addEventListener('open', greet);
      });
    }
    await pc.setRemoteDescription({ type: 'offer', sdp });
    if (fresh) {
      pc.addTrack(sound);
      pc.addTrack(picture);
    }
    await pc.setLocalDescription(await pc.createAnswer());
    while (pc.iceGatheringState !== 'complete') await new Promise((resolve) => setTimeout(resolve, 20));
    deaf = false;
    return pc.localDescription.sdp;
  };
  window.silence = async () => {
    deaf = true;
    for (const transceiver of pc.getTransceivers()) await transceiver.sender.replaceTrack(null);
  };
}
"""


def test_ice_restart_keeps_the_connection(chromium: Browser, server: FakeServer) -> None:
    context = chromium.new_context(permissions=["microphone"])
    try:
        answerer: Page = context.new_page()
        answerer.goto(server.url)
        answerer.evaluate(ANSWERER_JS)
        offers: list[dict[str, Any]] = []

        def answer(route: Route) -> None:
            offers.append(dict(route.request.post_data_json or {}))
            sdp = answerer.evaluate("(sdp) => answer(sdp)", offers[-1]["sdp"])
            resumed = "session" in offers[-1]
            route.fulfill(json={"sdp": sdp, "type": "answer", "session": "s", "secret": "x", "resumed": resumed})

        def config(route: Route) -> None:
            route.fulfill(json=route.fetch().json() | {"ice_restart": True})

        page = context.new_page()
        page.route("**/api/config", config)
        page.route("**/api/offer", answer)
        page.goto(server.url)
        button(page, "Start without a microphone").click()
        expect(state(page, "Thinking")).to_be_visible()
        channel = "mien.client.getStats().then(({ raw }) => raw.find((e) => e.type === 'data-channel').id)"
        before = page.evaluate(channel)
        answerer.evaluate("() => silence()")
        wait_until(page, lambda: len(offers) == 2, "the offer of an ICE restart")
        expect(state(page, "Thinking")).to_be_visible()
        assert offers[1]["ice_restart"] is True
        first, second = (offer["sdp"].split("a=ice-ufrag:", 1)[1].split()[0] for offer in offers)
        assert first != second, "a restart has new credentials"
        assert page.evaluate(channel) == before, "the same channel, and so the same connection"
        page.wait_for_timeout(1500)
        assert len(offers) == 2
    finally:
        context.close()
