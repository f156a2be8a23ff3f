"""`mien dub VIDEO SPEECH -o OUT`: a video of somebody in, the same video with lips that say something else out.

Picture by picture, as MuseTalk does it: find the face, encode it, let the network draw its lower half to the speech,
paste that back. OUT is as long as the speech; a shorter video runs forth and back. Pictures without a face stay as they
are. It takes MuseTalk's weights, and a GPU or patience: the photo portrait's mouth, drawn over a face that already
moves, would be a second mouth, and is not offered.
"""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av.error
import numpy as np

from agent.prepare_consent import Asking, PrepareError, consented
from agent.prepare_look import Look, found_in, look_at
from agent.prepare_musetalk import EXTRA
from agent.prepare_video import Clip, read_clip
from agent.speechfile import read_speech
from avatar.frames import FPS, TICK_SAMPLES, TICK_SPEECH_SAMPLES, MienError, Pcm, Picture, Planes
from avatar.musetalk.portrait_frames import frame_at
from avatar.musetalk.portrait_landmarks import Box, face_box, landmarks_68
from avatar.musetalk.portrait_mask import jaw_mask
from avatar.resample import Decimator
from rooms.mp4 import Mp4File, Provenance

if TYPE_CHECKING:
    from avatar.musetalk.config import DecoderTier
    from avatar.musetalk.core import Core
    from avatar.musetalk.portrait_latents import LatentEncoder

CHUNK = 64
"""Pictures whose faces are on the device at a time."""
MOST_FRAMES = 60 * 60 * FPS
CPU_PICTURE_S = 3
"""What a picture takes on two CPU cores with the exact decoder, roughly."""

Bar = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


class DubError(MienError):
    """Nothing was dubbed: what is missing, and what to do."""


