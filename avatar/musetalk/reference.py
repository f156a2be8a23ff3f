"""The plain path that every optimisation is measured against: diffusers' own modules, fp32, one operation at a time.

In: the same weights. Out: the same quantities at each stage (latents, image, face, picture). Straight and slow on
purpose; it shares no arithmetic with the fast path except the definition of I420.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from avatar.frames import Planes
from avatar.musetalk.avatars import AvatarFrame
from avatar.musetalk.config import DecoderTier, MuseTalkConfig
from avatar.musetalk.positions import positions
from avatar.musetalk.weights import ModelWeights, WeightsError


def blank_models(config: MuseTalkConfig, device: torch.device | str) -> tuple[nn.Module, nn.Module, nn.Module]:
    """diffusers' UNet2DConditionModel, AutoencoderKL and DecoderTiny of these shapes, for their names and forward."""
    # Imported here: it takes seconds, and nothing but the reference needs it.
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.autoencoders.vae import DecoderTiny
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device(device):
        return (
            UNet2DConditionModel(**config.unet.as_diffusers()).eval(),
            AutoencoderKL(**config.decoder.as_diffusers()).eval(),
            DecoderTiny(**config.tiny_decoder.as_diffusers()).eval(),
        )


class Reference:
    """MuseTalk's own computation after preparation, in fp32.

    Args:
        tier: which decoder.
    """

    def __init__(
        self, config: MuseTalkConfig, weights: ModelWeights, tier: DecoderTier, device: torch.device | str
    ) -> None:
        self.config, self.tier = config, tier
        self.device = torch.device(device)
        unet, vae, tiny = blank_models(config, "meta")
        self._unet = _filled(unet, dict(weights.unet), self.device)
        if tier == "exact":
            self._decoder = _filled(vae, dict(weights.vae), self.device)
        elif weights.tiny_decoder is not None:
            self._decoder = _filled(tiny, dict(weights.tiny_decoder), self.device)
        else:
            raise WeightsError("the tiny tier needs tiny_decoder weights: load them with tiny=True")

    @torch.inference_mode()
    def latents(self, avatar: Tensor, audio: Tensor) -> Tensor:
        """Avatar latents [batch, 8, side, side] and audio features [batch, tokens, width] (without positions) to
        latents [batch, 4, side, side]."""
        audio = audio + positions(*audio.shape[1:]).to(audio)
        step = torch.zeros(1, dtype=torch.long, device=self.device)
        out: Tensor = self._unet(avatar, step, encoder_hidden_states=audio).sample
        return out

    @torch.inference_mode()
    def image(self, latents: Tensor) -> Tensor:
        """Latents to an image [batch, 3, 8 * side, 8 * side] in about -1..1."""
        if self.tier == "tiny":
            out: Tensor = self._decoder(latents)
        else:
            out = self._decoder.decode(latents / self.config.decoder.latent_scale).sample  # type: ignore[operator]
        return out

    def face(self, image: Tensor) -> npt.NDArray[np.uint8]:
        """An image to uint8 RGB [batch, height, width, 3]."""
        scaled = (image.double().cpu() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255
        face: npt.NDArray[np.uint8] = np.rint(scaled).astype(np.uint8)
        return face


def _filled(module: nn.Module, state: dict[str, Tensor], device: torch.device) -> nn.Module:
    module = module.to_empty(device=device)
    module.load_state_dict(state, strict=True)
    return module.float().requires_grad_(False)


def paste_plainly(frame: AvatarFrame, face: npt.NDArray[np.uint8]) -> Planes:
    """One face pasted into its avatar frame, pixel by pixel over the whole picture, in float64 RGB.

    Bilinear as OpenCV's INTER_LINEAR (pixel centres, edges repeated), rounded to 8 bits, blended by the mask.
    """
    left, top, right, bottom = frame.box
    rows, columns = _taps(face.shape[0], bottom - top), _taps(face.shape[1], right - left)
    wide = face.astype(np.float64)
    tall = wide[rows[0]] * (1 - rows[2])[:, None, None] + wide[rows[1]] * rows[2][:, None, None]
    sized = tall[:, columns[0]] * (1 - columns[2])[None, :, None] + tall[:, columns[1]] * columns[2][None, :, None]
    sized = np.floor(sized + 0.5)

    height, width = frame.body.shape[0] * 2 // 3, frame.body.shape[1]
    red_green_blue = _rgb_of(frame.body.astype(np.float64), height, width)
    share = np.zeros((height, width, 1))
    share[top:bottom, left:right, 0] = frame.mask / 255.0
    pasted = red_green_blue.copy()
    pasted[top:bottom, left:right] = sized
    return _i420_of(red_green_blue + share * (pasted - red_green_blue))


def _taps(source: int, target: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    at = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    low = np.floor(at).astype(np.intp)
    return low, np.minimum(low + 1, source - 1), at - low


_TO_YUV = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]) / 255
_OFFSET = np.array([16.0, 128.0, 128.0])


def _rgb_of(planes: npt.NDArray[np.float64], height: int, width: int) -> npt.NDArray[np.float64]:
    """I420 (BT.601, limited range) to RGB, each chroma sample held over its 2 x 2 pixels, not clipped."""
    chroma = planes[height:].reshape(2, height // 2, width // 2)
    u, v = (np.repeat(np.repeat(plane, 2, axis=0), 2, axis=1) for plane in chroma)
    return (np.stack([planes[:height], u, v], axis=-1) - _OFFSET) @ np.linalg.inv(_TO_YUV).T


def _i420_of(rgb: npt.NDArray[np.float64]) -> Planes:
    height, width, _ = rgb.shape
    yuv = rgb @ _TO_YUV.T + _OFFSET
    chroma = yuv[..., 1:].reshape(height // 2, 2, width // 2, 2, 2).mean(axis=(1, 3))
    planes = np.concatenate([yuv[..., 0].ravel(), chroma[..., 0].ravel(), chroma[..., 1].ravel()])
    return np.clip(np.floor(planes + 0.5), 0, 255).astype(np.uint8).reshape(height * 3 // 2, width)
