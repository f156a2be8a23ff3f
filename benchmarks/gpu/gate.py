"""Whether a core computes what the plain fp32 path computes: latents, faces and pasted pictures, with controls.

In: a core, and what `prepare` kept. Out: a JSON-able dict, ``passes`` among it. The controls feed the same core with
another picture's speech and with another frame's patch: a gate that lets these pass would measure nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from avatar.frames import Planes
from avatar.musetalk import windows
from avatar.musetalk.avatars import AvatarFrame
from avatar.musetalk.batches import Job
from avatar.musetalk.core import Core
from avatar.musetalk.demo import synthetic_speech
from avatar.musetalk.features import Context, FeatureStream
from avatar.musetalk.fidelity import Fidelity, Pictures, as_dict, compare, mouth, snr_db
from avatar.musetalk.reference import paste_plainly
from benchmarks.gpu.plan import Settings
from benchmarks.gpu.prepare import GATE_JOBS, gate_frames

_MOST_DB = 999.0
PASTE_LEVELS = 1
"""No byte of a pasted picture may be off by more than this from pasting the same face plainly."""
COMPOSITION_DB = 60.0
"""The least between a block's features computed alone and in one call with others."""


def gate(settings: Settings, core: Core) -> dict[str, Any]:
    """All the comparisons of one core."""
    expected = load_file(settings.folder / "gate.safetensors")
    frames = gate_frames(settings)
    avatar = core.avatar(frames)
    speech = expected["features"].to(settings.device)
    lane = core.lanes[next(size for size in sorted(core.lanes) if size >= GATE_JOBS)]
    wanted = mouth(expected[core.options.decoder].numpy())

    # Control: each picture with the speech of 160 ms later.
    core.render([Job(speech[(n + GATE_JOBS // 2) % GATE_JOBS], avatar, n) for n in range(GATE_JOBS)])
    wrong = compare(mouth(_faces(lane.faces)), wanted)

    pictures = core.render([Job(speech[n], avatar, n) for n in range(GATE_JOBS)])
    latents, faces = lane.latents[:GATE_JOBS].float().cpu(), _faces(lane.faces)
    right = compare(mouth(faces), wanted)
    off = _paste_difference(frames, faces, pictures)
    wrong_off = _paste_difference(frames[1:] + frames[:1], faces, pictures)
    core.render([Job(speech[0], avatar, 0)])
    alone = core.lanes[min(core.lanes)].latents[:1].float().cpu()
    controls_fail = not wrong.passes and wrong_off > PASTE_LEVELS
    out: dict[str, Any] = {
        "passes": right.passes and off <= PASTE_LEVELS and controls_fail,
        "mouth": as_dict(right),
        "latents, dB": _db(latents, expected["latents"]),
        "latents alone against in a batch, dB": _db(alone, latents[:1]),
        "paste, largest difference of 255": off,
        "controls": {
            "fail as they must": controls_fail,
            "speech of 160 ms later, mouth, dB": round(wrong.psnr_db, 2),
            "patch of the next frame, largest difference of 255": wrong_off,
        },
    }
    if core.options.decoder == "tiny":
        out["against exact in fp32, mouth"] = as_dict(_shown(faces, expected["exact"].numpy()))
    return out


def composition(core: Core) -> dict[str, Any]:
    """How near blocks of talkers of unlike length, encoded in one call, are to each encoded alone: the worst, in dB."""
    speech = [synthetic_speech(0.4 + 0.9 * k, seed=k) for k in range(4)]

    def last_block(k: int, context: Context) -> FeatureStream:
        stream = FeatureStream(core.encoder, context)
        stream.push(speech[k])
        wanted = windows.block_of(len(speech[k]) // 640 - 1).index - 2
        with core.on_stream():
            while stream.next_block.index < wanted:
                stream.work()
        return stream

    out: dict[str, Any] = {}
    for context in Context:
        together = core.features([last_block(k, context) for k in range(len(speech))])
        alone = [core.features([last_block(k, context)])[0] for k in range(len(speech))]
        out[f"{context.value}, dB"] = min(_db(one, two) for (_, one), (_, two) in zip(together, alone, strict=True))
    return {**out, "passes": min(out.values()) >= COMPOSITION_DB}


def _faces(faces: Tensor) -> Pictures:
    out: Pictures = faces[:GATE_JOBS].cpu().numpy()
    return out


def _shown(faces: Pictures, reference: Pictures) -> Fidelity:
    return compare(mouth(faces), mouth(reference))


def _paste_difference(frames: list[AvatarFrame], faces: Pictures, pictures: list[Planes | None]) -> int:
    """The largest, against pasting these faces pixel by pixel in float64; 255 where a picture was withheld."""
    if any(picture is None for picture in pictures):
        return 255
    differences = [
        np.abs(picture.astype(int) - paste_plainly(frame, face)).max()
        for frame, face, picture in zip(frames, faces, pictures, strict=True)
        if picture is not None
    ]
    return int(max(differences))


def _db(value: Tensor, reference: Tensor) -> float:
    finite = bool(torch.isfinite(value).all())
    return round(min(_MOST_DB, snr_db(value, reference)), 2) if finite else -_MOST_DB
