"""Videos without a conversation: the file holds the speech that went in, each picture with its own sound."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from agent.offline import LEAD_IN_TICKS, TAIL_OUT_TICKS, OfflineError, Progress, render_file, render_text
from agent.settings import load_settings
from agent.speechfile import SpeechFileError
from avatar.frames import SAMPLE_RATE_HZ, TICK_SAMPLES, TICK_SPEECH_SAMPLES, Pcm, Picture
from avatar.renderer import Shot
from rooms.mp4 import Provenance
from tests.doubles.mp4 import play
from tests.doubles.renderers import ScriptedRenderer

pytestmark = pytest.mark.media

SIDE_PX = 32
IDLE_LUMA = 40
ORIGIN = Provenance("0", "Test", "level")


def level_renderer(delay_s: float = 0.0, fails: Callable[[Shot], bool] = lambda shot: False) -> ScriptedRenderer:
    """Its pictures are as bright as the sound that they go with is loud: silence 60, a full-scale tone 220; each takes
    ``delay_s``."""
    return ScriptedRenderer(lookahead_ms=92.5, lead_ticks=3, latency=lambda shot: delay_s, fails=fails, draw=level)


def level(shot: Shot, heard: Pcm) -> Picture:
    own = heard[TICK_SPEECH_SAMPLES * shot.n :][:TICK_SPEECH_SAMPLES]
    return _plain(IDLE_LUMA if shot.segment is None else round(level_luma(own)))


def _plain(luma: int) -> Picture:
    planes = np.full((SIDE_PX * 3 // 2, SIDE_PX), 128, np.uint8)
    planes[:SIDE_PX] = luma
    return Picture(planes)


def level_luma(pcm: npt.NDArray[np.int16] | npt.NDArray[np.float32]) -> float:
    scale = 32768.0 if pcm.dtype == np.int16 else 1.0
    rms = float(np.sqrt(np.mean(np.square(pcm.astype(np.float64) / scale)))) if pcm.size else 0.0
    return 60 + 160 * min(1.0, rms * 2**0.5)


def speech(seconds: float) -> Pcm:
    """A 300 Hz tone whose loudness changes every tick, unlike its neighbours'."""
    samples = round(seconds * SAMPLE_RATE_HZ)
    ticks = np.arange(samples) // TICK_SAMPLES
    loud = 0.1 + 0.8 * ((ticks * 7) % 11) / 10
    return (32_000 * loud * np.sin(2 * np.pi * 300 * np.arange(samples) / SAMPLE_RATE_HZ)).astype(np.int16)


async def pieces(pcm: Pcm, sizes: tuple[int, ...], wait_s: float = 0.0) -> AsyncIterator[Pcm]:
    at = 0
    for size in itertools.cycle(sizes):
        if at >= pcm.size:
            return
        yield pcm[at : at + size]
        at += size
        await asyncio.sleep(wait_s)


def quiet_progress(out: Path) -> Progress:
    return Progress(out, None, io.StringIO())


