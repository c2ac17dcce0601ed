"""Turn a float32 ONNX model into int8 or float16, by ONNX Runtime's quantiser.

int8 models have the QDQ format, which ONNX Runtime advises for CPUs: activations are uint8 with a range for each
tensor, weights are int8 with a range for each channel. Operators that stay in float are counted in the optimised graph
that ONNX Runtime runs.
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from nas.deploy.export.formats.quiet import quiet
from nas.errors import NasError, RunFailedError, nearest_first

Method = Literal["int8-static", "int8-dynamic", "float16"]
# By an activation's name, its lowest and its highest value.
Ranges = Mapping[str, tuple[float, float]]
Calibration = Literal["minmax", "entropy", "percentile"]
METHODS: tuple[Method, ...] = get_args(Method)
CALIBRATIONS: tuple[Calibration, ...] = get_args(Calibration)

DEFAULT_PERCENTILE = 99.99
# By default ONNX Runtime's entropy method has 128 bins, as many as it quantises to, and so nothing to choose between.
_BINS = 512
_QUANTISED_BINS = 256
# So many images go through the network at once while ranges are collected: all their activations are in memory.
_CHUNK = 8

# Parts of the names of operators that compute with 8-bit integers in the optimised graph, and the float operators that
# these replace.
_INTEGER_KINDS = ("QLinear", "Integer", "QGemm", "DynamicQuantizeMatMul")
_HEAVY = ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul")
# Operators that move numbers or convert their type, and those that are counted as heavy.
_PASSIVE = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "Transpose", "Reshape", "Flatten", "Cast", "ReorderInput", "ReorderOutput"}
    | set(_HEAVY)
)
# The inputs between which an activation is not constant: no levels are needed beyond them.
_MATTERS: Mapping[str, tuple[float, float]] = {"HardSwish": (-3.0, math.inf), "HardSigmoid": (-3.0, 3.0)}


@dataclass(frozen=True)
class RunsAs:
    """The operators, counted by type, of the fused and optimised graph that ONNX Runtime runs for a model."""

    operators: Mapping[str, int]

    @property
    def integer(self) -> int:
        """The number of operators that compute with integers."""
        return sum(count for name, count in self.operators.items() if any(kind in name for kind in _INTEGER_KINDS))

    @property
    def heavy_float(self) -> int:
        """The number of convolutions and matrix products that compute with floats."""
        return sum(count for name, count in self.operators.items() if name in _HEAVY)

    @property
    def other_float(self) -> Mapping[str, int]:
        """The number of other operators that compute with floats, by type; conversions are left out."""
        return {
            name: count
            for name, count in self.operators.items()
            if name not in _PASSIVE and not any(kind in name for kind in _INTEGER_KINDS)
        }

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "integer": self.integer,
            "convolutions_and_products_in_float": self.heavy_float,
            "others_in_float": dict(self.other_float),
        }


def quantised_static(
    model: ModelProto,
    images: NDArray[np.float32],
    *,
    calibration: Calibration = "minmax",
    percentile: float = DEFAULT_PERCENTILE,
    exclude: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> ModelProto:
    """`model` in int8, with the ranges that its activations have on `images`, (n, 3, h, w) as the network takes them.

    `exclude` names nodes that stay in float. `progress` is called with the number of images done, and of all. Raises
    NasError for images of another shape and for nodes that are not there, RunFailedError where a convolution stays in
    float that was not excluded.
    """
    check_excluded(model, exclude)
    plain = prepared(model)
    ranges = calibrated_ranges(plain, images, calibration=calibration, percentile=percentile, progress=progress)
    return quantised_with(plain, ranges, exclude=exclude)


def calibrated_ranges(
    plain: ModelProto,
    images: NDArray[np.float32],
    *,
    calibration: Calibration = "minmax",
    percentile: float = DEFAULT_PERCENTILE,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, tuple[float, float]]:
    """The range of every activation of a model from `prepared` on `images`, cut to its `limits`.

    Raises as `quantised_static` does for images of another shape.
    """
    check_images(plain, images)
    ranges = _ranges(plain, images, calibration, percentile, progress)
    for name, (least, most) in limits(plain).items():
        if name in ranges and max(ranges[name][0], least) < min(ranges[name][1], most):
            ranges[name] = (max(ranges[name][0], least), min(ranges[name][1], most))
    return ranges


def quantised_with(plain: ModelProto, ranges: Ranges, *, exclude: Sequence[str] = ()) -> ModelProto:
    """A model from `prepared` in int8, with these ranges of its activations. Raises as `quantised_static` does."""
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    tensors = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()
    }
    with quiet():
        quantiser = QDQQuantizer(
            copy.deepcopy(plain),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, tensors),
            nodes_to_quantize=[],
            nodes_to_exclude=list(exclude),
            op_types_to_quantize=_quantisable(),
            extra_options={},
        )
        quantised: ModelProto = quantiser.quantize_model()
    _check_complete(quantised, exclude)
    return quantised


def quantised_dynamic(model: ModelProto) -> ModelProto:
    """`model` with its linear layers in int8; each input is quantised by its own range while the model runs.

    No calibration is needed. Convolutions stay in float: ONNX Runtime's ConvInteger made MobileNetV3-Small 28 times
    slower than float32 (32 pixels, one thread, x86).
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, quiet():
        source, result = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(prepared(model), source)
        quantize_dynamic(
            source, result, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul", "Gemm"]
        )
        quantised: ModelProto = onnx.load(result)
    return quantised


