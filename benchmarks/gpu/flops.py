"""How much arithmetic MuseTalk's own layers need for one picture, counted on shapes alone (no memory, no time)."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from avatar.musetalk.config import MuseTalkConfig
from avatar.musetalk.reference import blank_models
from avatar.musetalk.whisper import WhisperEncoder


def gflop_per_picture(config: MuseTalkConfig) -> dict[str, float]:
    """GFLOP (2 per multiply-add) of the UNet and of both decoders for a picture, and of the speech encoder for 30 s."""
    unet, vae, tiny = blank_models(config, "meta")
    with torch.device("meta"):
        whisper = WhisperEncoder(config.whisper)
        latents = torch.empty(1, config.unet.in_channels, config.latent_px, config.latent_px)
        audio = torch.empty(1, config.context_tokens, config.whisper.width)
        mouth = torch.empty(1, config.decoder.latent_channels, config.latent_px, config.latent_px)
        heard, starts = torch.empty(1, 2 * config.whisper.positions + 3, config.whisper.mels), torch.zeros(1)
        runs = {
            "unet": lambda: unet(latents, torch.zeros(1), encoder_hidden_states=audio),
            "decoder exact": lambda: vae.decode(mouth),  # type: ignore[operator]
            "decoder tiny": lambda: tiny(mouth),
            "speech encoder, 30 s": lambda: whisper(heard, starts.long()),
        }
        counted = {}
        for name, run in runs.items():
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                run()
            counted[name] = round(counter.get_total_flops() / 1e9, 3)
    return counted
