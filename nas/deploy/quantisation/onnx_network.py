"""Run a network's ONNX graph in torch, so that what an ONNX file computes can be trained.

The graph is that of torch's own exporter, with batch normalisation folded into the convolutions. It may have the
operators of this project's blocks; shapes may depend on the batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from nas.errors import NasError

Attributes = Mapping[str, Any]
# Functions that are applied to tensors once they are computed, by the tensor's name in the graph.
After = Mapping[str, Callable[[Tensor], Tensor]]

_TYPES = {onnx.TensorProto.FLOAT: torch.float32, onnx.TensorProto.INT64: torch.int64}


class OnnxNetwork(nn.Module):
    """The network of a graph with one input and one output; `trained` names the float tensors that are parameters.

    `after` is applied to float tensors once they are computed: to constants (parameters in the order of `trained`, then
    the rest), then to the input, then to activations. Raises NasError, which names the operators that cannot be run.
    """

    def __init__(self, model: ModelProto, *, trained: Sequence[str], after: After | None = None) -> None:
        super().__init__()
        check_operators(model)
        graph = model.graph
        self._input, self._output = graph.input[0].name, graph.output[0].name
        self._nodes = [node for node in graph.node if node.op_type != "Constant"]
        self._attributes = [_attributes(node) for node in self._nodes]
        self._finished = _finished(self._nodes, self._output)
        self._after = dict(after or {})
        self._integers: dict[str, Tensor] = {}  # shapes, which stay on the CPU
        self._parameter_names: dict[str, str] = {}
        self._buffer_names: dict[str, str] = {}
        constants = _constants(graph)
        for name in dict.fromkeys((*trained, *constants)):
            self._keep(name, torch.from_numpy(constants[name].copy()), trained=name in trained)

    def forward(self, x: Tensor) -> Tensor:
        """The graph's output: (n, 3, h, w) to (n, classes)."""
        values: dict[str, Tensor] = dict(self._integers)
        for own, name in (*self._parameter_names.items(), *self._buffer_names.items()):
            values[name] = self._passed_on(name, getattr(self, own))
        values[self._input] = self._passed_on(self._input, x)
        for node, attributes, finished in zip(self._nodes, self._attributes, self._finished, strict=True):
            inputs = [values[name] if name else None for name in node.input]
            outputs = _OPERATORS[node.op_type](attributes, inputs)
            for name, value in zip(node.output, outputs if isinstance(outputs, tuple) else (outputs,), strict=True):
                values[name] = self._passed_on(name, value)
            for name in finished:
                del values[name]
        return values[self._output]

    def tensors(self) -> dict[str, Tensor]:
        """The trained tensors by their names in the graph, on the CPU."""
        return {name: getattr(self, own).detach().cpu() for own, name in self._parameter_names.items()}

    def _passed_on(self, name: str, value: Tensor) -> Tensor:
        after = self._after.get(name)
        return value if after is None else after(value)

    def _keep(self, name: str, value: Tensor, *, trained: bool) -> None:
        """Register a constant under a name that torch allows."""
        if trained:
            own = f"tensor_{len(self._parameter_names)}"
            self.register_parameter(own, nn.Parameter(value))
            self._parameter_names[own] = name
        elif value.is_floating_point():
            own = f"constant_{len(self._buffer_names)}"
            self.register_buffer(own, value)
            self._buffer_names[own] = name
        else:
            self._integers[name] = value


def check_operators(model: ModelProto) -> None:
    """Raise NasError, which names them, where `model` has operators that cannot be run here."""
    unknown = sorted({node.op_type for node in model.graph.node} - _OPERATORS.keys() - {"Constant"})
    if unknown:
        raise NasError(
            f"a network with these operators cannot be trained for int8: {', '.join(unknown)}. "
            "Quantise it after training: --method int8-static."
        )


def with_tensors(model: ModelProto, tensors: Mapping[str, Tensor]) -> ModelProto:
    """A copy of `model` in which the constants that `tensors` names have its values."""
    changed = ModelProto()
    changed.CopyFrom(model)
    for constant in changed.graph.initializer:
        if constant.name in tensors:
            constant.CopyFrom(numpy_helper.from_array(tensors[constant.name].contiguous().numpy(), constant.name))
    return changed


def _constants(graph: onnx.GraphProto) -> dict[str, np.ndarray[Any, Any]]:
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = np.asarray(_attributes(node)["value"])
    return constants


def _finished(nodes: Sequence[NodeProto], output: str) -> list[list[str]]:
    """For each node, the activations that no later node takes."""
    computed = {name for node in nodes for name in node.output} - {output}
    seen: set[str] = set()
    finished: list[list[str]] = []
    for node in reversed(nodes):
        last = {name for name in (*node.input, *node.output) if name in computed and name not in seen}
        seen |= last
        finished.append(sorted(last))
    return finished[::-1]


def _attributes(node: NodeProto) -> dict[str, Any]:
    values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {
        name: numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
        for name, value in values.items()
    }


