"""The labelled images that a network is checked, calibrated and scored on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.accuracy.data.dataset import Split
from nas.accuracy.data.load import load_dataset
from nas.deploy.trained import Preprocessing
from nas.errors import NasError
from nas.networks.architecture import Architecture


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Labelled images, uint8 at a network's resolution, and their preprocessing.

    `calibration` is a part of the training images; nothing was trained on `validation`.
    """

    source: str
    labels: tuple[str, ...]
    calibration: Split
    validation: Split
    preprocessing: Preprocessing

    def calibration_inputs(self) -> NDArray[np.float32]:
        """The calibration images, float32 (n, 3, h, w), as the network takes them."""
        inputs: NDArray[np.float32] = self.preprocessing.applied(self.calibration.images).numpy()
        return inputs

    def some(self, count: int) -> Tensor:
        """`count` validation images, or all, spread over the split: float32 (n, 3, h, w), as the network takes them."""
        indices = torch.linspace(0, len(self.validation) - 1, min(count, len(self.validation))).round().long()
        return self.preprocessing.applied(self.validation.images[indices])


def load_labelled_images(
    source: str,
    architecture: Architecture,
    *,
    preprocessing: Preprocessing | None = None,
    calibration: int = 512,
    seed: int = 0,
    progress: bool = False,
) -> LabelledImages:
    """The images of `source` (as in `nas.accuracy.data.load`) at the resolution of `architecture`.

    `calibration` training images are drawn with `seed`. Without a recorded `preprocessing`, mean and deviation are
    those of the whole training split. Raises NasError as `load_dataset` does.
    """
    # Mean and deviation need all training images; where they are recorded, only the images that are used are decoded.
    most = max(calibration, architecture.classes) if preprocessing else None
    resolution = architecture.resolution
    dataset = load_dataset(source, image_size=resolution, max_images=most, seed=seed, progress=progress)
    preprocessing = preprocessing or Preprocessing.of(dataset, resolution)
    order = torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(seed))
    drawn = dataset.train.pick(order[:calibration]).at(resolution)
    return LabelledImages(source, dataset.classes, drawn, dataset.val.at(resolution), preprocessing)


def check_labels(images: LabelledImages, labels: Sequence[str] | None, classes: int) -> None:
    """Raise NasError where the images are of other classes than a network's outputs."""
    if len(images.labels) != classes:
        raise NasError(
            f"the images must be of the network's {classes} classes, but {images.source} has {len(images.labels)}"
        )
    if labels is not None and tuple(labels) != images.labels:
        odd = next((ours, theirs) for ours, theirs in zip(labels, images.labels, strict=True) if ours != theirs)
        raise NasError(
            f"the classes of {images.source} must be the network's, in this order, but where the network has "
            f"{odd[0]!r} they have {odd[1]!r}"
        )
