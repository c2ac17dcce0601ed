"""Tests of training for int8: the int8 model computes what was trained."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from nas.accuracy.training.failures import TrainingFailedError
from nas.accuracy.training.settings import TrainingSettings
from nas.deploy.quantisation import training as quantise_training
from nas.deploy.quantisation.compress import session_runner, top1_of
from nas.deploy.quantisation.fake_quantised import FakeQuantisedNetwork, fake_quantised
from nas.deploy.quantisation.onnx import calibrated_ranges, limits, prepared, quantised_static, quantised_with, runs_as
from nas.deploy.quantisation.training import load_training_images, steps_of, trained_for_int8
from nas.deploy.trained import Preprocessing
from nas.errors import NasError
from nas.networks.onnx_graph import onnx_bytes
from tests.deploy.digits_network import DIGITS, SIDE, digits, trained_digits

pytest.importorskip("torchao")

SETTINGS = TrainingSettings(batch_size=32, learning_rate=0.02, weight_decay=0.0, device="cpu")
STEPS = 20


@cache
def model() -> ModelProto:
    example = torch.zeros(1, 3, SIDE, SIDE)
    return onnx.load_from_string(onnx_bytes(trained_digits().build(), example, name="net", any_batch_size=True))


@cache
def inputs() -> NDArray[np.float32]:
    images, _ = load_training_images("digits", DIGITS, preprocessing=trained_digits().preprocessing, calibration=64)
    return images.calibration_inputs()


def trained(*, seed: int = 0, steps: int = STEPS, settings: TrainingSettings = SETTINGS) -> ModelProto:
    return trained_for_int8(model(), inputs(), digits(), settings, steps=steps, seed=seed)


@cache
def quantised() -> ModelProto:
    return trained()


def top1(made: ModelProto) -> float:
    return top1_of(session_runner(made), digits().val, trained_digits().preprocessing, "net")


def initial(name: str, of: ModelProto) -> NDArray[np.float32]:
    return next(onnx.numpy_helper.to_array(tensor) for tensor in of.graph.initializer if tensor.name == name)


def test_every_product_is_in_integers_and_accuracy_is_kept() -> None:
    """No convolution stays in float, and no more than a point is lost."""
    assert runs_as(quantised()).heavy_float == 0
    assert top1(quantised()) >= top1(model()) - 1


def test_the_int8_model_is_the_one_that_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class of every image is the same, and logits are on the same level of 256 but for rounding on the way."""
    networks: list[FakeQuantisedNetwork] = []
    build = FakeQuantisedNetwork.__init__

    def build_and_keep(network: FakeQuantisedNetwork, *arguments: object) -> None:
        build(network, *arguments)  # type: ignore[arg-type]
        networks.append(network)

    monkeypatch.setattr(FakeQuantisedNetwork, "__init__", build_and_keep)
    made = trained(steps=10)
    (network,) = networks
    images = trained_digits().preprocessing.applied(digits().val.images)
    with torch.no_grad():
        reference = network(images).numpy()
    logits = session_runner(made)(images.numpy())
    levels = np.abs(logits - reference) / initial("logits_scale", made)
    assert (logits.argmax(1) == reference.argmax(1)).mean() > 0.998
    assert levels.max() < 2.5
    assert (levels < 0.5).mean() > 0.98
    for name, (low, high) in network.ranges().items():
        assert initial(f"{name}_scale", made) == pytest.approx((high - low) / 255, rel=1e-6)
        assert initial(f"{name}_zero_point", made) == round(-low * 255 / (high - low))


def test_ranges_are_learned_and_cut_to_what_matters() -> None:
    """They are not those of calibration, and those of h-swish's inputs spend no level below -3."""
    before = quantised_static(model(), inputs())
    names = [tensor.name for tensor in before.graph.initializer if tensor.name.endswith("output_0_scale")]
    moved = [name for name in names if initial(name, before) != initial(name, quantised())]
    assert len(moved) > len(names) / 2
    for name, (least, _) in limits(prepared(model())).items():
        scale = initial(f"{name}_scale", quantised())
        assert -initial(f"{name}_zero_point", quantised()).astype(float) * scale >= least - scale