def _conv(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, weight, *bias = inputs
    x, padding = _padded(x, attributes)
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    return functional.conv2d(
        x, weight, bias[0] if bias else None, strides, padding, dilations, attributes.get("group", 1)
    )


def _padded(x: Tensor, attributes: Attributes, value: float = 0.0) -> tuple[Tensor, list[int]]:
    """`x`, padded here where sides differ, and the padding that is left to torch's operator."""
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    if (top, left) == (bottom, right):
        return x, [top, left]
    return functional.pad(x, (left, right, top, bottom), value=value), [0, 0]


def _gemm(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, weight, *bias = inputs
    x = x.t() if attributes.get("transA", 0) else x
    weight = weight if attributes.get("transB", 0) else weight.t()
    product = functional.linear(x, weight * attributes.get("alpha", 1.0))
    return product + attributes.get("beta", 1.0) * bias[0] if bias else product


def _max_pool(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, padding = _padded(inputs[0], attributes, -torch.inf)
    return functional.max_pool2d(
        x,
        attributes["kernel_shape"],
        attributes.get("strides"),
        padding,
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
    )


def _average_pool(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    counted = bool(attributes.get("count_include_pad", 0))
    x, padding = _padded(inputs[0], attributes)
    return functional.avg_pool2d(
        x,
        attributes["kernel_shape"],
        attributes.get("strides"),
        padding,
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
        count_include_pad=counted,
    )


def _hard_sigmoid(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    line: Tensor = attributes.get("alpha", 0.2) * inputs[0] + attributes.get("beta", 0.5)
    return line.clamp(0, 1)


def _clip(_: Attributes, inputs: Sequence[Any]) -> Tensor:
    low, high = (*inputs[1:], None, None)[:2]
    return torch.clamp(inputs[0], low, high)


def _divide(_: Attributes, inputs: Sequence[Any]) -> Tensor:
    dividend, divisor = inputs
    return torch.div(dividend, divisor, rounding_mode=None if dividend.is_floating_point() else "trunc")


def _reduce_sum(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, axes = inputs
    return x.sum(axes.tolist(), keepdim=bool(attributes.get("keepdims", 1)))  # type: ignore[no-any-return]


def _batch_normalization(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, weight, bias, mean, variance = inputs
    return functional.batch_norm(x, mean, variance, weight, bias, eps=attributes.get("epsilon", 1e-5))


def _layer_normalization(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, weight, *bias = inputs
    shape = x.shape[attributes.get("axis", -1) :]
    return functional.layer_norm(x, shape, weight, bias[0] if bias else None, attributes.get("epsilon", 1e-5))


def _reshape(_: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, shape = inputs
    # A 0 keeps the size of that axis.
    return x.reshape([size or x.shape[axis] for axis, size in enumerate(shape.tolist())])  # type: ignore[no-any-return]


def _resize(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    """A bilinear resize, as `functional.interpolate` is exported. Raises NasError for any other."""
    x, *_, sizes = inputs
    how = attributes.get("mode"), attributes.get("coordinate_transformation_mode", b"half_pixel")
    if how not in ((b"linear", b"half_pixel"), (b"linear", b"pytorch_half_pixel")) or len(inputs) != 4:
        raise NasError(f"a resize must be bilinear, to a size, to be trained for int8, but is {how}")
    return functional.interpolate(x, size=sizes.tolist()[2:], mode="bilinear", align_corners=False)


def _split(attributes: Attributes, inputs: Sequence[Any]) -> tuple[Tensor, ...]:
    return torch.split(inputs[0], inputs[1].tolist(), attributes.get("axis", 0))


def _slice(_: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, starts, ends, *rest = (part if index == 0 else part.tolist() for index, part in enumerate(inputs))
    axes = rest[0] if rest else range(len(starts))
    steps = rest[1] if len(rest) > 1 else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        places = range(x.shape[axis])[start:end:step]
        x = x.index_select(axis, torch.tensor(places, device=x.device))
    return x  # type: ignore[no-any-return]


def _gather(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, indices = inputs
    axis = attributes.get("axis", 0)
    picked = x.index_select(axis, indices.reshape(-1).to(x.device) % x.shape[axis])
    return picked.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])  # type: ignore[no-any-return]


def _squeeze(_: Attributes, inputs: Sequence[Any]) -> Tensor:
    return inputs[0].squeeze(inputs[1].tolist())  # type: ignore[no-any-return]


def _unsqueeze(_: Attributes, inputs: Sequence[Any]) -> Tensor:
    x, axes = inputs
    for axis in sorted(axes.tolist()):
        x = x.unsqueeze(axis)
    return x  # type: ignore[no-any-return]


_OPERATORS: Mapping[str, Callable[[Attributes, Sequence[Any]], Tensor | tuple[Tensor, ...]]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "Relu": lambda _, inputs: functional.relu(inputs[0]),
    "Clip": _clip,
    "HardSwish": lambda _, inputs: functional.hardswish(inputs[0]),
    "HardSigmoid": _hard_sigmoid,
    "Sigmoid": lambda _, inputs: torch.sigmoid(inputs[0]),
    "Add": lambda _, inputs: inputs[0] + inputs[1],
    "Mul": lambda _, inputs: inputs[0] * inputs[1],
    "GlobalAveragePool": lambda _, inputs: inputs[0].mean((2, 3), keepdim=True),
    "Div": _divide,
    "Sqrt": lambda _, inputs: torch.sqrt(inputs[0]),
    "MatMul": lambda _, inputs: inputs[0] @ inputs[1],
    "Softmax": lambda attributes, inputs: torch.softmax(inputs[0], attributes.get("axis", -1)),
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "ReduceSum": _reduce_sum,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "Concat": lambda attributes, inputs: torch.cat(list(inputs), attributes["axis"]),
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Reshape": _reshape,
    "Resize": _resize,
    "Flatten": lambda attributes, inputs: inputs[0].flatten(attributes.get("axis", 1)),
    "Transpose": lambda attributes, inputs: inputs[0].permute(attributes["perm"]),
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Identity": lambda _, inputs: inputs[0],
    "Shape": lambda _, inputs: torch.tensor(inputs[0].shape),
    "Cast": lambda attributes, inputs: inputs[0].to(_TYPES[attributes["to"]]),
}
