"""The network as torch trains it: log-mel frames to mouth targets, causal throughout, so that state can be carried.

frames (100 Hz) → convolution, stride 2 → convolution → GRU (50 Hz) → two dense layers. Step j has heard frames up to
2 * j + 1, that is 20 * (j + 1) ms of sound, and tells of the picture whose middle lies `LOOKAHEAD_MS` + 20 ms before.
avatar/puppet/ear.py computes the same with numpy.
"""

from __future__ import annotations

import torch
from torch import nn

from avatar.puppet.spectrum import MELS
from training.mouth.data import OUTPUTS, TARGET_MS

LOOKAHEAD_MS = 80
BEHIND = (LOOKAHEAD_MS + 20) // TARGET_MS - 1
"""Target m is told by step m + BEHIND."""
CHANNELS = 96
HIDDEN = 176
DENSE = 64
KERNEL_1, KERNEL_2 = 5, 3
DROPPED = 0.1


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(MELS, CHANNELS, KERNEL_1, stride=2)
        self.second = nn.Conv1d(CHANNELS, CHANNELS, KERNEL_2)
        self.gru = nn.GRU(CHANNELS, HIDDEN, batch_first=True)
        self.dense = nn.Linear(HIDDEN, DENSE)
        self.head = nn.Linear(DENSE, len(OUTPUTS))
        self.dropout = nn.Dropout(DROPPED)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """float32 [batch, 2 * n, MELS] → [batch, n, len(OUTPUTS)]; the last five outputs are logits.

        What comes before the first frame is silence, as it is for a new segment.
        """
        x = frames.transpose(1, 2)
        x = nn.functional.pad(x, (KERNEL_1 - 2, 0), value=SILENCE)
        x = torch.relu(self.first(x))
        x = torch.relu(self.second(nn.functional.pad(x, (KERNEL_2 - 1, 0))))
        x, _ = self.gru(self.dropout(x.transpose(1, 2)))
        told: torch.Tensor = self.head(torch.relu(self.dense(self.dropout(x))))
        return told


SILENCE = -2.0
"""What `log_mel` gives for digital silence."""