@dataclass(frozen=True, slots=True)
class Dubbed(Provenance):
    """What the file says of its origin. ``persona`` is the video's name.

    Args:
        consent: who agreed.
    """

    consent: str

    @property
    def comment(self) -> str:
        return (
            f"AI-generated lips: in {self.persona!r} somebody says what they did not say; made by Mien {self.version}. "
            f"Consent: {self.consent}"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """The networks: the core, and the encoder that makes its latents."""

    core: Core
    encoder: LatentEncoder


def open_models(weights: Path, *, device: str | None, decoder: DecoderTier) -> Models:
    """MuseTalk from the weights' folder.

    Args:
        device: `cuda` or `cpu`; None: a CUDA card, which must be there.

    Raises:
        DubError: packages, weights or the card are missing; all of them are named.
        WeightsError: the weights are damaged or another model's.
    """
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise DubError(f"mien dub needs {', '.join(missing)}: pip install 'mien[musetalk]'")
    import torch

    from avatar.musetalk.config import MUSETALK_V15
    from avatar.musetalk.core import Core, Options
    from avatar.musetalk.portrait_latents import LatentEncoder
    from avatar.musetalk.weights import load_weights, missing_weights

    problems = []
    if files := missing_weights(weights, tiny=decoder == "tiny"):
        problems.append(f"MuseTalk's weights ({', '.join(files)} not in {weights}): mien download musetalk")
    if device != "cpu" and not torch.cuda.is_available():
        problems.append(
            f"a CUDA card, and torch finds none (--device cpu does without, at about {CPU_PICTURE_S} s a picture)"
        )
    if problems:
        raise DubError(f"mien dub needs {'; and '.join(problems)}")
    where = device or "cuda"
    loaded = load_weights(weights, tiny=decoder == "tiny", config=MUSETALK_V15)
    core = Core(MUSETALK_V15, loaded, where, Options(decoder=decoder))
    return Models(core, LatentEncoder(MUSETALK_V15, loaded.vae, where))


def dub(
    video: Path,
    speech: Path,
    out: Path,
    open_: Callable[[], Models],
    *,
    consent: str | None,
    force: bool,
    version: str,
    asking: Asking,
    bar: Bar,
) -> None:
    """Write ``out``, whole or not at all. Blocking.

    Args:
        open_: brings the networks; called first, so that what is missing is said before any work is done.
        consent: who agreed, and when; None: the person at the terminal is asked.
        force: dub the largest face where there are several.

    Raises:
        MienError: something is missing, unreadable or not agreed to.
    """
    if not out.parent.is_dir():
        raise DubError(f"cannot write {out}: there is no folder {out.parent}; make it first")
    models = open_()
    agreed = consented(consent, asking)
    sound = _sound(speech)
    count = sound.size // TICK_SAMPLES
    with tempfile.TemporaryDirectory(prefix="mien-dub-") as scratch:
        with bar("reading", min(count, MOST_FRAMES)) as show:
            clip = read_clip(video, Path(scratch), most_frames=min(count, MOST_FRAMES), progress=show)
        with bar("looking", len(clip)) as show:
            looks = look_at(clip, show)
        _judge(video, looks, force, asking)
        provenance = Dubbed(version, video.name, f"musetalk, {models.core.options.decoder} decoder", agreed)
        partial = out.with_name(out.name + ".partial")
        try:
            with (
                bar("dubbing", count) as show,
                Mp4File(partial, clip.width, clip.height, provenance, fragmented=False) as file,
            ):
                for n, body in enumerate(_spoken(models, clip, looks, sound)):
                    file.write(n, Picture(body), sound[n * TICK_SAMPLES : (n + 1) * TICK_SAMPLES])
                    show(n + 1)
            partial.replace(out)
        except (av.error.FFmpegError, OSError) as error:
            raise DubError(f"{out} cannot be written: {error}") from None
        finally:
            with contextlib.suppress(FileNotFoundError):
                partial.unlink()


def _sound(speech: Path) -> Pcm:
    """48 kHz, filled up with silence to whole pictures."""
    pieces = list(read_speech(speech))
    sound = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
    if not sound.size:
        raise DubError(f"there is no speech in {speech}: its sound is empty")
    return np.pad(sound, (0, -sound.size % TICK_SAMPLES))


def _judge(video: Path, looks: list[Look], force: bool, asking: Asking) -> None:
    """Say what was found; stop where there is nothing to dub, or more than one face."""
    if all(look.mesh is None for look in looks):
        reasons = ", ".join(sorted({look.why_not for look in looks}))
        raise PrepareError(f"no picture of {video} shows a face that could speak ({reasons}): use another video")
    # Each picture stands by itself here: a cut, or a short stretch, does no harm.
    for finding in found_in(looks, [], (0, len(looks))):
        about_length = "the longest stretch" in finding.text
        if not about_length:
            asking.tell(f"  {'stop' if finding.stops else 'note'}: {finding.text}")
        if finding.stops and not force and not about_length:
            raise PrepareError(f"{video}: {finding.text}")


def _spoken(models: Models, clip: Clip, looks: list[Look], sound: Pcm) -> Iterator[Planes]:
    """One picture for each 40 ms of the sound."""
    from avatar.musetalk.avatars import AvatarFrame
    from avatar.musetalk.batches import Job
    from avatar.musetalk.features import whole_utterance

    core, encoder = models.core, models.encoder
    count = sound.size // TICK_SAMPLES
    heard = Decimator().push(sound)
    features = whole_utterance(core.encoder, np.pad(heard, (0, max(0, count * TICK_SPEECH_SAMPLES - heard.size))))
    largest = max(core.lanes)
    for start in range(0, count, CHUNK):
        ticks = range(start, min(count, start + CHUNK))
        faces: dict[int, tuple[Planes, Box, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]] = {}
        for n in dict.fromkeys(frame_at(tick, len(clip)) for tick in ticks):
            mesh = looks[n].mesh
            if mesh is None:
                continue
            box = face_box(landmarks_68(mesh), clip.width, clip.height)
            if box is not None and (mask := jaw_mask(mesh, box)).any():
                faces[n] = np.asarray(clip.bodies[n]), box, mask
        drawn: dict[int, Planes | None] = {}
        if faces:
            latents = encoder.latents((body, box) for body, box, _ in faces.values())
            frames = [
                AvatarFrame(body, box, mask, own)
                for (body, box, mask), own in zip(faces.values(), latents, strict=True)
            ]
            avatar = core.avatar(frames, keep_stems=False)
            places = {n: place for place, n in enumerate(faces)}
            speaking = [tick for tick in ticks if frame_at(tick, len(clip)) in places]
            for first in range(0, len(speaking), largest):
                batch = speaking[first : first + largest]
                jobs = [Job(features[tick], avatar, places[frame_at(tick, len(clip))]) for tick in batch]
                drawn |= dict(zip(batch, core.render(jobs), strict=True))
        for tick in ticks:
            picture = drawn.get(tick)
            yield np.array(clip.bodies[frame_at(tick, len(clip))]) if picture is None else picture