def in_float16(model: ModelProto) -> ModelProto:
    """`model` computing in float16; its input and output stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with quiet():
        converted: ModelProto = convert_float_to_float16(copy.deepcopy(model), keep_io_types=True)
    return converted


def check_excluded(model: ModelProto, exclude: Sequence[str]) -> None:
    """Raise NasError where `model` has no node of a name in `exclude`."""
    names = [node.name for node in model.graph.node]
    unknown = [name for name in exclude if name not in names]
    if unknown:
        near = ", ".join(nearest_first(unknown[0], names)[:5])
        raise NasError(f"nodes to exclude must be in the graph, but it has no {', '.join(unknown)}. Nearest: {near}.")


def check_images(model: ModelProto, images: NDArray[np.float32]) -> None:
    """Raise NasError where there are no images, and for images that `model` does not take."""
    dimensions = model.graph.input[0].type.tensor_type.shape.dim
    shape = tuple(dimension.dim_value for dimension in dimensions)[1:]
    if images.ndim != 4 or images.shape[1:] != shape or not len(images) or images.dtype != np.float32:
        raise NasError(
            f"calibration images must be float32 (n, {', '.join(map(str, shape))}), at least one, "
            f"but are {images.dtype} {images.shape}. Resize and normalise them as the network's images are."
        )


def runs_as(model: ModelProto) -> RunsAs:
    """The operators that ONNX Runtime runs for `model` on the CPU. Raises RunFailedError where it cannot load it."""
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(optimised)
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        # ONNX Runtime's exceptions have no other common base.
        except Exception as error:
            raise RunFailedError(f"ONNX Runtime cannot load the quantised model: {error}") from error
        return RunsAs(dict(Counter(node.op_type for node in onnx.load(optimised).graph.node)))


def prepared(model: ModelProto) -> ModelProto:
    """A copy of `model` with inferred shapes, in which every convolution has weights and a bias of its own.

    Torch's exporter writes equal tensors once and passes them on through Identity nodes; ONNX Runtime leaves the
    convolutions that have such a bias in float.
    """
    plain = copy.deepcopy(model)
    graph = plain.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    aliases = {node.output[0]: node for node in graph.node if node.op_type == "Identity" and node.input[0] in tensors}
    for node in aliases.values():
        graph.node.remove(node)
    sources = {name: node.input[0] for name, node in aliases.items()}
    used: set[str] = set()
    for node in graph.node:
        for index, name in enumerate(node.input):
            source = sources.get(name, name)
            if source not in tensors:
                continue
            own = f"{source}.{node.name}.{index}" if source in used else source
            if own != source:
                graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(tensors[source]), own))
            used.add(source)
            node.input[index] = own
    return onnx.shape_inference.infer_shapes(plain)


def _quantisable() -> list[str]:
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QLinearOpsRegistry, *QDQRegistry})


def _ranges(
    model: ModelProto,
    images: NDArray[np.float32],
    calibration: Calibration,
    percentile: float,
    progress: Callable[[int, int], None] | None,
) -> dict[str, tuple[float, float]]:
    """The range of every activation on `images`, by ONNX Runtime's calibrators."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    method = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }[calibration]
    options: dict[str, Any] = {"symmetric": False}
    if calibration == "entropy":
        options |= {"num_bins": _BINS, "num_quantized_bins": _QUANTISED_BINS}
    elif calibration == "percentile":
        options |= {"percentile": percentile}
    name = model.graph.input[0].name
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "float.onnx"
        onnx.save(model, path)
        augmented = str(Path(folder) / "augmented.onnx")
        calibrator = create_calibrator(path, _quantisable(), augmented, calibrate_method=method, extra_options=options)
        for start in range(0, len(images), _CHUNK):
            calibrator.collect_data(_Reader(name, images[start : start + _CHUNK]))
            if progress is not None:
                progress(min(start + _CHUNK, len(images)), len(images))
        tensors = calibrator.compute_data()
    return {key: _as_floats(tensors[key].range_value) for key in tensors.keys()}  # noqa: SIM118 (it is no mapping)


def _as_floats(values: Sequence[Any]) -> tuple[float, float]:
    low, high = (float(np.asarray(value).reshape(-1)[0]) for value in values)
    return low, high


class _Reader:
    """The interface by which ONNX Runtime's calibrators read images: one batch, once."""

    def __init__(self, name: str, images: NDArray[np.float32]) -> None:
        self._feeds: Iterator[dict[str, NDArray[np.float32]]] = iter([{name: images}])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next batch, or None."""
        return next(self._feeds, None)


def limits(model: ModelProto) -> dict[str, tuple[float, float]]:
    """Bounds of those activations that only h-swish or h-sigmoid takes, by name; values beyond them need no levels.

    h-swish, for example, is 0 for everything below −3, so none of the 256 levels need lie there.
    """
    readers: dict[str, set[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    only = {name: next(iter(kinds)) for name, kinds in readers.items() if len(kinds) == 1}
    return {name: _MATTERS[kind] for name, kind in only.items() if kind in _MATTERS}


def _check_complete(quantised: ModelProto, exclude: Sequence[str]) -> None:
    """Raise RunFailedError where more convolutions or matrix products stayed in float than were excluded."""
    in_float = runs_as(quantised).heavy_float
    excluded = sum(node.name in exclude and node.op_type in _HEAVY for node in quantised.graph.node)
    if in_float > excluded:
        raise RunFailedError(
            f"{in_float} convolutions or matrix products stayed in float, but only {excluded} were excluded: ONNX "
            "Runtime's quantiser could not quantise the others"
        )
