"""Faces into the latents that the UNet takes: the masked face and the face itself, encoded and scaled.

In: pictures and face boxes. Out: float32 [frames, 8, side, side]. As MuseTalk's, but for the encoder's random sample,
instead of which its mode is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avatar.frames import Planes
from avatar.musetalk.config import MuseTalkConfig
from avatar.musetalk.portrait_landmarks import Box
from avatar.musetalk.precision import tensor_float32
from avatar.musetalk.weights import WeightsError

BATCH = 8


class LatentEncoder:
    """The encoding half of the image model, fp32.

    Args:
        vae: state dict of diffusers' AutoencoderKL, all of it.

    Raises:
        WeightsError: the weights are another model's.
    """

    def __init__(self, config: MuseTalkConfig, vae: Mapping[str, Tensor], device: torch.device | str) -> None:
        # It takes seconds to import.
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        self.config = config
        self._device = torch.device(device)
        with torch.device("meta"):
            model = AutoencoderKL(**config.decoder.as_diffusers())
        try:
            model.load_state_dict({key: value.float() for key, value in vae.items()}, strict=True, assign=True)
        except RuntimeError as error:
            raise WeightsError(f"the image model's weights do not fit: {str(error).splitlines()[1].strip()}") from None
        del model.decoder
        self._model = model.to(self._device).eval().requires_grad_(False)

    def latents(self, frames: Iterable[tuple[Planes, Box]]) -> Iterator[npt.NDArray[np.float32]]:
        """[8, side, side] for each picture (I420) and its face box, in order, a batch at a time."""
        waiting = iter(frames)
        while batch := list(islice(waiting, BATCH)):
            faces = np.stack([face_of(body, box, self.config.face_px) for body, box in batch])
            yield from self._encoded(faces)

    def _encoded(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """RGB faces [batch, side, side, 3] to latents [batch, 8, side / 8, side / 8]."""
        with torch.inference_mode(), tensor_float32(False):
            whole = torch.from_numpy(faces).to(self._device).permute(0, 3, 1, 2).float() / 127.5 - 1
            masked = whole.clone()
            masked[:, :, whole.shape[2] // 2 :] = -1
            encoded: Tensor = self._model.encode(torch.cat([masked, whole])).latent_dist.mode()
            both = encoded * self.config.decoder.latent_scale
            out: npt.NDArray[np.float32] = torch.cat(both.chunk(2), dim=1).cpu().numpy()
            return out


def face_of(body: Planes, box: Box, side: int) -> npt.NDArray[np.uint8]:
    """The face in its box, RGB uint8 [side, side, 3], as MuseTalk resizes it (Lanczos)."""
    left, top, right, bottom = box
    picture = cv2.cvtColor(body, cv2.COLOR_YUV2RGB_I420)
    face = cv2.resize(picture[top:bottom, left:right], (side, side), interpolation=cv2.INTER_LANCZOS4)
    return np.asarray(face, np.uint8)
