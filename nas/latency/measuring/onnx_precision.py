"""Convert a float32 ONNX model to float16 or int8, for timing only.

The ranges of its activations are invented, so the results of an int8 model are meaningless. Networks are quantised for
deployment with ranges observed on images (nas/deploy/quantisation).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from nas.latency.measuring.kit import Precision

# The range that every activation is assumed to have.
_RANGE = (np.array(-3.0, np.float32), np.array(3.0, np.float32))
_CHANNELS_LAST = (0, 2, 3, 1)


def in_precision(model: ModelProto, precision: Precision, *, inside: bool) -> ModelProto:
    """Convert `model` to another precision: float16 throughout, or int8 in the QDQ format.

    QDQ uses uint8 for activations and int8 per channel for weights, as ONNX Runtime recommends for CPUs. The input and
    output of a whole network stay float32. Those of a model `inside` a network are as between its neighbours: quantised
    and channels last, which is the layout of ONNX Runtime's quantised convolutions.
    """
    if precision == "float16":
        return _float16(model)
    if precision == "int8":
        return _inside(_quantised(model)) if inside else _quantised(model)
    return model


def _float16(model: ModelProto) -> ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    converted: ModelProto = convert_float_to_float16(model)
    return converted


def _quantised(model: ModelProto) -> ModelProto:
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    inferred = onnx.shape_inference.infer_shapes(model)
    graph = inferred.graph
    names = [value.name for value in graph.input] + [name for node in graph.node for name in node.output]
    quantiser = QDQQuantizer(
        inferred,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, dict.fromkeys(names, _RANGE)),
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=sorted({*QLinearOpsRegistry, *QDQRegistry}),
        extra_options={},
    )
    quantised: ModelProto = quantiser.quantize_model()
    return quantised


def _inside(model: ModelProto) -> ModelProto:
    """Make `model`, in place, take and give quantised tensors with channels last.

    This removes the node that quantises its input and the node that dequantises its output, which the neighbouring
    units of a network make unnecessary. Transpositions at both ends change the layout; ONNX Runtime removes them
    together with those that it inserts around convolutions.
    """
    graph = model.graph
    model_input, result = graph.input[0], graph.output[0]
    for node in [node for node in graph.node if _quantises(node, model_input.name)]:
        _rename_input(graph, node.output[0], model_input.name)
        graph.node.remove(node)
        model_input.type.tensor_type.elem_type = TensorProto.UINT8
    for node in [node for node in graph.node if _dequantises(node, result.name)]:
        result.name = node.input[0]
        result.type.tensor_type.elem_type = TensorProto.UINT8
        graph.node.remove(node)
    _rename_input(graph, model_input.name, "channels_first")
    graph.node.insert(0, helper.make_node("Transpose", [model_input.name], ["channels_first"], perm=(0, 3, 1, 2)))
    _permute(model_input, _CHANNELS_LAST)
    if len(result.type.tensor_type.shape.dim) == len(_CHANNELS_LAST):
        graph.node.append(helper.make_node("Transpose", [result.name], ["channels_last"], perm=_CHANNELS_LAST))
        result.name = "channels_last"
        _permute(result, _CHANNELS_LAST)
    return model


def _rename_input(graph: GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def _permute(value: ValueInfoProto, order: Sequence[int]) -> None:
    dimensions = value.type.tensor_type.shape.dim
    sizes = [dimensions[index].dim_value for index in order]
    for dimension, size in zip(dimensions, sizes, strict=True):
        dimension.dim_value = size


def _quantises(node: NodeProto, name: str) -> bool:
    return node.op_type == "QuantizeLinear" and node.input[0] == name


def _dequantises(node: NodeProto, name: str) -> bool:
    return node.op_type == "DequantizeLinear" and node.output[0] == name
