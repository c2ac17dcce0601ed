"""Which facts decide what a training comes to?

The network, the images, the recipe, the epochs it is laid out for and the seed: `TrainingIdentity` says all of them, so
that a score is never earned twice and a checkpoint is never taken for another training's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from nas.accuracy.data.dataset import Dataset
from nas.accuracy.training.devices import resolve_device, resolve_precision
from nas.accuracy.training.settings import TrainingSettings

# To be raised with every change after which the same settings and seed train other weights or score them otherwise: in
# train.py and what it is made of (augment.py, batchnorm.py, dataset.py, optimisation.py, randomness.py, scores.py), or
# in how blocks are built and first filled.
RECIPE_VERSION = 1


@dataclass(frozen=True, eq=False)
class TrainingIdentity:
    """One training. `proxy` is the fingerprint of the network that is trained, `budget` the epochs of its schedule.

    `data` and `recipe` are those of `data_identity` and `recipe_of`.
    """

    proxy: str
    data: Mapping[str, Any]
    recipe: Mapping[str, Any]
    budget: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits: the same for the same training, and for no other."""
        return hashlib.blake2b(json.dumps(self.to_json(), sort_keys=True).encode(), digest_size=16).hexdigest()


def recipe_of(settings: TrainingSettings) -> dict[str, Any]:
    """How a network is trained but for the number of epochs, and by what: torch, its device and its precision.

    Raises NasError for a device or precision that this machine does not have.
    """
    device = resolve_device(settings.device)
    return {
        "version": RECIPE_VERSION,
        "settings": settings.model_dump(mode="json", exclude={"epochs", "device", "precision"}),
        "device": device.type,
        "precision": str(resolve_precision(settings.precision, device)).removeprefix("torch."),
        "torch": str(torch.__version__),
    }


def data_identity(dataset: Dataset) -> dict[str, Any]:
    """Enough of a data set to notice that it is another one: its classes, and every image and label."""
    digest = hashlib.blake2b(digest_size=8)
    for split in (dataset.train, dataset.val):
        digest.update(split.images.permute(0, 2, 3, 1).contiguous().numpy().data)
        digest.update(split.labels.numpy().data)
    return {
        "classes": list(dataset.classes),
        "train_images": len(dataset.train),
        "val_images": len(dataset.val),
        "digest": digest.hexdigest(),
    }
