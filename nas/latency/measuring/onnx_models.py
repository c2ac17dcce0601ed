"""Which ONNX file stands for a unit, or for a network, when it is timed?

The torch modules go through the exporter that networks are deployed with, so that the graphs are the same. Large
weights are left out: how long a convolution takes does not depend on them, and a kit of thousands of units is then
small. ONNX Runtime makes them when it loads a file (it folds constants), before anything is timed.
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

# A weight of fewer numbers stays as it is: leaving it out would save nothing.
_SMALL = 1024
_WEIGHTS = (np.float32, np.float16, np.int8)


def unit_model(name: str, units: Sequence[Unit], precision: Precision = "float32") -> KitModel:
    """The model of some units in a row (one, a few, or a whole network), for one image.

    Raises RunFailedError, naming it, when torch cannot export it.
    """
    first = units[0]
    # The weights that stay are drawn: the same units must give the same file.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(*(build_block(unit) for unit in units)).eval()
        for key, parameter in network.named_parameters():
            if key.endswith("bias"):
                # Biases that are equal are written once, and ONNX Runtime quantises none that is shared.
                nn.init.uniform_(parameter, -0.1, 0.1)
    shape = (1, first.in_channels, first.height, first.width)
    exported = onnx_bytes(network, torch.zeros(*shape), name=name, any_batch_size=False)
    inside = first.in_channels != INPUT_CHANNELS
    model = in_precision(onnx.load_from_string(exported), precision, inside=inside)
    given = tuple(dimension.dim_value for dimension in model.graph.input[0].type.tensor_type.shape.dim)
    return KitModel(name, hollow(model).SerializeToString(), (given,))


def hollow(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model`, changed in place: for every large weight an operator that makes a constant of its shape.

    The constant is one over the number of terms in a sum (1 for integers), so that activations keep their size:
    arithmetic with numbers that are too small to be normal takes longer.
    """
    graph = model.graph
    kept, makers = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        # Biases stay, and so do the scales and zero points of quantised channels.
        if values.ndim < 2 or values.size < _SMALL or values.dtype not in _WEIGHTS:
            kept.append(tensor)
            continue
        shape = f"{tensor.name}.shape"
        constant = 1 / values[0].size if values.dtype.kind == "f" else 1
        fill = numpy_helper.from_array(np.array([constant], values.dtype))
        kept.append(numpy_helper.from_array(np.array(values.shape, np.int64), shape))
        makers.append(helper.make_node("ConstantOfShape", [shape], [tensor.name], value=fill))
    nodes = [*makers, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    return model
