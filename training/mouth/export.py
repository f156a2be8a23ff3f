"""A trained `Network` to the file that the puppet loads, and back to numbers that must agree with torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

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
