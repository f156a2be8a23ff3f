"""Speech features: equal to Whisper's offline, and for a stream a function of the audio alone, never of its arrival."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avatar.frames import Pcm
from avatar.musetalk import windows
from avatar.musetalk.config import WhisperConfig
from avatar.musetalk.demo import synthetic_speech
from avatar.musetalk.features import Context, FeaturesError, FeatureStream, compute, drain, whole_utterance
from avatar.musetalk.fidelity import snr_db
from avatar.musetalk.whisper import Stretch, WhisperEncoder, frame_pieces

pytestmark = pytest.mark.unit


def streamed(ear: WhisperEncoder, pcm: Pcm, context: Context, pieces: list[int] | None = None) -> Tensor:
    """All features of ``pcm`` pushed in pieces of these lengths (and the rest), taken as soon as they are ready."""
    stream = FeatureStream(ear, context)
    out, at = [], 0
    for length in [*(pieces or []), len(pcm)]:
        stream.push(pcm[at : at + length])
        at += length
        out += [rows for _, rows in drain(stream)]
    stream.end()
    out += [rows for _, rows in drain(stream)]
    return torch.cat(out)


def test_offline_features_are_whispers() -> None:
    """The stock front end and encoder, at whisper-tiny's true size (8.2 M parameters) with random weights."""
    transformers = pytest.importorskip("transformers", reason="the reference encoder comes from transformers")
    from transformers.models.whisper.modeling_whisper import WhisperEncoder as Stock

    torch.manual_seed(0)
    stock = Stock(
        transformers.WhisperConfig(d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536)
    ).eval()
    own = WhisperEncoder(WhisperConfig())
    own.load_state_dict(stock.state_dict(), strict=True)
    assert sum(value.numel() for value in own.parameters()) == 8_208_384
    pcm = synthetic_speech(2.37)
    heard = transformers.WhisperFeatureExtractor()(
        pcm.astype(np.float32) / 32768, sampling_rate=16_000, return_tensors="pt"
    ).input_features
    with torch.inference_mode():
        states = torch.stack(stock(heard, output_hidden_states=True).hidden_states, dim=2)[0]
    kept = torch.nn.functional.pad(states[: len(pcm) // 320], (0, 0, 0, 0, 4, 12))
    expected = torch.stack([kept[2 * n : 2 * n + 10].reshape(50, 384) for n in range(len(pcm) // 640)])
    got = whole_utterance(own.eval(), pcm)
    assert got.shape == expected.shape
    assert float((got - expected).abs().max()) < 1e-5


@pytest.mark.parametrize("context", list(Context))
@settings(max_examples=4, deadline=None)
@given(pieces=st.lists(st.integers(1, 6000), max_size=12))
def test_any_chunking_gives_the_same_bits(ear: WhisperEncoder, context: Context, pieces: list[int]) -> None:
    pcm = synthetic_speech(0.7)
    assert torch.equal(streamed(ear, pcm, context, pieces), streamed(ear, pcm, context))


@pytest.mark.parametrize("context", list(Context))
def test_chunked_equals_one_shot_across_the_end_of_a_span(ear: WhisperEncoder, context: Context) -> None:
    pcm = synthetic_speech(30.7)
    stream = FeatureStream(ear, context)
    # Only the blocks around the seam at 30 s are encoded here; the ones before are skipped over.
    whole = FeatureStream(ear, context)
    whole.push(pcm)
    whole.end()
    last: dict[str, list[Tensor]] = {"chunked": [], "whole": []}
    for at in range(0, len(pcm), 1234):
        stream.push(pcm[at : at + 1234])
        while stream.ready:
            last["chunked"] += _near_seam(ear, stream)
    stream.end()
    while stream.ready:
        last["chunked"] += _near_seam(ear, stream)
    while whole.ready:
        last["whole"] += _near_seam(ear, whole)
    assert len(last["whole"]) >= 4
    assert all(torch.equal(one, two) for one, two in zip(last["chunked"], last["whole"], strict=True))


def _near_seam(ear: WhisperEncoder, stream: FeatureStream) -> list[Tensor]:
    if stream.next_block.stop < 745:
        stream.work()
        return []
    return [rows for _, rows in compute([stream])]


def test_at_the_end_of_a_span_the_stream_hears_the_whole_span_as_the_original_does(ear: WhisperEncoder) -> None:
    """Pictures whose tokens lie in a complete span equal the offline ones: nothing of the future is missing there."""
    pcm = synthetic_speech(31.0)
    offline = whole_utterance(ear, pcm)
    stream = FeatureStream(ear)
    stream.push(pcm)
    seam = []
    while stream.ready:
        block = stream.next_block
        if block.stop < 752:
            stream.work()
            continue
        seam.append((block, compute([stream])[0][1]))
        break
    block, rows = seam[0]
    states = rows.view(block.stop - block.start, 10, -1, rows.shape[-1])
    expected = offline[block.start : block.stop].view(states.shape)
    first_span = [
        (n - block.start, token)
        for n in range(block.start, block.stop)
        for token in range(10)
        if 2 * n - 4 + token < windows.SPAN_TOKENS
    ]
    assert len(first_span) > 4
    for n, token in first_span:
        torch.testing.assert_close(states[n, token], expected[n, token], atol=2e-5, rtol=0)


@pytest.mark.parametrize("context", list(Context))
def test_audio_past_the_block_changes_nothing(ear: WhisperEncoder, context: Context) -> None:
    """Also not by its loudness: the mel floor follows the loudest frame heard so far."""
    pcm = synthetic_speech(1.5)
    block = windows.block_of(12)
    other = pcm.copy()
    other[block.audio_stop :] = (np.random.default_rng(0).normal(0, 9000, len(pcm) - block.audio_stop)).astype(np.int16)
    assert torch.equal(streamed(ear, pcm, context)[: block.stop], streamed(ear, other, context)[: block.stop])
    changed = other.copy()
    changed[block.audio_stop - 1] += 500
    assert not torch.equal(
        streamed(ear, changed, context)[block.start : block.stop], streamed(ear, pcm, context)[block.start : block.stop]
    )


def test_the_first_hidden_state_settles_to_the_offline_one(ear: WhisperEncoder) -> None:
    """Once the loudest frame of all has been heard, the embeddings are the offline ones within 1e-5, in every
    context."""
    pcm = synthetic_speech(3.0)
    pcm[4000:6000] = np.clip(pcm[4000:6000].astype(np.int32) * 3, -32768, 32767).astype(np.int16)
    offline = whole_utterance(ear, pcm)
    states = (offline.shape[0], 10, ear.config.layers + 1, ear.config.width)
    for context in Context:
        got = streamed(ear, pcm, context)[: len(offline)]
        gap = (got.view(states) - offline.view(states)).abs().amax(dim=(1, 3))
        assert float(gap[16:, 0].max()) < 1e-5, context
        assert float(gap[16:-4, 4].max()) > 1e-3, "later layers attend to the future, which a stream does not have"


def test_silence_to_the_end_of_the_span_is_closest_to_the_original(ear: WhisperEncoder) -> None:
    pcm = synthetic_speech(3.0)
    offline = whole_utterance(ear, pcm)
    off = {context: snr_db(streamed(ear, pcm, context)[: len(offline)], offline) for context in Context}
    assert off[Context.PADDED] > off[Context.PREFIX] + 3
    assert off[Context.PREFIX] >= off[Context.SLIDING] - 3


def test_an_ended_segment_has_zeros_past_its_end_as_in_the_original(ear: WhisperEncoder) -> None:
    pcm = synthetic_speech(0.31)  # 15 whole tokens, 8 pictures of which the last is begun
    rows = streamed(ear, pcm, Context.PREFIX)
    assert len(rows) == 8
    states = rows.view(8, 10, -1, ear.config.width)
    for n in range(8):
        for token in range(10):
            outside = not 0 <= 2 * n - 4 + token < 15
            assert bool((states[n, token] == 0).all()) == outside


def test_several_streams_share_a_call(ear: WhisperEncoder) -> None:
    assert _worst_together(ear) > 100


@pytest.mark.gpu
def test_batch_composition_hardly_matters_on_a_card(cuda: str) -> None:
    from avatar.musetalk.synthetic import fill_whisper

    encoder = WhisperEncoder(WhisperConfig()).to(cuda).eval()
    encoder.load_state_dict(fill_whisper(encoder, torch.Generator(cuda).manual_seed(1)))
    assert _worst_together(encoder) >= 60


def _worst_together(encoder: WhisperEncoder) -> float:
    """How near (dB) blocks computed in one call for three streams of unlike length are to each computed alone."""
    speech = [synthetic_speech(0.4 + 0.9 * k, seed=k) for k in range(3)]
    worst = float("inf")
    for context in Context:
        streams = [FeatureStream(encoder, context) for _ in speech]
        for stream, pcm in zip(streams, speech, strict=True):
            stream.push(pcm)
            while stream.next_block.index < windows.block_of(len(pcm) // 640 - 1).index - 2:
                stream.work()
        for (block, rows), pcm in zip(compute(streams), speech, strict=True):
            alone = FeatureStream(encoder, context)
            alone.push(pcm)
            while alone.next_block != block:
                alone.work()
            worst = min(worst, snr_db(rows, compute([alone])[0][1]))
    return worst


def test_misuse_is_told(ear: WhisperEncoder) -> None:
    stream = FeatureStream(ear)
    with pytest.raises(FeaturesError, match="2120 samples, 0 are there"):
        stream.work()
    stream.end()
    assert not stream.ready, "a segment without audio has no pictures"
    with pytest.raises(FeaturesError, match="after the segment's end"):
        stream.push(np.zeros(10, dtype=np.int16))


def test_mel_frames_do_not_depend_on_how_many_are_asked_for(ear: WhisperEncoder) -> None:
    samples = (synthetic_speech(1.0) / 32768).astype(np.float32)
    whole = frame_pieces(samples, 0, 98)
    assert np.array_equal(whole[40:60], frame_pieces(samples, 40, 60))
    mels = ear.log_mel(torch.from_numpy(np.ascontiguousarray(whole)))
    stretch = Stretch(10, 20, mels, mels.max())
    assert stretch.heard(23).shape == (23, ear.config.mels)
    assert torch.equal(Stretch(0, 20, mels, mels.max()).heard(43)[20:], stretch.heard(23))
