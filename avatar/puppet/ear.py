"""The trained ear: 16 kHz speech in any cut becomes mouth parameters, one `Mouth` for each 40 ms.

Log-mel frames go through two convolutions and a recurrent layer whose state is carried from picture to picture; what
that tells of lips becomes a pose of the puppet's mouth. The network (training/mouth) is about 0.2 million numbers and
is computed with numpy, in blocks of one picture whatever the cut, so that equal audio gives equal bits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from avatar.frames import SPEECH_RATE_HZ, TICK_SPEECH_SAMPLES, Pcm
from avatar.puppet.mouth import REST, Mouth, Steps, share
from avatar.puppet.spectrum import HOP, MELS, WINDOW, log_mel, mel_filters
from avatar.puppet.weights import KERNEL_1, KERNEL_2, Weights, load_weights

Floats = npt.NDArray[np.float32]

LOOKAHEAD_MS = 80
LATE_BLOCKS = LOOKAHEAD_MS * SPEECH_RATE_HZ // 1000 // TICK_SPEECH_SAMPLES
"""The network tells of a picture this many blocks after the picture's own."""
FRAMES = TICK_SPEECH_SAMPLES // HOP
STEPS = FRAMES // 2
"""Frames, and steps of the recurrent layer, of one block."""
SILENCE = np.float32(-2.0)
"""Value of a frame of digital silence."""

OPENING, WIDTH, ROUNDING, CLOSURE, TEETH, TONGUE, SPEECH, EFFORT = range(8)
_CLASSES = [CLOSURE, TEETH, SPEECH]

MEET_FROM, MEET_BY = 0.23, 0.15
"""Lips meet where the opening dips from one to the other, if the class of closures does not speak against it:"""
DOUBT_FROM, DOUBT_BY = 0.1, 0.3
"""That class alone would shut the mouth for too long: it is as wide as doubts about the time are."""
NO_BITE, BITE = 0.45, 0.3
"""The lower lip rises to the teeth as the opening comes down from one to the other."""
BOLDNESS = 1.15
"""A network that is not sure opens the mouth less than speakers do: so much bolder, it opens it as widely as they."""
SILENT = 8
"""Samples no larger than this are silence that nobody hears (-72 dBFS)."""
RESTING_BLOCKS = LATE_BLOCKS + 2
"""Where there is nothing to hear from one picture before until as far as the ear hears ahead, the mouth rests."""
LEAST_OPENING = 0.03
"""Less than this is no opening: the mouth of a pause is at rest, not nearly so."""
BITE_GAP, MOST_FOR_BITE = 0.08, 0.25
"""The gap through which teeth are seen at /f v/, in openings; and by how much more a jaw may drop for a lip at them."""
STEP_JAW, STEP_SPREAD, STEP_LIPS, STEP_EFFORT = 0.48, 0.5, 0.5, 0.1
"""The most that a parameter moves from one picture to the next, so that nothing pops: 2% of the picture's height."""

eased = Steps(STEP_JAW, STEP_SPREAD, STEP_LIPS, STEP_EFFORT).towards

_FILTERS = mel_filters()


