"""Identify a training by every fact that its weights depend on.

`TrainingIdentity` holds the network, the images, the recipe, the number of epochs of the schedule and the seed. It is
the key of the score cache and is checked before a checkpoint is resumed.
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

# Raise this with every change after which the same settings and seed train other weights or score them differently: in
# train.py and what it uses (augment.py, batchnorm.py, dataset.py, optimisation.py, randomness.py, scores.py), or in how
# blocks are built and initialised.
RECIPE_VERSION = 1


@dataclass(frozen=True, eq=False)
class TrainingIdentity:
    """The facts of one training.

    `proxy` is the fingerprint of the trained network, `data` comes from `data_identity`, `recipe` from `recipe_of`, and
    `budget` is the number of epochs of the schedule.
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
        """Hash of all the facts, 32 hexadecimal digits."""
        return hashlib.blake2b(json.dumps(self.to_json(), sort_keys=True).encode(), digest_size=16).hexdigest()


def recipe_of(settings: TrainingSettings) -> dict[str, Any]:
    """The settings of a training without the number of epochs, and what computes it: device, precision, torch.

    Raises NasError for a device or precision that this machine does not have.
    """
    device = resolve_device(settings.device)
    precision = str(resolve_precision(settings.precision, device)).removeprefix("torch.")
    # Scores that were earned in bfloat16 on a CPU before maps of width 1 were computed in float32 are not to be found.
    corrected = {"narrow_maps": "float32"} if (device.type, precision) == ("cpu", "bfloat16") else {}
    return {
        "version": RECIPE_VERSION,
        "settings": settings.model_dump(mode="json", exclude={"epochs", "device", "precision"}),
        "device": device.type,
        "precision": precision,
        **corrected,
        "torch": str(torch.__version__),
    }


def data_identity(dataset: Dataset) -> dict[str, Any]:
    """The facts that tell a data set from every other: its classes, counts, and a hash of all images and labels."""
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