@pytest.mark.parametrize("sizes", [(48_000,), (441, 7, 1920), (10_000_000,)], ids=["seconds", "crumbs", "all-at-once"])
async def test_each_picture_goes_with_its_own_sound(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    out, said = tmp_path / "level.mp4", speech(4.01)
    await render_file(level_renderer(), pieces(said, sizes), out, ORIGIN, quiet_progress(out))
    played = play(out)
    speech_ticks = -(-said.size // TICK_SAMPLES)
    assert len(played.luma) == LEAD_IN_TICKS + speech_ticks + TAIL_OUT_TICKS
    start = LEAD_IN_TICKS * TICK_SAMPLES
    heard = played.sound[start : start + said.size]
    assert float(np.abs(heard - said / 32768).max()) < 0.06
    own = np.array([level_luma(heard[n * TICK_SAMPLES : (n + 1) * TICK_SAMPLES]) for n in range(speech_ticks - 1)])
    seen = played.luma[LEAD_IN_TICKS : LEAD_IN_TICKS + speech_ticks - 1]
    assert np.abs(seen - own).max() < 6
    # The control: were it one picture off, it would show.
    assert np.abs(seen[1:] - own[:-1]).max() > 50
    assert played.luma[:LEAD_IN_TICKS] == pytest.approx(IDLE_LUMA, abs=3)
    assert played.luma[-TAIL_OUT_TICKS + 1 :] == pytest.approx(IDLE_LUMA, abs=3)


async def test_speech_that_comes_slowly_leaves_no_gap(tmp_path: Path) -> None:
    out, said = tmp_path / "slow.mp4", speech(3.0)
    slowly = pieces(said, (4800,), wait_s=0.02)
    await render_file(level_renderer(delay_s=0.002), slowly, out, ORIGIN, quiet_progress(out))
    played = play(out)
    start = LEAD_IN_TICKS * TICK_SAMPLES
    assert float(np.abs(played.sound[start : start + said.size] - said / 32768).max()) < 0.06


async def test_two_runs_give_the_same_pictures(tmp_path: Path) -> None:
    lumas = []
    for name, delay_s in (("a.mp4", 0.0), ("b.mp4", 0.005)):
        out = tmp_path / name
        await render_file(level_renderer(delay_s=delay_s), pieces(speech(1), (999,)), out, ORIGIN, quiet_progress(out))
        lumas.append(play(out).luma)
    assert np.array_equal(lumas[0], lumas[1])


async def test_without_sound_there_is_no_video(tmp_path: Path) -> None:
    out = tmp_path / "none.mp4"
    with pytest.raises(OfflineError, match="the sound is empty"):
        await render_file(level_renderer(), pieces(speech(0), (1,)), out, ORIGIN, quiet_progress(out))
    assert names_in(tmp_path) == []


async def test_a_fault_in_the_speech_leaves_nothing_behind(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[Pcm]:
        yield speech(3)
        raise SpeechFileError("cannot read it as sound: it ends in mid-word")

    out = tmp_path / "broken.mp4"
    with pytest.raises(SpeechFileError, match="mid-word"):
        await render_file(level_renderer(), broken(), out, ORIGIN, quiet_progress(out))
    assert names_in(tmp_path) == []


async def test_a_renderer_that_fails_costs_pictures_and_not_the_voice(tmp_path: Path) -> None:
    renderer = level_renderer(fails=lambda shot: shot.segment is not None and shot.n % 2 == 1)
    out, said = tmp_path / "failing.mp4", speech(1)
    await render_file(renderer, pieces(said, (4800,)), out, ORIGIN, quiet_progress(out))
    played = play(out)
    start = LEAD_IN_TICKS * TICK_SAMPLES
    assert float(np.abs(played.sound[start : start + said.size] - said / 32768).max()) < 0.06


async def test_a_text_is_spoken_by_the_real_voice_and_the_real_face(tmp_path: Path) -> None:
    """`mien say`: espeak-ng and the puppet. The mouth is open when there is sound, and at no other time."""
    out = tmp_path / "said.mp4"
    settings = load_settings({"MIEN_SIZE_PX": "256"})
    text = "My mouth moves. Many people mumble, but I am clear! Oh, how are you?"
    await render_text(text, out, settings, version="1.2.3")
    played, pictures = play(out), decoded_luma(out)
    loud = np.array([loudness(played.sound[k * TICK_SAMPLES : (k + 1) * TICK_SAMPLES]) for k in range(len(pictures))])
    assert len(pictures) > 75
    assert loud[:LEAD_IN_TICKS].max() < 0.01
    # An open mouth is dark. Where it is in the picture is the puppet's affair: it is where the picture's darkness
    # follows the sound most.
    face = pictures[:, 128:192, 64:192]
    dark = (face < 70).reshape(len(face), 8, 8, 8, 16).sum((2, 4)).reshape(len(face), -1).astype(float)
    best = max(range(dark.shape[1]), key=lambda spot: follows(dark[:, spot], loud, 0))
    by_lag = [follows(dark[:, best], loud, lag) for lag in range(-4, 5)]
    assert max(by_lag) > 0.5
    assert abs(by_lag.index(max(by_lag)) - 4) <= 1


async def test_another_face_than_was_asked_for_is_said_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load_settings({"AVATAR_BACKEND": "musetalk", "MIEN_SIZE_PX": "256", "MIEN_WEIGHTS_DIR": str(tmp_path)})
    await render_text("Hi.", tmp_path / "x.mp4", settings, version="0")
    assert "The face is the puppet: not musetalk, as AVATAR_BACKEND asks: " in capsys.readouterr().err


async def test_an_empty_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OfflineError, match="the text is empty"):
        await render_text("  \n", tmp_path / "x.mp4", load_settings({}), version="0")


def decoded_luma(path: Path) -> npt.NDArray[np.uint8]:
    """[pictures, height, width]"""
    with av.open(str(path)) as container:
        return np.stack([image.to_ndarray()[: image.height] for image in container.decode(video=0)])


def loudness(sound: npt.NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(sound)))) if sound.size else 0.0


def follows(signal: npt.NDArray[np.float64], loud: npt.NDArray[np.float64], lag: int) -> float:
    """Correlation of a signal with the loudness ``lag`` ticks before it; 0 for a constant signal."""
    later, earlier = signal[max(0, lag) : len(signal) + min(0, lag)], loud[max(0, -lag) : len(loud) - max(0, lag)]
    return float(np.corrcoef(later, earlier)[0, 1]) if later.std() > 0 else 0.0


# ---- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_and_one_line_elsewhere() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        progress = Progress(Path("out.mp4"), 10.0, stream)
        progress.show(5.0)
        progress.show(10.0)
        progress.done()
    assert "[###############...............]  50%" in terminal.getvalue()
    assert terminal.getvalue().splitlines()[-1].startswith("\x1b[Kout.mp4: 10.0 s")
    assert file.getvalue().startswith("out.mp4: 10.0 s")
    assert file.getvalue().count("\n") == 1


def names_in(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]
