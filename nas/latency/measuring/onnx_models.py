"""Export units and whole networks as ONNX models to be timed.

They are exported as networks are for deployment, so that the graphs are the same. Large weights are left out, because
the latency of a convolution does not depend on their values, and a kit of thousands of units then stays small. ONNX
Runtime creates them when it loads a file (by constant folding), before anything is timed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

from nas.latency.measuring.kit import KitModel, Precision
from nas.latency.measuring.onnx_precision import in_precision
from nas.networks.blocks import build_block
from nas.networks.onnx_graph import onnx_bytes
from nas.networks.operators import INPUT_CHANNELS, Unit

# A weight with fewer elements is kept: leaving it out would save nothing.
_SMALL = 1024
_WEIGHTS = (np.float32, np.float16, np.int8)


def unit_model(name: str, units: Sequence[Unit], precision: Precision = "float32") -> KitModel:
    """The model of consecutive units (one, a few, or a whole network), for a batch of one image.

    Raises RunFailedError, naming the model, when torch cannot export it.
    """
    first = units[0]
    # Weights are random, so a fixed seed makes the same units give the same file.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(*(build_block(unit) for unit in units)).eval()
        for key, parameter in network.named_parameters():
            if key.endswith("bias"):
                # Equal biases would be exported as one shared tensor, and ONNX Runtime does not quantise shared biases.
                nn.init.uniform_(parameter, -0.1, 0.1)
    shape = (1, first.in_channels, first.height, first.width)
    exported = onnx_bytes(network, torch.zeros(*shape), name=name, any_batch_size=False)
    inside = first.in_channels != INPUT_CHANNELS
    model = in_precision(onnx.load_from_string(exported), precision, inside=inside)
    input_shape = tuple(dimension.dim_value for dimension in model.graph.input[0].type.tensor_type.shape.dim)
    return KitModel(name, hollow(model).SerializeToString(), (input_shape,))


def hollow(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every large weight of `model`, in place, by an operator that makes a constant of its shape.

    The constant is one over the number of terms in a sum (1 for integers), so that activations keep their magnitude:
    arithmetic with denormal numbers would take longer.
    """
    graph = model.graph
    initializers, constant_nodes = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        # Biases, and the scales and zero points of quantised channels, are kept.
        if values.ndim < 2 or values.size < _SMALL or values.dtype not in _WEIGHTS:
            initializers.append(tensor)
            continue
        shape = f"{tensor.name}.shape"
        constant = 1 / values[0].size if values.dtype.kind == "f" else 1
        fill = numpy_helper.from_array(np.array([constant], values.dtype))
        initializers.append(numpy_helper.from_array(np.array(values.shape, np.int64), shape))
        constant_nodes.append(helper.make_node("ConstantOfShape", [shape], [tensor.name], value=fill))
    nodes = [*constant_nodes, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(initializers)
    graph.node.extend(nodes)
    return model
