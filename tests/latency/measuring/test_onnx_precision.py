"""Tests of `nas.latency.measuring.onnx_precision`: a unit of another precision runs as it would inside a network."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from nas.latency.measuring.onnx_models import unit_model
from nas.networks.architecture import Block
from nas.networks.deployed import deployed
from nas.networks.operators import Unit, units
from nas.networks.references import reference

RELU = Unit(Block("mbconv", 40, 5, 1, 120, se_channels=32, activation="relu", se_gate="hsigmoid"), 40, 28, 28)
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


def operators(folder: Path, content: bytes) -> Counter[str]:
    """The operators that ONNX Runtime runs for a model, after its own optimisation."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(content, options)
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_every_precision_runs(precision: str) -> None:
    """From an input of its type and shape to an output of its type."""
    model = unit_model("unit", [RELU], precision)  # type: ignore[arg-type]
    session = onnxruntime.InferenceSession(model.onnx)
    model_input, result = session.get_inputs()[0], session.get_outputs()[0]
    expected = {"float32": "tensor(float)", "float16": "tensor(float16)", "int8": "tensor(uint8)"}[precision]
    assert (model_input.type, result.type) == (expected, expected)
    out = session.run(None, {model_input.name: np.ones(model.inputs[0], TYPES[model_input.type])})[0]
    assert sorted(out.shape) == sorted((1, 40, 28, 28))


def test_all_of_a_quantised_unit_runs_in_integers(tmp_path: Path) -> None:
    """Convolutions, pooling, product and shortcut; nothing is transposed or quantised at its borders."""
    operator_counts = operators(tmp_path, unit_model("unit", [RELU], "int8").onnx)
    assert operator_counts["QLinearConv"] == 5
    assert not operator_counts["Conv"]
    assert not operator_counts["Transpose"]
    assert operator_counts["QLinearAdd"] == operator_counts["QLinearGlobalAveragePool"] == 1
    # The gate, h-sigmoid, is computed in float32: ONNX Runtime has no quantised one.
    assert (
        operator_counts["QuantizeLinear"] == operator_counts["DequantizeLinear"] == operator_counts["HardSigmoid"] == 1
    )


def test_a_quantised_network_is_the_sum_of_its_units(tmp_path: Path) -> None:
    """The operators are the same, except at the input image and the logits."""
    row = units(deployed(reference("mobilenet_v2")))
    whole = operators(tmp_path, unit_model("network", row, "int8").onnx)
    parts = sum((operators(tmp_path, unit_model(unit.key, [unit], "int8").onnx) for unit in row), Counter[str]())
    for operator in ("QLinearConv", "QLinearAdd", "QGemm"):
        assert whole[operator] == parts[operator]
    assert not whole["Conv"]


def test_large_weights_of_every_precision_are_left_out() -> None:
    """A kit of thousands of units stays small."""
    wide = Unit(Block("conv", 512, 1), 512, 7, 7)
    for precision in ("float32", "float16", "int8"):
        assert len(unit_model("unit", [wide], precision).onnx) < 20_000  # type: ignore[arg-type]