def test_training_mends_ranges_that_ruin_the_network() -> None:
    """Ranges that cut off a tenth of all values cost many points, which training wins back."""
    cut = {"calibration": "percentile", "percentile": 90.0}
    ruined = top1(quantised_static(model(), inputs(), **cut))  # type: ignore[arg-type]
    made = trained_for_int8(model(), inputs(), digits(), SETTINGS, steps=60, seed=0, **cut)  # type: ignore[arg-type]
    assert ruined < top1(model()) - 5
    assert top1(made) > (ruined + top1(model())) / 2


def test_the_seed_decides_everything() -> None:
    """The same seed gives the same file, byte for byte, another seed another file; global random state is untouched."""
    state = torch.get_rng_state()
    again = trained()
    assert torch.equal(torch.get_rng_state(), state)
    assert again.SerializeToString() == quantised().SerializeToString()
    assert trained(seed=1, steps=2).SerializeToString() != trained(seed=0, steps=2).SerializeToString()


def test_excluded_nodes_are_neither_rounded_nor_trained() -> None:
    """Their weights are what they were."""
    node = next(node for node in prepared(model()).graph.node if node.op_type == "Conv")
    made = trained_for_int8(model(), inputs(), digits(), SETTINGS, steps=2, seed=0, exclude=[node.name])
    assert runs_as(made).heavy_float == 1
    assert np.array_equal(initial(node.input[1], made), initial(node.input[1], prepared(model())))


def test_before_training_the_network_is_the_calibrated_one() -> None:
    """With fixed ranges, logits are those of the model that was quantised after training."""
    plain = prepared(model())
    ranges = calibrated_ranges(plain, inputs())
    static = quantised_with(plain, ranges)
    network = FakeQuantisedNetwork(plain, fake_quantised(static), ranges)
    network.fix_ranges()
    with torch.no_grad():
        logits = network(torch.from_numpy(inputs())).numpy()
    assert np.abs(logits - session_runner(static)(inputs())).max() < 2.5 * initial("logits_scale", static)


def test_images_are_normalised_as_the_network_was_trained() -> None:
    """By the recorded mean and deviation, on any subset; calibration images are some of the training images."""
    other = Preprocessing(SIDE, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    images, dataset = load_training_images("digits", DIGITS, preprocessing=other, calibration=30, max_images=50)
    assert torch.allclose(dataset.mean, 255 * torch.tensor(other.mean))
    assert torch.allclose(dataset.std, 255 * torch.tensor(other.std))
    assert (len(dataset.train), len(images.calibration)) == (50, 30)
    assert steps_of(3, dataset, TrainingSettings(batch_size=16)) == 9
    assert steps_of(1, dataset, TrainingSettings(batch_size=64)) == 1
    taken = {image.numpy().tobytes() for image in dataset.train.images}
    assert all(image.numpy().tobytes() in taken for image in images.calibration.images)
    _, own = load_training_images("digits", DIGITS, max_images=50)
    assert torch.allclose(own.mean, dataset.train.images.float().mean((0, 2, 3)), atol=1e-3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_training_that_goes_wrong_is_said(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that become NaN or infinite are an error, though rounding makes numbers of them."""

    def diverges(network: FakeQuantisedNetwork, *_: object, **__: object) -> None:
        with torch.no_grad():
            next(network.parameters())[0, 0] = value
        network(torch.from_numpy(inputs()))

    monkeypatch.setattr(quantise_training, "tune", diverges)
    with pytest.raises(TrainingFailedError, match=r"NaN or infinite in 20 steps at learning rate 0\.02; lower it"):
        trained()


@pytest.mark.parametrize(("steps", "images"), [(0, 100), (5, 0)])
def test_nothing_to_train_is_refused(steps: int, images: int) -> None:
    """Training needs at least one step and one image."""
    few = replace(digits(), train=digits().train.pick(torch.arange(images)))
    with pytest.raises(NasError, match=f"at least one step and one image, but has {steps} and {images}"):
        trained_for_int8(model(), inputs(), few, SETTINGS, steps=steps, seed=0)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is done."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torchao" else find(name))
    with pytest.raises(NasError, match=r"needs torchao: pip install 'hwnas\[qat\]'"):
        trained()
