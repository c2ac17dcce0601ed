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

from nas.latency.kit import Model
from nas.networks.blocks import build_block
from nas.networks.onnx_graph import onnx_bytes
from nas.networks.operators import Unit

# A weight of fewer numbers stays as it is: leaving it out would save nothing.
_SMALL = 1024


def unit_model(name: str, units: Sequence[Unit]) -> Model:
    """The model of some units in a row (one, or a whole network), for one image.

    Raises RunFailedError, naming it, when torch cannot export it.
    """
    first = units[0]
    # The weights that stay are drawn: the same units must give the same file.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(*(build_block(unit) for unit in units)).eval()
    shape = (1, first.in_channels, first.height, first.width)
    exported = onnx_bytes(network, torch.zeros(*shape), name=name, any_batch_size=False)
    return Model(name, hollow(onnx.load_from_string(exported)).SerializeToString(), (shape,))


def hollow(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model`, changed in place: for every large weight an operator that makes a constant of its shape.

    The constant is one over the number of terms in a sum, so that activations keep their size: arithmetic with numbers
    that are too small to be normal takes longer.
    """
    graph = model.graph
    kept, makers = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.size < _SMALL or values.dtype.kind != "f":
            kept.append(tensor)
            continue
        shape = f"{tensor.name}.shape"
        fill = numpy_helper.from_array(np.array([1 / values[0].size], values.dtype))
        kept.append(numpy_helper.from_array(np.array(values.shape, np.int64), shape))
        makers.append(helper.make_node("ConstantOfShape", [shape], [tensor.name], value=fill))
    nodes = [*makers, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    return model
