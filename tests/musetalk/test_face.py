"""A portrait that MuseTalk speaks for, as a conversation gets it: whether it can be had, and what happens if not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.face import Face, choose_face
from agent.face_musetalk import unfit
from agent.persona import load_persona
from agent.prepare_musetalk import prepared_frames
from agent.settings import AvatarSettings
from avatar.frames import TICK_SPEECH_SAMPLES
from avatar.musetalk.admission import Vram
from avatar.musetalk.engine import Engine
from avatar.musetalk.jobs import Unavailable
from avatar.musetalk.portrait_frames import parts_of
from avatar.musetalk.renderer import MuseTalkRenderer, Person
from avatar.photo.renderer import PhotoRenderer
from avatar.renderer import Refused, Shot
from tests.doubles.engine import CoreDouble
from tests.doubles.portraits import known_face, saved

pytestmark = pytest.mark.media


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared with latents of the published model's shape; the core's double does not look at them."""
    image, mesh, _ = known_face(512)
    frames = prepared_frames([(image, mesh)] * 3, (0, 0, 512), 256, None, lambda done: None)
    latents = np.zeros((3, 8, 32, 32), np.float32)
    folder: Path = tmp_path_factory.mktemp("portraits") / "somebody"
    saved(folder, more=parts_of(replace(frames, latents=latents, model="musetalk-v1.5")))
    return folder


class Engines:
    """In place of the process's engine: one over the core's double, or none."""

    def __init__(self, core: CoreDouble | None) -> None:
        self.made: list[Engine] = []
        self._core = core

    def __call__(self, weights: Path, person: Person) -> Engine:
        core = self._core
        if core is None:
            raise Unavailable("MuseTalk did not start: the card is gone")
        if not self.made:
            self.made.append(Engine(lambda: core, person.identity))
            self.made[0].start()
            self.made[0].wait_ready(20)
        return self.made[0]

    def close(self) -> None:
        for engine in self.made:
            engine.close()


def face(portrait: Path, engines: Engines) -> Face:
    return Face("musetalk", "asked for", AvatarSettings(size_px=256), load_persona("mien"), portrait, engines)


@pytest.mark.parametrize("backend", ["auto", "musetalk"])
def test_a_prepared_portrait_is_moved_by_musetalk_where_card_and_weights_are_there(
    portrait: Path, backend: str, tmp_path: Path
) -> None:
    settings = AvatarSettings.model_validate({"backend": backend, "portrait": portrait, "weights": tmp_path})
    asked: list[Path] = []
    chosen = choose_face(settings, load_persona("mien"), unavailable=asked.append)  # type: ignore[func-returns-value]
    assert chosen.backend == "musetalk"
    assert asked == [tmp_path]
    without = choose_face(settings, load_persona("mien"), unavailable=lambda weights: "there is no CUDA card")
    assert without.backend == "portrait"
    assert without.why.endswith(": there is no CUDA card")
    assert "\n" not in without.why


def test_auto_says_why_it_is_not_musetalk_and_does_not_look_at_the_machine_for_nothing(tmp_path: Path) -> None:
    def never(weights: Path) -> str | None:
        raise AssertionError("torch would be imported")

    saved(tmp_path / "photo")
    settings = AvatarSettings(portrait=tmp_path / "photo")
    chosen = choose_face(settings, load_persona("mien"), unavailable=never)
    assert chosen.backend == "portrait"
    assert "not musetalk: " in chosen.why
    assert "was prepared without it: prepare it again with --for musetalk" in chosen.why
    drawn = choose_face(AvatarSettings(), load_persona("mien"), unavailable=never)
    assert (drawn.backend, drawn.why) == ("puppet", "drawn on the CPU, not musetalk: that takes a portrait")
    puppet = choose_face(AvatarSettings(backend="puppet", portrait=tmp_path / "photo"), load_persona("mien"))
    assert "musetalk" not in puppet.why


async def test_conversations_speak_on_one_engine(portrait: Path) -> None:
    core = CoreDouble()
    engines = Engines(core)
    shown = face(portrait, engines)
    try:
        await asyncio.to_thread(shown.warm)
        renderer, other = shown.make(), shown.make()
        assert isinstance(renderer, MuseTalkRenderer)
        assert isinstance(other, MuseTalkRenderer)
        assert len(engines.made) == 1
        assert (renderer.width, renderer.height) == (256, 256)
        renderer.push(0, (8000 * np.sin(np.arange(TICK_SPEECH_SAMPLES * 20) / 5)).astype(np.int16))
        renderer.end(0)
        asked = [renderer.request(Shot(tick, 0, tick)) for tick in range(10)]
        lips = await asyncio.wait_for(asyncio.gather(*asked), 10)
        idle = await other.request(Shot(0))
        assert all(picture.planes.shape == idle.planes.shape for picture in lips)
        assert any(bool((picture.planes != idle.planes).any()) for picture in lips)
        assert sum(len(batch) for batch in core.submitted) >= 8
        await renderer.aclose()
        await other.aclose()
    finally:
        engines.close()


async def test_without_its_engine_the_portrait_is_drawn_and_the_log_says_why(
    portrait: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shown = face(portrait, Engines(None))
    settled = await asyncio.to_thread(shown.warm)
    assert (settled.backend, settled.portrait) == ("portrait", portrait)
    assert settled.why == "drawn on the CPU, not musetalk: MuseTalk did not start: the card is gone"
    renderer = await asyncio.to_thread(shown.make)
    assert isinstance(renderer, PhotoRenderer)
    assert "the card is gone; the portrait is drawn instead" in caplog.text
    await renderer.aclose()


async def test_a_full_gpu_refuses_the_next_conversation(portrait: Path) -> None:
    engines = Engines(CoreDouble(memory=Vram(used=90, total=100)))
    try:
        with pytest.raises(Refused, match="90% full"):
            await asyncio.to_thread(face(portrait, engines).make)
    finally:
        engines.close()


def test_what_a_portrait_lacks_is_said(portrait: Path, tmp_path: Path) -> None:
    assert unfit(portrait) is None
    assert "--portrait FOLDER" in str(unfit(None))
    saved(tmp_path / "photo")
    assert "prepare it again with --for musetalk" in str(unfit(tmp_path / "photo"))
    image, mesh, _ = known_face(512)
    saved(tmp_path / "blank", more=parts_of(prepared_frames([(image, mesh)], (0, 0, 512), 256, None, lambda n: None)))
    assert "has no latents: prepare it again, now with the weights" in str(unfit(tmp_path / "blank"))
