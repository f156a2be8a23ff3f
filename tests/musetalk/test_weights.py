"""Weight files: read without unpickling, under old and new names, with an error that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from avatar.musetalk.weights import (
    ModelWeights,
    Weights,
    WeightsError,
    load_weights,
    read_state,
    tiny_decoder_state,
    vae_state,
    whisper_state,
)

pytestmark = pytest.mark.media


def test_both_formats_are_read(tmp_path: Path) -> None:
    state = {"a.weight": torch.randn(3, 2)}
    save_file(state, tmp_path / "one.safetensors")
    torch.save(state, tmp_path / "two.pth")
    for name in ("one.safetensors", "two.pth"):
        assert torch.equal(read_state(tmp_path / name)["a.weight"], state["a.weight"])


class _Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("this must not run",))


def test_files_that_are_not_weights_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": _Harmful()}, tmp_path / "harmful.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"a": torch.randn(1000)}, tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:1500])
    save_file({"a": torch.randn(1000)}, tmp_path / "whole.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:1500])
    for name, said in {
        "harmful.pth": "cannot be read",
        "list.pth": "holds no state dict",
        "cut.pth": "cannot be read",
        "cut.safetensors": "delete it and download it again",
        "absent.pth": "download them first",
    }.items():
        with pytest.raises(WeightsError, match=said):
            read_state(tmp_path / name)
    assert "must not run" not in capsys.readouterr().out


def test_old_names_become_new_ones() -> None:
    old = {
        f"decoder.mid_block.attentions.0.{name}.weight": torch.randn(4, 4, 1, 1)
        for name in ("query", "key", "value", "proj_attn")
    }
    new = vae_state({**old, "decoder.conv_in.weight": torch.randn(2, 2, 3, 3)})
    at = "decoder.mid_block.attentions.0"
    assert set(new) == {f"{at}.{name}.weight" for name in ("to_q", "to_k", "to_v", "to_out.0")} | {
        "decoder.conv_in.weight"
    }
    assert new[f"{at}.to_q.weight"].shape == (4, 4)
    assert new["decoder.conv_in.weight"].shape == (2, 2, 3, 3)
    assert vae_state(new).keys() == new.keys()


def test_the_encoder_is_taken_out_of_a_whole_whisper() -> None:
    value = torch.zeros(1)
    for prefix in ("model.encoder.", "encoder.", ""):
        state = {f"{prefix}conv1.bias": value, **({"model.decoder.x": value} if prefix else {})}
        assert list(whisper_state(state)) == ["conv1.bias"]
    assert list(tiny_decoder_state({"decoder.layers.0.bias": value, "encoder.layers.0.bias": value})) == [
        "layers.0.bias"
    ]


def test_a_download_is_found(tmp_path: Path, tiny_weights: ModelWeights) -> None:
    for folder in ("musetalkV15", "sd-vae", "whisper", "taesd"):
        (tmp_path / folder).mkdir()
    torch.save(dict(tiny_weights.unet), tmp_path / "musetalkV15" / "unet.pth")
    torch.save(dict(tiny_weights.vae), tmp_path / "sd-vae" / "diffusion_pytorch_model.bin")
    whisper = {f"model.encoder.{key}": value for key, value in tiny_weights.whisper.items()}
    torch.save({**whisper, "proj_out.weight": torch.zeros(1)}, tmp_path / "whisper" / "pytorch_model.bin")
    loaded = load_weights(tmp_path)
    assert loaded.tiny_decoder is None
    assert loaded.whisper.keys() == tiny_weights.whisper.keys()
    assert torch.equal(loaded.unet["conv_in.weight"], tiny_weights.unet["conv_in.weight"])
    with pytest.raises(WeightsError, match="taesd"):
        load_weights(tmp_path, tiny=True)


def test_a_weight_is_taken_once() -> None:
    weights = Weights({"a.weight": torch.ones(2, dtype=torch.float16)})
    assert weights.at("a").take("weight").dtype == torch.float32
    with pytest.raises(WeightsError, match="twice"):
        weights.take("a.weight")
    weights.finish()
