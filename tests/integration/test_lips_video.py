"""The lip stick on real files: apertures of decoded pictures against mouths that are known, and `mien lips`."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from agent.cli import main
from agent.lips.aperture import NotSeen, watch
from agent.lips.labels import aligned, sound_of
from agent.lips.phones import Phone
from agent.lips.reference import at, curves
from avatar.frames import TICK_MS, Planes
from avatar.puppet import motion
from avatar.puppet.lips import outline
from avatar.puppet.look import Look
from avatar.puppet.mouth import REST, Mouth
from avatar.puppet.rig import Rig
from avatar.renderer import Expression
from training.mouth.speakers import EspeakSpeaker, Spoken

pytestmark = pytest.mark.media

SIZE_PX = 512
SPEAKING = (0.0, 0.0, 0.0, 1.0, 0.0)
SENTENCE = "My brother bought a big blue map and five pounds of apples. Papa may have moved the heavy piano above."


def gap_px(mouth: Mouth) -> float:
    """Between the lips in the middle of the mouth, as they are drawn."""
    x = np.linspace(0.45, 0.55, 101, dtype=np.float32)
    lips = outline(x, mouth, motion.MOODS[Expression.SPEAKING].smile, 0.0, Look().lip_fullness)
    return float((lips.lower - lips.upper)[50]) * SIZE_PX


def write(path: Path, pictures: list[Planes], size: int = SIZE_PX) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "23", "threads": "1"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for n, planes in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(planes, "yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Mouth]]:
    """A video of 0.6 s of rest and then 200 mouths of all kinds, head and brows moving."""
    random = np.random.default_rng(4)
    mouths = [REST] * 15
    for k in range(200):
        if k % 9 == 0:
            mouths.append(Mouth(closure=1.0, jaw=float(random.uniform(0, 0.4)), effort=0.6))
        elif k % 13 == 0:
            mouths.append(Mouth(jaw=0.1, lip_teeth=1.0, effort=0.6))
        else:
            jaw, rounding, tongue = (float(share) for share in random.uniform(0, 1, 3))
            spread = float(random.uniform(-0.8, 0.9))
            mouths.append(Mouth(jaw=jaw, rounding=rounding**2, spread=spread, tongue=tongue, effort=0.6))
    rig = Rig(Look(), SIZE_PX)
    path = tmp_path_factory.mktemp("known") / "known.mp4"
    write(path, [rig.draw(motion.pose(n, 3, SPEAKING, m.effort), m) for n, m in enumerate(mouths)])
    return path, mouths


def test_the_aperture_seen_is_the_one_drawn(known: tuple[Path, list[Mouth]]) -> None:
    path, mouths = known
    seen = watch(path, [(0.0, 600.0)])
    drawn = np.array([gap_px(mouth) for mouth in mouths])
    assert len(seen.values_px) == len(mouths)
    assert seen.times_ms[:2] == pytest.approx([20.0, 60.0])
    assert abs(seen.mouth[0] - 0.5) < 0.03
    assert abs(seen.mouth[1] - 0.62) < 0.04
    assert np.corrcoef(seen.values_px, drawn)[0, 1] > 0.95
    p95 = np.percentile(seen.values_px, 95)
    assert max(seen.values_px[drawn < 0.5]) <= 0.1 * p95  # what is shut is seen shut ...
    assert np.mean(seen.values_px[drawn > 5.0] > 0.1 * p95) > 0.97  # ... and what is open, open


def test_a_video_that_shows_no_rest_or_no_mouth(tmp_path: Path, known: tuple[Path, list[Mouth]]) -> None:
    path, _ = known
    with pytest.raises(NotSeen, match="at rest"):
        watch(path, [])
    short = tmp_path / "short.mp4"
    still = np.full((SIZE_PX * 3 // 2, SIZE_PX), 90, np.uint8)
    write(short, [still] * 10)
    with pytest.raises(NotSeen, match="10 pictures"):
        watch(short, [(0, 1000)])
    frozen = tmp_path / "frozen.mp4"
    write(frozen, [still] * 60)
    with pytest.raises(NotSeen, match="nothing in the picture moves"):
        watch(frozen, [(0, 1000)])
    with pytest.raises(NotSeen, match="cannot read"):
        watch(tmp_path / "none.mp4", [])


@pytest.fixture(scope="module")
def sentence() -> Spoken:
    with EspeakSpeaker() as espeak:
        return espeak.speak(SENTENCE, "gmw/en-US+f5", 150)


@pytest.fixture(scope="module")
def spoken_video(sentence: Spoken, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mien render` of a sentence by a voice that was not trained on."""
    import wave

    folder = tmp_path_factory.mktemp("spoken")
    wav, video = folder / "speech.wav", folder / "speech.mp4"
    with wave.open(str(wav), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sentence.rate_hz)
        file.writeframes(sentence.pcm.tobytes())
    assert main(["render", str(wav), "-o", str(video), "--renderer", "puppet"]) == 0
    return video


