"""Quantisation-aware training: train a network with the rounding of int8, so that it loses less accuracy in int8.

Torch runs the graph of the float32 ONNX model, with batch normalisation folded, and rounds in it what ONNX Runtime will
round (fake_quantised.py). The trained weights and ranges are then put into an int8 model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor

from nas.accuracy.data.dataset import Dataset
from nas.accuracy.data.load import load_dataset
from nas.accuracy.training.failures import TrainingFailedError
from nas.accuracy.training.settings import TrainingSettings
from nas.accuracy.training.tuning import tune
from nas.deploy.inference.images import LabelledImages
from nas.deploy.quantisation.fake_quantised import FakeQuantisedNetwork, check_torchao, fake_quantised
from nas.deploy.quantisation.onnx import DEFAULT_PERCENTILE, Calibration, calibrated_ranges, prepared, quantised_with
from nas.deploy.quantisation.onnx_network import check_operators, with_tensors
from nas.deploy.trained import Preprocessing
from nas.errors import NasError
from nas.networks.architecture import Architecture

# Ranges follow the batches for this share of the steps, and are then fixed, so that the weights can settle to them.
_RANGES_MOVE = 0.8

_WHITE = 255


def trained_for_int8(
    model: ModelProto,
    images: NDArray[np.float32],
    dataset: Dataset,
    training: TrainingSettings,
    *,
    steps: int,
    seed: int,
    calibration: Calibration = "minmax",
    percentile: float = DEFAULT_PERCENTILE,
    exclude: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> ModelProto:
    """`model` (float32) in int8, after `steps` steps of training on `dataset` with the rounding of int8.

    Ranges start as `quantised_static` finds them on `images`, (n, 3, h, w) as the network takes them, and then follow
    those of the batches; `dataset` normalises as the network was trained. Nodes that `exclude` names are neither
    rounded nor trained. `progress` is called with the number of steps done, and of all. The same seed gives the same
    model, bit for bit, on the same CPU with as many threads.

    Raises NasError where torchao is missing, for operators that cannot be trained, and where there are no images or no
    steps; TrainingFailedError where weights or ranges become NaN or infinite; and as `quantised_static` does.
    """
    check_torchao()
    if steps < 1 or not len(dataset.train):
        raise NasError(f"training must have at least one step and one image, but has {steps} and {len(dataset.train)}")
    plain = prepared(model)
    check_operators(plain)
    ranges = calibrated_ranges(plain, images, calibration=calibration, percentile=percentile)
    places = fake_quantised(quantised_with(plain, ranges, exclude=exclude))
    network = FakeQuantisedNetwork(plain, places, ranges)
    _train(network, dataset, training, steps, seed, progress)
    return quantised_with(with_tensors(plain, network.tensors()), {**ranges, **network.ranges()}, exclude=exclude)


def load_training_images(
    source: str,
    architecture: Architecture,
    *,
    preprocessing: Preprocessing | None = None,
    calibration: int = 256,
    max_images: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> tuple[LabelledImages, Dataset]:
    """The images of `source` to calibrate, score and train on, at the resolution of `architecture`.

    At most `max_images` are trained on; `calibration` of these set the first ranges; both are drawn with `seed`. Images
    are normalised by `preprocessing` where that is recorded. Raises NasError as `load_dataset` does.
    """
    resolution = architecture.resolution
    loaded = load_dataset(source, image_size=resolution, max_images=max_images, seed=seed, progress=progress)
    dataset = loaded.at(resolution)
    preprocessing = preprocessing or Preprocessing.of(dataset, resolution)
    order = torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(seed))
    images = LabelledImages(
        source, dataset.classes, dataset.train.pick(order[:calibration]), dataset.val, preprocessing
    )
    parts = {field.name: getattr(dataset, field.name) for field in fields(Dataset)}
    return images, _NormalisedAs(**parts, preprocessing=preprocessing)


def steps_of(epochs: int, dataset: Dataset, training: TrainingSettings) -> int:
    """The number of steps, of whole batches, in so many epochs."""
    return epochs * max(1, len(dataset.train) // training.batch_size)


@dataclass(frozen=True, eq=False)
class _NormalisedAs(Dataset):
    """A data set that is normalised by a network's preprocessing, not by its own mean and deviation."""

    preprocessing: Preprocessing

    @cached_property
    def mean(self) -> Tensor:
        return _WHITE * torch.tensor(self.preprocessing.mean)

    @cached_property
    def std(self) -> Tensor:
        return _WHITE * torch.tensor(self.preprocessing.std)


def _train(
    network: FakeQuantisedNetwork,
    dataset: Dataset,
    training: TrainingSettings,
    steps: int,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    done = 0

    def after_step() -> None:
        nonlocal done
        done += 1
        if done == math.ceil(_RANGES_MOVE * steps):
            network.fix_ranges()
        if progress is not None:
            progress(done, steps)

    # bfloat16 cannot tell neighbouring levels apart.
    exact = training.model_copy(update={"precision": "float32"})
    try:
        tune(network, dataset, exact, steps=steps, seed=seed, after_step=after_step)
    except (AssertionError, RuntimeError) as error:  # raised by torchao and torch where a range is NaN
        if _finite(network):
            raise
        raise _diverged(steps, training) from error
    if not _finite(network):
        raise _diverged(steps, training)
    network.fix_ranges()


def _finite(network: FakeQuantisedNetwork) -> bool:
    """Whether all weights and ranges are finite. The loss does not show it: rounding turns NaN into a number."""
    ranges = torch.tensor(list(network.ranges().values()))
    return bool(ranges.isfinite().all()) and all(bool(tensor.isfinite().all()) for tensor in network.tensors().values())


def _diverged(steps: int, training: TrainingSettings) -> TrainingFailedError:
    return TrainingFailedError(
        f"weights became NaN or infinite in {steps} steps at learning rate {training.learning_rate:g}; lower it"
    )
