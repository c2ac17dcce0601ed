"""Train a network in torch with the rounding that its int8 model will have in ONNX Runtime.

Which tensors ONNX Runtime holds in int8 is read off the graph that its quantiser makes. The rounding is torchao's
(arXiv:1712.05877, section 3): the forward pass rounds to the 256 levels of a tensor; the backward pass lets gradients
through unchanged, but for values beyond the tensor's range, which get none.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, numpy_helper
from torch import Tensor, nn

from nas.deploy.export.formats.quiet import quiet
from nas.deploy.quantisation.onnx import Ranges, limits
from nas.deploy.quantisation.onnx_network import OnnxNetwork, with_tensors
from nas.errors import NasError

# The share by which a range moves towards that of each batch.
_RANGE_STEP = 0.01

_LEVELS = 255
_LARGEST_WEIGHT = 127


@dataclass(frozen=True)
class FakeQuantised:
    """The tensors that an int8 model rounds, by their names in the float32 model that it was made of.

    `activations` names the activation whose range each is rounded to, most often its own. `weights` are rounded
    symmetrically, by channel along an axis; `biases` have 32 bits; both are trained. `constants` has the rounded values
    of all others, such as the scales of a normalisation that was not folded into a convolution.
    """

    activations: Mapping[str, str]
    weights: Mapping[str, int]
    biases: frozenset[str]
    constants: Mapping[str, Tensor]


def check_torchao() -> None:
    """Raise NasError where torchao is not installed."""
    if importlib.util.find_spec("torchao") is None:
        raise NasError("quantisation-aware training needs torchao: pip install 'hwnas[qat]'")


def fake_quantised(quantised: ModelProto) -> FakeQuantised:
    """The tensors that ONNX Runtime's quantiser rounds, read off a model that it has made."""
    tensors = {tensor.name: tensor for tensor in quantised.graph.initializer}
    activations: dict[str, str] = {}
    weights: dict[str, int] = {}
    biases: set[str] = set()
    constants: dict[str, Tensor] = {}
    for node in quantised.graph.node:
        if node.op_type == "QuantizeLinear":
            # A tensor that is only moved has the range, and so the scale, of the tensor that it came from.
            activations[node.input[0].removesuffix("_QuantizeLinear_Input")] = node.input[1].removesuffix("_scale")
        elif node.op_type == "DequantizeLinear" and node.input[0] in tensors:
            name = node.input[0].removesuffix("_quantized")
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), None)
            if tensors[node.input[0]].data_type == onnx.TensorProto.INT32:
                biases.add(name)
            elif axis is not None:
                weights[name] = axis
            else:
                value, scale, zero = (numpy_helper.to_array(tensors[one]).astype(np.float32) for one in node.input)
                constants[name] = torch.from_numpy((value - zero) * scale)
    return FakeQuantised(activations, weights, frozenset(biases), constants)


class FakeQuantisedNetwork(nn.Module):
    """The model `plain` (from `prepared`) as a module to train, with weights and activations rounded as in int8."""

    def __init__(self, plain: ModelProto, places: FakeQuantised, ranges: Ranges) -> None:
        super().__init__()
        owners = sorted(set(places.activations.values()))
        self._fake = {name: _fake_activation(*ranges[name]) for name in owners}
        bounds = limits(plain)
        after: dict[str, Callable[[Tensor], Tensor]] = {
            name: self._fake[name] if name == owner else partial(_rounded_as, self._fake[owner])
            for name, owner in places.activations.items()
        }
        for name in after.keys() & bounds.keys():
            after[name] = partial(_rounded_within, after[name], *bounds[name])
        weights = {name: _fake_weight(axis) for name, axis in places.weights.items()}
        self.fake = nn.ModuleList([*self._fake.values(), *weights.values()])
        biases = {
            node.input[2]: partial(_rounded_bias, self._fake[places.activations[node.input[0]]], weights[node.input[1]])
            for node in plain.graph.node
            if len(node.input) > 2 and node.input[2] in places.biases and node.input[1] in weights
        }
        # Weights come first: the scales of biases depend on theirs.
        trained = [*places.weights, *places.biases]
        plain = with_tensors(plain, places.constants)
        self.graph = OnnxNetwork(plain, trained=trained, after={**after, **weights, **biases})

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) to logits (n, classes)."""
        logits: Tensor = self.graph(x)
        return logits

    def fix_ranges(self) -> None:
        """Keep the ranges of activations as they are from now on."""
        for fake in self._fake.values():
            fake.disable_observer()

    def tensors(self) -> dict[str, Tensor]:
        """The trained weights and biases before rounding, by their names in the graph."""
        return self.graph.tensors()

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The lowest and the highest level of each activation that has a range of its own."""
        ranges = {}
        for name, fake in self._fake.items():
            scale, zero = float(fake.scale), int(fake.zero_point)
            ranges[name] = (-zero * scale, (_LEVELS - zero) * scale)
        return ranges


def _torchao() -> Any:
    with quiet():  # torchao prints which of its GPU kernels it could not load
        return importlib.import_module("torchao.quantization.pt2e")


def _fake_activation(low: float, high: float) -> Any:
    """Torchao's rounding of an activation to uint8, which starts with this range."""
    torchao = _torchao()
    fake = torchao.FusedMovingAvgObsFakeQuantize(
        torchao.MovingAverageMinMaxObserver,
        quant_min=0,
        quant_max=_LEVELS,
        dtype=torch.quint8,
        qscheme=torch.per_tensor_affine,
        averaging_constant=_RANGE_STEP,
    )
    fake.activation_post_process.min_val.fill_(low)
    fake.activation_post_process.max_val.fill_(high)
    scale, zero_point = fake.calculate_qparams()
    fake.scale.copy_(scale)
    fake.zero_point.copy_(zero_point)
    return fake


def _fake_weight(axis: int) -> Any:
    """Torchao's rounding of a weight to int8, each channel by its own largest value."""
    torchao = _torchao()
    # Not the fused class that activations use: its symmetric range has one level more, and channels of a single sign
    # get another range.
    return torchao.FakeQuantize(
        torchao.MovingAveragePerChannelMinMaxObserver,
        quant_min=-_LARGEST_WEIGHT,
        quant_max=_LARGEST_WEIGHT,
        dtype=torch.qint8,
        qscheme=torch.per_channel_symmetric,
        ch_axis=axis,
        averaging_constant=1.0,  # the range is always that of the current weight
    )


def _rounded_as(fake: Any, x: Tensor) -> Tensor:
    """`x` rounded to the levels of another activation."""
    rounded: Tensor = torch.fake_quantize_per_tensor_affine(x, fake.scale, fake.zero_point, 0, _LEVELS)
    return rounded


def _rounded_within(rounded: Callable[[Tensor], Tensor], low: float, high: float, x: Tensor) -> Tensor:
    """`x` rounded by a range that ignores values beyond these bounds."""
    return rounded(x.clamp(low, high))


def _rounded_bias(activation: Any, weight: Any, x: Tensor) -> Tensor:
    """A bias rounded to steps of (scale of the layer's input) · (scale of its weight), the unit of the layer's sums.

    The steps are small, but they matter: 24 % of the logits of a small network for digits were a level or two off
    without this rounding, and 0.1 % are with it.
    """
    step = activation.scale * weight.scale
    rounded: Tensor = x + ((x / step).round() * step - x).detach()
    return rounded