class Network:
    """The network's arithmetic and the state that it carries. One per segment."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._past = np.zeros(WINDOW - HOP, np.float32)
        self._frames: Floats = np.full((KERNEL_1 - 2 + FRAMES, MELS), SILENCE, np.float32)
        self._channels: Floats = np.zeros((KERNEL_2 - 1 + STEPS, weights.channels), np.float32)
        # Two rows, the second idle: OpenBLAS spreads a lone row over all cores, which costs more than it saves.
        self._state: Floats = np.zeros((2, weights.hidden), np.float32)

    def hear(self, block: Pcm) -> Floats:
        """The next 40 ms, int16 [640]. Returns what the network tells, float32 [8], classes as probabilities."""
        w, hidden = self._weights, self._weights.hidden
        samples = np.concatenate([self._past, block.astype(np.float32)])
        self._past = samples[-(WINDOW - HOP) :]
        self._frames[:-FRAMES] = self._frames[FRAMES:]
        self._frames[-FRAMES:] = log_mel(samples, _FILTERS)
        seen = np.stack([self._frames[2 * k : 2 * k + KERNEL_1].reshape(-1) for k in range(STEPS)])
        self._channels[:-STEPS] = self._channels[STEPS:]
        self._channels[-STEPS:] = np.maximum(seen @ w.first_w + w.first_b, 0.0)
        seen = np.stack([self._channels[k : k + KERNEL_2].reshape(-1) for k in range(STEPS)])
        inputs = np.maximum(seen @ w.second_w + w.second_b, 0.0) @ w.input_w + w.input_b
        for step in range(STEPS):
            carried = (self._state @ w.hidden_w)[0] + w.hidden_b
            gates = _sigmoid(inputs[step, : 2 * hidden] + carried[: 2 * hidden])
            new = np.tanh(inputs[step, 2 * hidden :] + gates[:hidden] * carried[2 * hidden :])
            self._state[0] = new + gates[hidden:] * (self._state[0] - new)
        told = np.maximum(self._state @ w.dense_w + w.dense_b, 0.0) @ w.head_w + w.head_b
        out: Floats = told[0].copy()
        out[_CLASSES] = _sigmoid(out[_CLASSES])
        return out


class TrainedTracker:
    """A `MouthTracker` that was trained. One per segment; it keeps some 40 ms of audio and 1 kB of state."""

    def __init__(self, weights: Weights | None = None) -> None:
        self._network = Network(load_weights() if weights is None else weights)
        self._rest: Pcm = np.zeros(0, np.int16)
        self._blocks = 0
        self._silent_blocks = RESTING_BLOCKS
        self._last = REST

    @property
    def lookahead_ms(self) -> int:
        return LOOKAHEAD_MS

    def push(self, pcm: Pcm) -> list[Mouth]:
        audio = np.concatenate([self._rest, pcm])
        size = TICK_SPEECH_SAMPLES
        mouths: list[Mouth] = []
        for start in range(0, len(audio) - size + 1, size):
            block = audio[start : start + size]
            told = self._network.hear(block)
            self._blocks += 1
            self._silent_blocks = 0 if np.any(np.abs(block.astype(np.int32)) > SILENT) else self._silent_blocks + 1
            if self._blocks > LATE_BLOCKS:
                resting = self._silent_blocks >= RESTING_BLOCKS
                self._last = eased(self._last, REST if resting else posed(told))
                mouths.append(self._last)
        self._rest = audio[len(audio) // size * size :].copy()
        return mouths


def posed(told: Floats) -> Mouth:
    """What the network tells, as the puppet's mouth does it."""
    opening, width, rounding, closure, teeth, tongue, speech, effort = (float(value) for value in told)
    present = share(speech, 0.1, 0.5)
    dip = share(-opening, -MEET_FROM, -MEET_BY)
    shut = dip * share(closure, DOUBT_FROM, DOUBT_BY) * share(-teeth, -0.7, -0.4)
    near_teeth = share(-opening, -NO_BITE, -BITE)
    opening = BOLDNESS * present * max(0.0, opening - LEAST_OPENING)
    ring = present * min(1.0, max(0.0, rounding))
    bite = present * near_teeth * share(teeth, 0.2, 0.6) * (1.0 - shut)
    # The jaw that parts the lips so far, given what a ring and a lip at the teeth take away (lips.py, `outline`).
    jaw = max(0.0, opening - BITE_GAP * bite) / (1.0 - 0.75 * bite) / (1.0 - 0.28 * ring)
    return Mouth(
        jaw=min(1.0, jaw, opening + MOST_FOR_BITE),
        spread=present * min(1.0, max(-1.0, width)),
        rounding=ring,
        closure=present * shut,
        lip_teeth=bite,
        tongue=present * min(1.0, max(0.0, tongue)) * (1.0 - shut),
        effort=min(1.0, max(0.0, effort)) if present else 0.0,
    )


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0))), np.float32)