def labels(spoken: Spoken, path: Path, swap: bool = False) -> Path:
    phones = list(spoken.phones)
    if swap:  # the second half of the sound before the first
        middle = len(phones) // 2
        phones = phones[middle:] + phones[:middle]
    now_s, lines = 0.0, []
    for phone in phones:
        now_s += (phone.end_ms - phone.start_ms) / 1000
        lines.append(f"{now_s:.3f} {phone.ipa or '_'}")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_mien_lips_passes_its_own_puppet(
    spoken_video: Path, sentence: Spoken, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lips.json"
    phones = labels(sentence, tmp_path / "phones.txt")
    command = ["lips", str(spoken_video), "--phones", str(phones), "--offset-ms", "200", "-o", str(out)]
    status = main(command)
    table = capsys.readouterr().out
    assert status == 0, table
    assert "the lips pass" in table
    numbers = json.loads(out.read_text())
    assert numbers["numbers"]["r"] > 0.8
    assert len(numbers["apertures_px"]) == len(numbers["times_ms"]) > 100


def test_mien_lips_fails_another_sound_and_a_late_one(
    spoken_video: Path, sentence: Spoken, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swapped = labels(sentence, tmp_path / "swapped.txt", swap=True)
    assert main(["lips", str(spoken_video), "--phones", str(swapped), "--offset-ms", "200"]) == 1
    phones = labels(sentence, tmp_path / "phones.txt")
    assert main(["lips", str(spoken_video), "--phones", str(phones), "--offset-ms", "80"]) == 1
    assert "lag" in capsys.readouterr().out


def test_mien_lips_finds_phone_times_itself(
    spoken_video: Path, sentence: Spoken, capsys: pytest.CaptureFixture[str]
) -> None:
    """The recognizer's alignment agrees with the synthesizer's own times; it may judge, or say why it cannot."""
    found = aligned(sound_of(spoken_video), SENTENCE)
    own = [phone for phone in sentence.phones if set(phone.ipa) & set("pbm")]
    mine = [phone for phone in found if set(phone.ipa) & set("pbm")]
    assert len(own) == len(mine)
    off = [abs(a.start_ms + 200 - b.start_ms) for a, b in zip(own, mine, strict=True)]
    assert np.median(off) <= 25
    main(["lips", str(spoken_video), "--text", SENTENCE])
    assert "opening r" in capsys.readouterr().out


def test_what_cannot_be_judged_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lips", str(tmp_path / "none.mp4"), "--text", "hello"]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_espeak_phones_cover_the_sound(sentence: Spoken) -> None:
    assert sentence.phones[0].start_ms == 0.0
    for before, after in itertools.pairwise(sentence.phones):
        assert before.end_ms == after.start_ms
    assert abs(sentence.phones[-1].end_ms - sentence.duration_ms) < 1
    curve = curves(sentence.phones, sentence.duration_ms)
    assert float(at(curve.speech, [TICK_MS * 20])[0]) in (0.0, 1.0)
    assert Phone("", 0, 1) not in sentence.phones
