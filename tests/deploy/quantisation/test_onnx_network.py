"""Tests of running ONNX graphs in torch: logits must be those of ONNX Runtime."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto
from torch import Tensor

from nas.deploy.export.agreement import Runner
from nas.deploy.quantisation.compress import session_runner
from nas.deploy.quantisation.fake_quantised import FakeQuantisedNetwork, fake_quantised
from nas.deploy.quantisation.onnx import calibrated_ranges, prepared, quantised_with, runs_as
from nas.deploy.quantisation.onnx_network import OnnxNetwork, check_operators, with_tensors
from nas.errors import NasError
from nas.networks.architecture import Architecture, Block
from nas.networks.build import build_network
from nas.networks.onnx_graph import INPUT_NAME, OUTPUT_NAME, onnx_bytes

SIDE = 16

# Named after the operators that they bring into a graph.
BLOCKS = {
    "mobile": [
        Block("ds_conv", 8, 3, activation="relu"),
        Block("fused_mbconv", 16, 3, 2, 24, activation="hswish"),
        Block("fbnet", 16, 3, 1, 24, activation="relu", groups=2),
        Block("uib", 16, 5, 1, 24, start_kernel_size=3, activation="relu"),
    ],
    "branches": [
        Block("mobile_one", 12, 3, 1, activation="relu", groups=12),
        Block("rep_ghost", 16, 1, 1, 12, activation="relu"),
        Block("shuffle_xception", 16, 3, 1, 8, activation="relu"),
    ],
    "pools": [Block("max_pool", 0, 3, 2), Block("conv", 12, 3, activation="relu6")],
    "squeeze": [
        Block("mbconv", 12, 3, 1, 24, se_channels=8, se_gate="hsigmoid", activation="hswish"),
        Block("mbconv", 16, 5, 2, 24, se_channels=8, se_gate="sigmoid", activation="silu"),
    ],
    "shuffle_v1": [
        Block("shuffle_v1", 24, 3, 2, 12, activation="relu", groups=3),
        Block("shuffle_v1", 24, 3, 1, 12, activation="relu", groups=3, expand_groups=3),
    ],
    "shuffle_v2": [
        Block("shuffle_v2", 16, 5, 2, 8, activation="relu"),
        Block("shuffle_v2", 16, 3, 1, 8, activation="relu"),
    ],
    "ghost": [Block("ghost", 16, 3, 2, 24, se_channels=8, se_gate="hsigmoid", activation="relu")],
    "mixconv": [Block("mixconv", 24, 9, 2, 48, activation="silu", groups=2, expand_groups=2)],
    "mobile_vit": [
        Block(
            "mobile_vit",
            8,
            3,
            hidden_channels=16,
            transformer_channels=12,
            transformer_depth=1,
            heads=3,
            activation="silu",
        )
    ],
    "odd": [
        Block("max_pool", 0, 3, 2),
        Block("max_pool", 0, 3, 2),
        Block("max_pool", 0, 3, 2),
        Block("max_pool", 0, 3, 2),
        Block("mobile_vit", 8, 3, hidden_channels=16, transformer_channels=12, transformer_depth=1, heads=3),
    ],
    "lite_mla": [
        Block("lite_mla", 12, 5, transformer_channels=8, heads=2),
        Block("mbconv", 8, 3, 2, 16, activation="hswish", norm="last"),
        Block("pool"),
        Block("linear", 12, activation="hswish", bias=False, norm="layer"),
    ],
}


def graph_of(blocks: Sequence[Block]) -> ModelProto:
    """The graph of a small network with these blocks, its normalisations spread out as trained ones are."""
    pool = [] if any(block.op == "pool" for block in blocks) else [Block("pool")]
    first = Block("conv", 12, 3, activation="relu")
    network = build_network(Architecture(SIDE, 10, (first, *blocks, *pool, Block("linear", 10))))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        network[-1][1].weight.mul_(30)  # type: ignore[index]
    example = torch.zeros(1, 3, SIDE, SIDE)
    return prepared(onnx.load_from_string(onnx_bytes(network.eval(), example, name="net", any_batch_size=True)))


def as_it_stands(model: ModelProto) -> Runner:
    """A function that runs `model` without ONNX Runtime's optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run([OUTPUT_NAME], {INPUT_NAME: batch})[0]


def images(count: int) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", BLOCKS)
def test_torch_computes_what_onnx_runtime_does(kind: str) -> None:
    """Logits agree to rounding, whatever the block, and for another batch size than was exported."""
    graph = graph_of(BLOCKS[kind])
    reference = session_runner(graph)(images(3).numpy())
    logits = OnnxNetwork(graph, trained=[])(images(3)).numpy()
    assert np.abs(logits - reference).max() < 1e-5 * np.abs(reference).max()


@pytest.mark.parametrize("kind", BLOCKS)
def test_what_is_rounded_in_training_is_what_int8_rounds(kind: str) -> None:
    """Before any training, logits are on the same level of 256 as the int8 model's, give or take one.

    Where ONNX Runtime's optimiser resizes bytes, it cuts off what it should round: there the graph is run as it stands.
    """
    pytest.importorskip("torchao")
    graph = graph_of(BLOCKS[kind])
    ranges = calibrated_ranges(graph, images(32).numpy())
    quantised = quantised_with(graph, ranges)
    assert runs_as(quantised).heavy_float == 0
    network = FakeQuantisedNetwork(graph, fake_quantised(quantised), ranges)
    with torch.no_grad():
        network.fix_ranges()
        logits = network(images(64)).numpy()
    low, high = ranges[graph.graph.output[0].name]
    run = as_it_stands(quantised) if kind == "odd" else session_runner(quantised)
    levels = np.abs(logits - run(images(64).numpy())) * 255 / (high - low)
    assert levels.max() < 2.5
    assert (levels < 0.5).mean() > 0.9


def test_trained_tensors_are_parameters_and_go_back_into_the_graph() -> None:
    """ONNX Runtime runs the weights changed in torch; the original graph stays as it was."""
    graph = graph_of(BLOCKS["squeeze"])
    before = copy.deepcopy(graph)
    weight = next(node.input[1] for node in graph.graph.node if node.op_type == "Conv")
    network = OnnxNetwork(graph, trained=[weight])
    (parameter,) = network.parameters()
    with torch.no_grad():
        parameter.mul_(1.5)
    changed = with_tensors(graph, network.tensors())
    assert graph == before
    with torch.no_grad():
        logits = network(images(2)).numpy()
    assert np.allclose(session_runner(changed)(images(2).numpy()), logits, rtol=1e-4, atol=1e-4)
    assert not np.allclose(session_runner(graph)(images(2).numpy()), logits, rtol=1e-4, atol=1e-4)


def test_a_resize_that_is_not_bilinear_is_refused() -> None:
    """The error says how the node resizes."""
    graph = graph_of(BLOCKS["odd"])
    resize = next(node for node in graph.graph.node if node.op_type == "Resize")
    next(attribute for attribute in resize.attribute if attribute.name == "mode").s = b"cubic"
    with pytest.raises(NasError, match=r"must be bilinear, to a size.*cubic"):
        OnnxNetwork(graph, trained=[])(images(1))


def test_operators_that_torch_does_not_run_here_are_named() -> None:
    """The error names them, and says what to do instead."""
    graph = graph_of(BLOCKS["pools"])
    for node in graph.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Softsign"
    with pytest.raises(NasError, match=r"cannot be trained for int8: Softsign.*int8-static"):
        check_operators(graph)
