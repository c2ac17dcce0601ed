"""Tests of ONNX export: the file must compute what torch does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from nas.deploy.export import export
from nas.deploy.export.agreement import logits_agreement
from nas.deploy.export.export import OnnxCheck, check_onnx, deployed_network, export_onnx
from nas.errors import NasError, RunFailedError
from nas.networks.architecture import Architecture, Block
from nas.networks.build import build_network
from nas.networks.deployed import deployed
from nas.networks.operators import estimate_costs
from nas.networks.proxy import ProxySettings, proxy_architecture
from nas.networks.space.search_space import load_space

SMALL = Architecture(
    32,
    20,
    (
        Block("conv", 8, kernel_size=3, stride=2, activation="hswish"),
        Block("mbconv", 8, 3, hidden_channels=8, activation="relu"),
        Block("mbconv", 16, 5, 2, 24, se_channels=8, se_gate="hsigmoid", activation="hswish"),
        Block("mbconv", 16, 7, 1, 48, se_channels=16, se_gate="sigmoid", activation="silu"),
        Block("conv", 32, activation="relu6"),
        Block("pool"),
        Block("linear", 24, activation="hswish"),
        Block("linear", 20),
    ),
)


def seen_images(network: nn.Module, resolution: int) -> nn.Module:
    """The network after its normalisation has seen images, so that its outputs are of order 1."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
                module.weight.uniform_(0.5, 1.5, generator=generator)
        network.train()
        network(torch.randn(4, 3, resolution, resolution, generator=generator))
    return network


def test_every_operator_and_activation_agrees_with_torch_at_any_batch_size(tmp_path: Path) -> None:
    """The file agrees with torch, its batch dimension is free, and its input and output have the promised names."""
    network = seen_images(build_network(SMALL), SMALL.resolution)
    check = export_onnx(network, SMALL, tmp_path / "small.onnx")
    assert check.relative_difference <= check.tolerance
    assert check.top1_agreement == 1
    model = onnx.load(tmp_path / "small.onnx")
    onnx.checker.check_model(model, full_check=True)
    (image,), (logits,) = model.graph.input, model.graph.output
    assert (image.name, logits.name) == ("image", "logits")
    shapes = [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in (image, logits)]
    assert shapes == [["batch", 3, 32, 32], ["batch", 20]]
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", check.opset)]


def test_the_network_keeps_its_mode_and_its_weights(tmp_path: Path) -> None:
    """Exporting changes nothing in the network."""
    network = build_network(SMALL)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    export_onnx(network, SMALL, tmp_path / "small.onnx")
    assert network.training
    assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())


def test_a_file_of_other_weights_is_refused(tmp_path: Path) -> None:
    """One changed filter is enough for the file not to pass as the network."""
    network = seen_images(build_network(SMALL), SMALL.resolution).eval()
    path = tmp_path / "small.onnx"
    export_onnx(network, SMALL, path)
    with torch.no_grad():
        network[2].layers[1][0].weight[0].mul_(-1)  # type: ignore[index]
    with pytest.raises(RunFailedError, match="do not deploy"):
        check_onnx(path, network, SMALL)


def test_a_broken_export_is_refused_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that differs from torch never takes the place of a good one, and no half-written file stays."""
    path = tmp_path / "small.onnx"
    path.write_text("the old file")
    other = build_network(SMALL, seed=1).eval()
    exported = export._onnx_bytes
    monkeypatch.setattr(export, "_onnx_bytes", lambda _network, *rest: exported(other, *rest))
    with pytest.raises(RunFailedError, match="differs by"):
        export_onnx(build_network(SMALL, seed=0), SMALL, path)
    assert path.read_text() == "the old file"
    assert [p.name for p in tmp_path.iterdir()] == ["small.onnx"]


def test_logits_that_are_nan_are_refused(tmp_path: Path) -> None:
    """NaN agrees with nothing, not even with NaN."""
    network = build_network(SMALL)
    nn.init.constant_(network[-1][1].bias, float("nan"))  # type: ignore[index]
    with pytest.raises(RunFailedError, match="nan"):
        export_onnx(network, SMALL, tmp_path / "small.onnx")


def test_a_file_without_a_free_batch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file for one image at a time does not pass."""
    original = torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", lambda *a, **k: original(*a, **{**k, "dynamic_axes": None}))
    with pytest.raises(RunFailedError, match="batch of 2"):
        export_onnx(build_network(SMALL), SMALL, tmp_path / "small.onnx")


def test_an_exporter_that_gives_up_is_a_failed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator that the exporter does not know ends this export only, and leaves no file."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("unsupported operator")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(RunFailedError, match=r"torch cannot export small\.onnx: unsupported operator"):
        export_onnx(build_network(SMALL), SMALL, tmp_path / "small.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_that_does_not_load_is_a_failed_run(tmp_path: Path) -> None:
    """ONNX Runtime refuses a damaged file, in a sentence."""
    path = tmp_path / "small.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(RunFailedError, match=r"ONNX Runtime cannot load small\.onnx: "):
        check_onnx(path, build_network(SMALL).eval(), SMALL)


def test_check_survives_json(tmp_path: Path) -> None:
    """A check reads back equal."""
    check = export_onnx(build_network(SMALL), SMALL, tmp_path / "small.onnx")
    assert OnnxCheck.from_json(check.to_json()) == check


def test_trained_features_are_deployed_and_the_classifier_is_said_to_be_fresh() -> None:
    """All of the proxy's weights arrive but the classifier's, and the sentence says both."""
    proxy = proxy_architecture(SMALL, ProxySettings(), largest_resolution=32, classes=10)
    weights = {
        name: weight + 1 if weight.is_floating_point() else weight
        for name, weight in build_network(proxy, seed=3).state_dict().items()
    }
    network, sentence = deployed_network(SMALL, weights, seed=0, trained_on="digits at 16 pixels")
    fresh = build_network(SMALL, seed=0).state_dict()
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, fresh[name] if name.startswith("7.") else weights[name]), name
    assert sentence == (
        "features short-trained on digits at 16 pixels; the classifier is untrained: 20 classes instead of 10"
    )


