"""What the shipped personas look like: a sheet of every look's states and mouths, and 20 seconds of them talking.

Nothing is measured here; it is for eyes. The pictures come from the same code that talks live, the voices from
espeak-ng. Out: ``contact.jpg`` and ``speaking.mp4`` (H.264 and AAC) in docs/images, or where ``--out`` says.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from agent.persona import load_persona, shipped_personas
from agent.speech.espeak import Espeak
from agent.speech.espeak_worker import RATE_HZ
from avatar.frames import SPEECH_RATE_HZ, TICK_SPEECH_SAMPLES, Pcm, Planes
from avatar.puppet import motion
from avatar.puppet.acting import Actor
from avatar.puppet.ear import TrainedTracker
from avatar.puppet.look import Look
from avatar.puppet.motion import Moods, Pose
from avatar.puppet.mouth import REST, Mouth
from avatar.puppet.rig import Rig
from avatar.puppet.speech import Speech
from avatar.renderer import Expression, Shot
from benchmarks.report import ROOT

OUT = ROOT / "docs" / "images"
STATE_PX, MOUTH_PX, BAR_PX = 288, 120, 24
SHEET_TICKS = (40, 48, 222, 210, 50)
"""At which tick each expression is shown: none of them blinks there."""
VISEMES = {
    "rest": REST,
    "p b m": Mouth(jaw=0.3, closure=1.0),
    "f v": Mouth(jaw=0.25, lip_teeth=1.0),
    "th l": Mouth(jaw=0.3, tongue=1.0),
    "t d n": Mouth(jaw=0.15, spread=0.2, tongue=0.7),
    "s z": Mouth(jaw=0.10, spread=0.5),
    "sh ch": Mouth(jaw=0.18, rounding=0.6),
    "i": Mouth(jaw=0.20, spread=1.0),
    "e": Mouth(jaw=0.55, spread=0.5),
    "a": Mouth(jaw=1.0),
    "o": Mouth(jaw=0.6, rounding=0.7, spread=-0.4),
    "u w": Mouth(jaw=0.25, rounding=1.0, spread=-0.5),
}
"""A mouth for each group of sounds, as the ear poses it when it is sure."""
FILM_PX, FPS, SECONDS = 512, 25, 20
Colour = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """One persona's part of the film: what it does before it speaks, what it says, how long it is pleased with it."""

    persona: str
    before: Sequence[tuple[Expression, float]]
    says: str
    amused_s: float


SCENES = (
    Scene(
        "mien",
        ((Expression.IDLE, 0.6), (Expression.LISTENING, 1.6), (Expression.THINKING, 1.3)),
        "Well, maybe we should buy a boat, and ask Papa for five pounds of help.",
        1.2,
    ),
    Scene(
        "mien:evening", ((Expression.LISTENING, 0.7),), "Who would you like to meet on a warm evening by the sea?", 0.9
    ),
    Scene(
        "abel",
        ((Expression.LISTENING, 0.7), (Expression.THINKING, 0.9)),
        "Very few books have moved me more than that.",
        1.0,
    ),
)


def looks() -> list[str]:
    return [f"{name}:{look}" for name in shipped_personas()[::-1] for look in load_persona(name).look_names]


def colour_of(planes: Planes) -> Colour:
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420), np.uint8)


def labelled(picture: Colour, text: str) -> Colour:
    """The picture with a line of text below it."""
    bar = np.full((BAR_PX, picture.shape[1], 3), 250, np.uint8)
    size = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0]
    place = (picture.shape[1] - size[0]) // 2, (BAR_PX + size[1]) // 2
    cv2.putText(bar, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (60, 50, 50), 1, cv2.LINE_AA)
    return np.vstack([picture, bar])


def sheet() -> Colour:
    """Two rows a look: its expressions, and its mouths in twice their size."""
    rows = []
    for name in looks():
        rig = Rig(Look.parse(load_persona(name).look), 1024)
        states = []
        for expression, tick in zip(Expression, SHEET_TICKS, strict=True):
            mouth = Mouth(jaw=0.5, spread=0.2, effort=0.7) if expression is Expression.SPEAKING else REST
            mood = tuple(float(each is expression) for each in motion.MOODS)
            drawn = colour_of(rig.draw(motion.pose(tick, 0, mood, mouth.effort), mouth))
            drawn = np.asarray(cv2.resize(drawn, (STATE_PX, STATE_PX), interpolation=cv2.INTER_AREA), np.uint8)
            states.append(labelled(drawn, f"{name.removesuffix(':default')}, {expression}"))
        mouths = []
        for sound, mouth in VISEMES.items():
            drawn = colour_of(rig.draw(Pose(smile=0.4), mouth))[556:728, 412:612]
            size = MOUTH_PX, MOUTH_PX * drawn.shape[0] // drawn.shape[1]
            drawn = np.asarray(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA), np.uint8)
            mouths.append(labelled(drawn, sound))
        rows += [np.hstack(states), np.hstack(mouths)]
    width = max(row.shape[1] for row in rows)
    return np.vstack([cv2.copyMakeBorder(row, 0, 0, 0, width - row.shape[1], cv2.BORDER_REPLICATE) for row in rows])


