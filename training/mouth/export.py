"""A trained `Network` to the file that the puppet loads, and back to numbers that must agree with torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from avatar.puppet.weights import load_weights
from training.mouth.network import Network


def export(network: Network, path: Path) -> None:
    """Write float16 weights, laid out for row vectors (avatar/puppet/weights.py)."""
    state = {name: value.detach().numpy() for name, value in network.state_dict().items()}

    def kernel(name: str) -> npt.NDArray[np.float32]:
        """[out, in, taps] → [taps * in, out], oldest frame first."""
        weight = state[name]
        return np.asarray(weight.transpose(2, 1, 0).reshape(-1, weight.shape[0]), np.float32)

    arrays = {
        "first_w": kernel("first.weight"),
        "first_b": state["first.bias"],
        "second_w": kernel("second.weight"),
        "second_b": state["second.bias"],
        "input_w": state["gru.weight_ih_l0"].T,
        "input_b": state["gru.bias_ih_l0"],
        "hidden_w": state["gru.weight_hh_l0"].T,
        "hidden_b": state["gru.bias_hh_l0"],
        "dense_w": state["dense.weight"].T,
        "dense_b": state["dense.bias"],
        "head_w": state["head.weight"].T,
        "head_b": state["head.bias"],
    }
    np.savez_compressed(path, **{name: array.astype(np.float16) for name, array in arrays.items()})


def restored(path: Path) -> Network:
    """The network of a file that `export` wrote, as far as float16 kept it.

    Raises:
        WeightsError: the file holds no such weights.
    """
    weights = load_weights(path)
    network = Network()
    state = dict(network.state_dict())

    def kernel(array: npt.NDArray[np.float32], name: str) -> npt.NDArray[np.float32]:
        """[taps * in, out] → [out, in, taps]."""
        out, inputs, taps = state[name].shape
        return array.reshape(taps, inputs, out).transpose(2, 1, 0)

    found = {
        "first.weight": kernel(weights.first_w, "first.weight"),
        "first.bias": weights.first_b,
        "second.weight": kernel(weights.second_w, "second.weight"),
        "second.bias": weights.second_b,
        "gru.weight_ih_l0": weights.input_w.T,
        "gru.bias_ih_l0": weights.input_b,
        "gru.weight_hh_l0": weights.hidden_w.T,
        "gru.bias_hh_l0": weights.hidden_b,
        "dense.weight": weights.dense_w.T,
        "dense.bias": weights.dense_b,
        "head.weight": weights.head_w.T,
        "head.bias": weights.head_b,
    }
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in found.items()})
    return network
