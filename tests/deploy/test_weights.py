"""Tests of fitting saved weights to a network, and of their digest."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nas.deploy.weights import load_fitting_weights, weights_digest
from nas.errors import NasError
from nas.networks.build import build_network
from tests.deploy.digits_network import DIGITS

CLASSIFIER = ("5.1.weight", "5.1.bias")
WEIGHTS = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0], [4.0]])}


def test_all_weights_of_the_same_network_fit() -> None:
    """Nothing is left fresh."""
    network, weights = build_network(DIGITS, seed=0), build_network(DIGITS, seed=1).state_dict()
    assert load_fitting_weights(network, DIGITS, weights) == []
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("new_classifier", [False, True])
def test_a_classifier_is_left_fresh(new_classifier: bool) -> None:
    """One for other classes always, one for as many only where that is asked for."""
    blocks = (*DIGITS.blocks[:-1], replace(DIGITS.blocks[-1], out_channels=7))
    source = DIGITS if new_classifier else replace(DIGITS, classes=7, blocks=blocks)
    network, weights = build_network(DIGITS, seed=0), build_network(source, seed=1).state_dict()
    fresh = build_network(DIGITS, seed=0).state_dict()
    assert set(load_fitting_weights(network, DIGITS, weights, new_classifier=new_classifier)) == set(CLASSIFIER)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, fresh[name] if name in CLASSIFIER else weights[name]), name


@pytest.mark.parametrize("name", ["0.0.weight", CLASSIFIER[0]])
def test_a_missing_tensor_is_refused(name: str) -> None:
    """The classifier's, too: it may have another shape, but must be there."""
    weights = build_network(DIGITS).state_dict()
    del weights[name]
    with pytest.raises(NasError, match=rf"but 1 tensors differ, such as {name}\. Give the weights of this network"):
        load_fitting_weights(build_network(DIGITS), DIGITS, weights)


def test_equal_weights_have_one_digest() -> None:
    """However they lie in memory."""
    strided = {**WEIGHTS, "a": torch.tensor([1.0, 9.0, 2.0, 9.0])[::2]}
    assert weights_digest(strided) == weights_digest(WEIGHTS)


@pytest.mark.parametrize(
    "changed",
    [
        {**WEIGHTS, "a": torch.tensor([2.0, 1.0])},
        {**WEIGHTS, "a": torch.tensor([-1.0, 2.0])},
        {**WEIGHTS, "b": torch.tensor([3.0, 4.0])},
        {"a": WEIGHTS["a"], "c": WEIGHTS["b"]},
        {**WEIGHTS, "a": WEIGHTS["a"].double()},
        dict(reversed(WEIGHTS.items())),
    ],
    ids=["order of values", "sign", "shape", "name", "type", "order of tensors"],
)
def test_other_weights_have_another_digest(changed: dict[str, Tensor]) -> None:
    """Though the sum of their magnitudes is the same."""
    assert sum(tensor.double().abs().sum() for tensor in changed.values()) == 10
    assert weights_digest(changed) != weights_digest(WEIGHTS)