async def said(espeak: Espeak, scene: Scene) -> npt.NDArray[np.int16]:
    """The scene's words at espeak's own rate."""
    voice = load_persona(scene.persona).voice["espeak"]
    return np.frombuffer(b"".join([chunk.pcm async for chunk in espeak.speak(scene.says, voice)]), "<i2")


def heard(sound: npt.NDArray[np.int16]) -> Pcm:
    """The same at the rate of the ear."""
    count = len(sound) * SPEECH_RATE_HZ // RATE_HZ
    at_ear = np.interp(np.arange(count) * RATE_HZ / SPEECH_RATE_HZ, np.arange(len(sound)), sound.astype(np.float64))
    return np.asarray(at_ear, np.int16)


def played(
    scene: Scene, sound: npt.NDArray[np.int16], number: int, rest_s: float
) -> Iterator[tuple[Planes, int | None]]:
    """The scene's pictures, each with the number of the picture of speech that it is."""
    rig = Rig(Look.parse(load_persona(scene.persona).look), FILM_PX)
    speech, moods = Speech(TrainedTracker), Moods()
    actor = Actor(speech, number)
    pcm = heard(sound)
    speech.push(1, pcm)
    speech.end(1)
    tick = 20
    for expression, seconds in scene.before:
        moods.express(expression, tick)
        for _ in range(round(seconds * FPS)):
            yield rig.draw(*actor.play(Shot(tick), moods.at(tick))), None
            tick += 1
    moods.express(Expression.SPEAKING, tick)
    spoken = -(-len(pcm) // TICK_SPEECH_SAMPLES)
    for n in range(spoken):
        yield rig.draw(*actor.play(Shot(tick, 1, n, n), moods.at(tick))), n
        tick += 1
    moods.express(Expression.AMUSED, tick)
    for since in range(round((scene.amused_s + rest_s) * FPS)):
        if since == round(scene.amused_s * FPS):
            moods.express(Expression.IDLE, tick)
        yield rig.draw(*actor.play(Shot(tick, None, 0, since, (1, spoken - 1)), moods.at(tick))), None
        tick += 1


async def film(out: Path) -> float:
    """Write the film. Returns its length in seconds."""
    espeak = Espeak()
    try:
        sounds = [await said(espeak, scene) for scene in SCENES]
    finally:
        await espeak.aclose()
    length_s = sum(
        sum(seconds for _, seconds in scene.before) + len(sound) / RATE_HZ + scene.amused_s
        for scene, sound in zip(SCENES, sounds, strict=True)
    )
    rest_s = max(0.0, SECONDS - length_s) / len(SCENES)
    pictures, sound_of_picture = 0, RATE_HZ // FPS
    with av.open(str(out), "w") as file:
        video = file.add_stream("libx264", rate=FPS, options={"preset": "slow", "crf": "21", "threads": "1"})
        video.width = video.height = FILM_PX
        video.pix_fmt = "yuv420p"
        audio = file.add_stream("aac", rate=RATE_HZ, layout="mono")
        audio.bit_rate = 64_000
        for number, (scene, sound) in enumerate(zip(SCENES, sounds, strict=True)):
            for planes, n in played(scene, sound, number, rest_s):
                frame = av.VideoFrame.from_ndarray(planes, "yuv420p")
                frame.pts, frame.time_base = pictures, Fraction(1, FPS)
                file.mux(video.encode(frame))
                piece = np.zeros(sound_of_picture, np.int16)
                if n is not None:
                    part = sound[n * sound_of_picture : (n + 1) * sound_of_picture]
                    piece[: len(part)] = part
                block = av.AudioFrame.from_ndarray(piece[None, :], "s16", "mono")
                block.sample_rate, block.pts = RATE_HZ, pictures * sound_of_picture
                block.time_base = Fraction(1, RATE_HZ)
                file.mux(audio.encode(block))
                pictures += 1
        file.mux(video.encode())
        file.mux(audio.encode())
    return pictures / FPS


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contact", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT, metavar="FOLDER", help="where they go (docs/images)")
    parser.add_argument("--only", choices=("sheet", "film"), help="make only this one")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    if options.only != "film":
        file = options.out / "contact.jpg"
        cv2.imwrite(str(file), sheet(), [cv2.IMWRITE_JPEG_QUALITY, 88])
        print(f"{file}: {file.stat().st_size // 1000} kB")
    if options.only != "sheet":
        file = options.out / "speaking.mp4"
        seconds = asyncio.run(film(file))
        print(f"{file}: {seconds:.1f} s, {file.stat().st_size // 1000} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
