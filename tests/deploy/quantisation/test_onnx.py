"""Tests of int8 and float16 models."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from nas.deploy.inference.images import LabelledImages, check_labels, load_labelled_images
from nas.deploy.inference.timing import Times
from nas.deploy.quantisation import onnx as quantise
from nas.deploy.quantisation.compress import Compressed, Quality, check_drop, compress, session_runner, top1_of
from nas.deploy.quantisation.onnx import (
    Calibration,
    RunsAs,
    in_float16,
    prepared,
    quantised_dynamic,
    quantised_static,
    runs_as,
)
from nas.errors import NasError, RunFailedError
from nas.networks.architecture import Architecture, Block
from nas.networks.build import build_network
from nas.networks.onnx_graph import onnx_bytes
from tests.deploy.digits_network import DIGITS, SIDE, digits, trained_digits


def as_onnx(architecture: Architecture, network: torch.nn.Module) -> ModelProto:
    example = torch.zeros(1, 3, architecture.resolution, architecture.resolution)
    return onnx.load_from_string(onnx_bytes(network.eval(), example, name="net", any_batch_size=True))


@cache
def model() -> ModelProto:
    return as_onnx(DIGITS, trained_digits().build())


@cache
def images() -> LabelledImages:
    return load_labelled_images("digits", DIGITS, preprocessing=trained_digits().preprocessing, calibration=64)


@cache
def inputs() -> NDArray[np.float32]:
    return images().calibration_inputs()


def top1(quantised: ModelProto) -> float:
    run = session_runner(quantised)
    return top1_of(run, digits().val, trained_digits().preprocessing, "net")


@pytest.mark.parametrize(("calibration", "points"), [("minmax", 1), ("percentile", 1), ("entropy", 5)])
def test_static_int8_keeps_accuracy_with_every_product_in_integers(calibration: Calibration, points: float) -> None:
    """A network of h-swish, ReLU and squeeze-and-excitation stays within a point, and no convolution in float.

    But for the entropy method, which cuts off more.
    """
    quantised = quantised_static(model(), inputs(), calibration=calibration)
    assert runs_as(quantised).heavy_float == 0
    assert top1(model()) > 85
    assert top1(quantised) >= top1(model()) - points


def test_float16_keeps_accuracy_in_half_the_space() -> None:
    """Input and output stay float32."""
    made = in_float16(model())
    assert top1(made) >= top1(model()) - 0.5
    assert len(made.SerializeToString()) < 0.75 * len(model().SerializeToString())


def test_dynamic_int8_quantises_linear_layers_alone() -> None:
    """The classifier becomes integers, convolutions stay as they are, and accuracy is kept."""
    made = quantised_dynamic(model())
    assert top1(made) >= top1(model()) - 1
    operators = runs_as(made)
    assert operators.integer == 1
    assert operators.heavy_float == sum(node.op_type == "Conv" for node in model().graph.node)


def test_equal_biases_do_not_keep_convolutions_in_float() -> None:
    """A fresh network's biases are all zero: the exporter writes one, and each convolution must get its own."""
    blocks = [Block("conv", 8, 3, activation="relu") for _ in range(4)]
    architecture = Architecture(SIDE, 10, (*blocks, Block("pool"), Block("linear", 10)))
    fresh = as_onnx(architecture, build_network(architecture))
    assert any(node.op_type == "Identity" for node in fresh.graph.node)
    plain = prepared(fresh)
    biases = [node.input[2] for node in plain.graph.node if node.op_type == "Conv"]
    assert len(set(biases)) == len(biases) == 4
    assert np.array_equal(session_runner(fresh)(inputs()), session_runner(plain)(inputs()))
    assert runs_as(quantised_static(fresh, inputs())).heavy_float == 0


def test_no_level_is_spent_where_h_swish_is_zero() -> None:
    """The range of an input of h-swish starts at -3 or above, however far below its values reach."""
    block = Block("conv", 8, 3, activation="hswish")
    architecture = Architecture(SIDE, 10, (block, Block("pool"), Block("linear", 10)))
    network = build_network(architecture)
    with torch.no_grad():
        network[0][0].weight.mul_(50)  # type: ignore[index]
    loud = as_onnx(architecture, network)
    quantised = quantised_static(loud, inputs())
    (swish,) = (node for node in quantised.graph.node if node.op_type == "HardSwish")
    (quantise_node,) = (node for node in quantised.graph.node if swish.input[0] in node.output)
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    scale, zero_point = (float(tensors[name]) for name in quantise_node.input[1:])
    assert -3 - scale <= -zero_point * scale <= 0
    reference = session_runner(loud)(inputs())
    assert np.abs(session_runner(quantised)(inputs()) - reference).max() < 0.05 * np.abs(reference).max()


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (4, 1, SIDE, SIDE), (3, SIDE, SIDE), (0, 3, SIDE, SIDE)])
def test_calibration_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    """The error says what the network takes, and what came instead."""
    with pytest.raises(NasError, match=r"must be float32 \(n, 3, 16, 16\), at least one, but are float32"):
        quantised_static(model(), np.zeros(shape, np.float32))