def test_with_equal_classes_all_weights_are_deployed() -> None:
    """Nothing is said to be untrained when nothing is."""
    weights = build_network(SMALL, seed=3).state_dict()
    network, sentence = deployed_network(SMALL, weights, trained_on="flowers at 32 pixels")
    assert all(torch.equal(weight, weights[name]) for name, weight in network.state_dict().items())
    assert sentence == "all weights short-trained on flowers at 32 pixels"


def test_without_weights_the_sentence_says_so() -> None:
    """A network that was never trained is not passed off as trained."""
    network, sentence = deployed_network(SMALL, None, seed=5)
    assert "fresh" in sentence
    expected = build_network(SMALL, seed=5).state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in network.state_dict().items())


def test_branches_are_deployed_as_one_convolution_each(tmp_path: Path) -> None:
    """The proxy's weights are those of the trained form; what is exported has one convolution for each block."""
    blocks = (
        Block("mobile_one", 8, 3, 2, activation="relu", branches=2),
        Block("mobile_one", 8, 3, activation="relu", groups=8, branches=3),
        Block("pool"),
    )
    architecture, proxy = (Architecture(32, classes, (*blocks, Block("linear", classes))) for classes in (20, 10))
    trained = seen_images(build_network(proxy), 32).eval()
    network, sentence = deployed_network(architecture, trained.state_dict())
    assert "features short-trained" in sentence
    assert sum(weight.numel() for weight in network.parameters()) == estimate_costs(deployed(architecture)).params
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = [net.eval()[:-1](images) for net in (network, trained)]
    assert torch.allclose(*features, rtol=1e-4, atol=1e-5)
    assert export_onnx(network, architecture, tmp_path / "one.onnx").top1_agreement == 1
    graph = onnx.load(tmp_path / "one.onnx").graph
    assert [node.op_type for node in graph.node if node.op_type in ("Conv", "Add")] == ["Conv", "Conv"]
    fresh, _ = deployed_network(architecture, None)
    assert fresh.state_dict().keys() == network.state_dict().keys()


@pytest.mark.parametrize("change", ["channels", "missing", "surplus"])
def test_weights_of_another_network_are_refused(change: str) -> None:
    """A partial fit is never taken for a trained network."""
    weights = dict(build_network(SMALL).state_dict())
    if change == "channels":
        blocks = (*SMALL.blocks[:4], replace(SMALL.blocks[4], out_channels=40), *SMALL.blocks[5:])
        weights = build_network(Architecture(32, 20, blocks)).state_dict()
    elif change == "missing":
        del weights["2.layers.1.0.weight"]
    else:
        weights["9.extra"] = torch.zeros(1)
    with pytest.raises(NasError, match="the weights must be of the network"):
        deployed_network(SMALL, weights)


def test_a_classifier_alone_is_refused() -> None:
    """A state_dict without its classifier's tensors has no number of classes, and is not this network's proxy."""
    weights = {name: weight for name, weight in build_network(SMALL).state_dict().items() if not name.startswith("7.")}
    with pytest.raises(NasError, match="classifier"):
        deployed_network(SMALL, weights)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_members_of_mbv3_agree_with_torch(tmp_path: Path, seed: int) -> None:
    """Real members of the space pass, fresh and with normalisation that has seen images, far below the tolerance."""
    architecture = load_space("mbv3").sample_member(np.random.default_rng(seed))
    network = build_network(architecture, seed=seed)
    for state in (network, seen_images(network, architecture.resolution)):
        check = export_onnx(state, architecture, tmp_path / "member.onnx")
        assert check.relative_difference < check.tolerance / 5
        assert check.top1_agreement == 1


@pytest.mark.parametrize(("rounding", "accepted"), [(1e-6, False), (1e-4, True), (0.5, False)])
def test_the_limit_grows_with_what_float32_loses_but_not_for_ever(rounding: float, accepted: bool) -> None:
    """Logits 6e-4 apart are refused where torch itself is exact, and accepted where its own rounding explains them."""
    ours = np.array([[1.0, -0.5], [0.25, 0.75]], dtype=np.float32)
    theirs = ours + np.float32(6e-4 if rounding < 0.1 else 0.02)
    exact = ours.astype(np.float64) + rounding
    if accepted:
        check = logits_agreement(ours, theirs, exact, name="net.onnx", of="made-up images")
        assert check.relative_difference == pytest.approx(6e-4, rel=1e-3)
        assert check.tolerance == pytest.approx(1e-3, rel=1e-3)
    else:
        with pytest.raises(RunFailedError, match="do not deploy it"):
            logits_agreement(ours, theirs, exact, name="net.onnx", of="made-up images")
