"""Weight files: read without unpickling, under old and new names, with an error that says what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from avatar.musetalk.config import TINY
from avatar.musetalk.weights import (
    ModelWeights,
    Weights,
    WeightsError,
    load_weights,
    missing_weights,
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
        "absent.pth": "mien download musetalk",
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


@pytest.fixture
def downloaded(tmp_path: Path, tiny_weights: ModelWeights) -> Path:
    """A folder as MuseTalk's own download leaves it."""
    for folder in ("musetalkV15", "sd-vae", "whisper", "taesd"):
        (tmp_path / folder).mkdir()
    torch.save(dict(tiny_weights.unet), tmp_path / "musetalkV15" / "unet.pth")
    torch.save(dict(tiny_weights.vae), tmp_path / "sd-vae" / "diffusion_pytorch_model.bin")
    whisper = {f"model.encoder.{key}": value for key, value in tiny_weights.whisper.items()}
    torch.save({**whisper, "proj_out.weight": torch.zeros(1)}, tmp_path / "whisper" / "pytorch_model.bin")
    return tmp_path


def test_a_download_is_found(downloaded: Path, tiny_weights: ModelWeights) -> None:
    assert missing_weights(downloaded) == []
    loaded = load_weights(downloaded, config=TINY)
    assert loaded.tiny_decoder is None
    assert loaded.whisper.keys() == tiny_weights.whisper.keys()
    assert torch.equal(loaded.unet["conv_in.weight"], tiny_weights.unet["conv_in.weight"])
    assert missing_weights(downloaded, tiny=True) == ["taesd/diffusion_pytorch_model.bin"]
    with pytest.raises(WeightsError, match="taesd"):
        load_weights(downloaded, tiny=True)
    (downloaded / "sd-vae" / "diffusion_pytorch_model.bin").unlink()
    (downloaded / "sd-vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert missing_weights(downloaded) == ["sd-vae/diffusion_pytorch_model.bin"]


def test_pytorch_files_are_converted_once(downloaded: Path, tiny_weights: ModelWeights) -> None:
    load_weights(downloaded)
    source, cache = downloaded / "musetalkV15" / "unet.pth", downloaded / "musetalkV15" / "unet.safetensors"
    assert sorted(file.name for file in cache.parent.iterdir()) == ["unet.pth", "unet.safetensors"]
    made = cache.stat().st_mtime_ns
    about = source.stat()
    # The same length and time, but nothing that could be read: what is loaded comes from the safetensors.
    source.write_bytes(bytes(about.st_size))
    os.utime(source, ns=(about.st_atime_ns, about.st_mtime_ns))
    again = load_weights(downloaded)
    assert torch.equal(again.unet["conv_in.weight"], tiny_weights.unet["conv_in.weight"])
    assert cache.stat().st_mtime_ns == made
    # Another file under the same name is converted anew.
    torch.save({**tiny_weights.unet, "conv_in.bias": torch.ones(16)}, source)
    assert load_weights(downloaded).unet["conv_in.bias"].sum() == 16
    assert cache.stat().st_mtime_ns > made
    # A conversion that was damaged is made again; without its source it is an error.
    cache.write_bytes(cache.read_bytes()[:-100])
    assert load_weights(downloaded).unet["conv_in.bias"].sum() == 16
    source.unlink()
    assert load_weights(downloaded).unet["conv_in.bias"].sum() == 16
    cache.write_bytes(cache.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"unet\.safetensors cannot be read"):
        load_weights(downloaded)


def test_ones_own_safetensors_wins_over_the_file_beside_it(downloaded: Path, tiny_weights: ModelWeights) -> None:
    own = {**tiny_weights.unet, "conv_in.bias": torch.full((16,), 2.0)}
    save_file(own, downloaded / "musetalkV15" / "unet.safetensors")
    assert load_weights(downloaded).unet["conv_in.bias"].sum() == 32


def test_weights_of_another_model_are_refused_by_name(downloaded: Path, tiny_weights: ModelWeights) -> None:
    file = downloaded / "musetalkV15" / "unet.pth"
    for change, said in (
        ({"conv_in.bias": torch.ones(17)}, r"unet\.pth is of another model: conv_in\.bias is .*\(17,\), not .*\(16,\)"),
        ({"conv_in.bias": torch.ones(16, dtype=torch.int64)}, "int64"),
        ({"conv_in.extra": torch.ones(1)}, r"conv_in\.extra, which the model does not know"),
    ):
        torch.save({**tiny_weights.unet, **change}, file)
        with pytest.raises(WeightsError, match=said):
            load_weights(downloaded, config=TINY)
    torch.save({key: value for key, value in tiny_weights.unet.items() if key != "conv_out.bias"}, file)
    with pytest.raises(WeightsError, match=r"has no conv_out\.bias \(1 missing"):
        load_weights(downloaded, config=TINY)


def test_a_weight_is_taken_once() -> None:
    weights = Weights({"a.weight": torch.ones(2, dtype=torch.float16)})
    assert weights.at("a").take("weight").dtype == torch.float32
    with pytest.raises(WeightsError, match="twice"):
        weights.take("a.weight")
    weights.finish()