def test_excluded_nodes_stay_in_float() -> None:
    """The first convolution is left out by its name, and no other."""
    name = next(node.name for node in model().graph.node if node.op_type == "Conv")
    assert runs_as(quantised_static(model(), inputs(), exclude=[name])).heavy_float == 1


def test_excluding_other_nodes_excuses_no_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that the graph does not have is refused, too."""
    pool = next(node.name for node in model().graph.node if "Pool" in node.op_type or node.op_type == "ReduceMean")
    monkeypatch.setattr(quantise, "runs_as", lambda _: RunsAs({"Conv": 1}))
    with pytest.raises(
        RunFailedError, match="1 convolutions or matrix products stayed in float, but only 0 were excluded"
    ):
        quantised_static(model(), inputs(), exclude=[pool])
    with pytest.raises(NasError, match="nodes to exclude must be in the graph, but it has no Foo"):
        quantised_static(model(), inputs(), exclude=["Foo"])


def quality(top1: float) -> Quality:
    return Quality(top1, 1000, Times((1.0, 2.0)))


@pytest.mark.parametrize(("after", "fails"), [(90.0, False), (89.1, False), (88.9, True), (float("nan"), True)])
def test_a_drop_over_the_limit_is_refused(after: float, fails: bool) -> None:
    """One point may be lost and no more; NaN counts as lost."""
    compressed = Compressed(model(), quality(90.0), quality(after), 100, 0.9, 0.5, 1, RunsAs({}))
    if not fails:
        return check_drop(compressed, 1.0)
    with pytest.raises(RunFailedError, match="top-1 fell by"):
        check_drop(compressed, 1.0)
    return None


def test_compress_reports_what_it_measured() -> None:
    """Accuracies are those of torch and of the quantised file; sizes and ratios are of the same two."""
    compressed = compress(model(), images(), "int8-static", runs=3)
    assert compressed.before.top1 == pytest.approx(trained_digits().record["top1"], abs=0.3)
    assert compressed.after.top1 == pytest.approx(top1(compressed.model))
    assert compressed.after.size_bytes == len(compressed.model.SerializeToString())
    assert compressed.images == len(digits().val)
    assert compressed.to_json()["operators"]["convolutions_and_products_in_float"] == 0


def test_logits_that_are_not_finite_are_refused() -> None:
    """A network whose logits are NaN is refused, though they have an argmax."""
    network = trained_digits().build()
    with torch.no_grad():
        network[-1][1].bias.fill_(float("nan"))  # type: ignore[index]
    with pytest.raises(RunFailedError, match="NaN or infinite"):
        compress(as_onnx(DIGITS, network), images(), "float16", runs=1)


def test_images_of_other_classes_are_refused() -> None:
    """Scores against other labels mean nothing."""
    with pytest.raises(NasError, match="must be of the network's 20 classes, but digits has 10"):
        check_labels(images(), None, 20)
    with pytest.raises(NasError, match="where the network has 'zero' they have '0'"):
        check_labels(images(), ("zero", *"123456789"), 10)
    check_labels(images(), tuple("0123456789"), 10)


def test_no_onnx_file_is_said_to_be_none(tmp_path: Path) -> None:
    """Random bytes are an error in words."""
    from nas.deploy.quantisation.compress import load_onnx

    with pytest.raises(RunFailedError, match=r"net\.onnx is not an ONNX file"):
        load_onnx(b"\xff\xfe nothing", "net.onnx")
    apart = ModelProto()
    apart.CopyFrom(model())
    onnx.external_data_helper.convert_model_to_external_data(apart, location="weights.bin", size_threshold=0)
    with pytest.raises(RunFailedError, match=r"net\.onnx must hold its weights itself, but has them in another file"):
        load_onnx(apart.SerializeToString(), "net.onnx")
