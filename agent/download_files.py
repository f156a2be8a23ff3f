"""Which weight files MuseTalk needs: where they are published, how long they are, what they hash to, whose terms hold.

Lengths and hashes are the model hub's own (its LFS object ids), at fixed commits, as several projects on GitHub that
pin the same files state them. Only what is loaded is fetched: shapes stand in `avatar/musetalk/config.py`, the
preprocessing is our own.
"""

from __future__ import annotations

from dataclasses import dataclass

HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class Terms:
    """One part's licence.

    Args:
        part: what is licensed.
        licence: in words. link: where the text stands.
    """

    part: str
    licence: str
    link: str


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file on the hub.

    Args:
        repository, revision, path: where it is published.
        to: where it is put below the weights' folder; as `avatar.musetalk.weights` reads it.
        size: bytes. sha256: of the whole file, in hex.
    """

    repository: str
    revision: str
    path: str
    to: str
    size: int
    sha256: str
    terms: Terms


MUSETALK_TERMS = Terms(
    "MuseTalk v1.5 (Lyra Lab, Tencent Music Entertainment)",
    "weights: CreativeML OpenRAIL-M, by the model card (it forbids certain uses, and whoever hands them on has to pass "
    "that on); code: MIT",
    f"{HUB}/TMElyralab/MuseTalk",
)
VAE_TERMS = Terms("sd-vae-ft-mse (Stability AI)", "MIT", f"{HUB}/stabilityai/sd-vae-ft-mse")
WHISPER_TERMS = Terms("whisper-tiny (OpenAI)", "MIT; Apache-2.0 by the hub's model card", f"{HUB}/openai/whisper-tiny")
TAESD_TERMS = Terms("TAESD (Ollin Boer Bohan)", "MIT", f"{HUB}/madebyollin/taesd")

MUSETALK = (
    WeightFile(
        "openai/whisper-tiny",
        "169d4a4341b33bc18d8881c4b69c2e104e1cc0af",
        "model.safetensors",
        "whisper/model.safetensors",
        151_061_672,
        "7ebd0e69e78190ffe1438491fa05cc1f5c1aa3a4c4db3bc1723adbb551ea2395",
        WHISPER_TERMS,
    ),
    WeightFile(
        "stabilityai/sd-vae-ft-mse",
        "31f26fdeee1355a5c34592e401dd41e45d25a493",
        "diffusion_pytorch_model.safetensors",
        "sd-vae/diffusion_pytorch_model.safetensors",
        334_643_276,
        "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815",
        VAE_TERMS,
    ),
    WeightFile(
        "madebyollin/taesd",
        "614f76814bbe30edbe2e627ace1c2234c81a2c0e",
        "diffusion_pytorch_model.safetensors",
        "taesd/diffusion_pytorch_model.safetensors",
        9_793_292,
        "db169d69145ec4ff064e49d99c95fa05d3eb04ee453de35824a6d0f325513549",
        TAESD_TERMS,
    ),
    WeightFile(
        "TMElyralab/MuseTalk",
        "3ef28bc5cff08c90ad8178a25f1b570cd800170f",
        "musetalkV15/unet.pth",
        "musetalkV15/unet.pth",
        3_400_074_924,
        "7ebf6c98c181e20838e4c0054e96e944ac60d5d692cc01db42839fe11b787007",
        MUSETALK_TERMS,
    ),
)
"""The largest last: while it is missing, the weights do not count as there."""
