"""Two trainings have one identity exactly when their weights are the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from nas.accuracy.data.dataset import Dataset, Split
from nas.accuracy.training.settings import TrainingSettings
from nas.accuracy.training.training_identity import TrainingIdentity, data_identity, recipe_of
from tests.accuracy.helpers import random_dataset

RECIPE = recipe_of(TrainingSettings(device="cpu", precision="float32"))
IDENTITY = TrainingIdentity("f00d", data_identity(random_dataset()), RECIPE, 9, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"proxy": "beef"},
        {"budget": 3},
        {"seed": 1},
        {"data": data_identity(random_dataset(30))},
        {"recipe": recipe_of(TrainingSettings(device="cpu", precision="float32", learning_rate=0.1))},
        {"recipe": recipe_of(TrainingSettings(device="cpu", precision="bfloat16"))},
    ],
)
def test_another_training_has_another_digest(change: dict[str, Any]) -> None:
    """Network, epochs, seed, images and each setting count."""
    assert replace(IDENTITY, **change).digest != IDENTITY.digest


def test_the_recipe_leaves_out_what_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget is said apart, and `auto` is what it comes to; another torch is another recipe."""
    plain = TrainingSettings(device="cpu", precision="float32")
    assert recipe_of(plain) == recipe_of(plain.model_copy(update={"epochs": 7}))
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert recipe_of(plain) == recipe_of(TrainingSettings(device="cpu"))
    monkeypatch.setattr(torch, "__version__", "0.4.1")
    assert recipe_of(plain)["torch"] == "0.4.1"


def change_pixel(dataset: Dataset) -> Dataset:
    images = dataset.train.images.clone()
    images[3, 0, 0, 0] ^= 1
    return replace(dataset, train=Split(images, dataset.train.labels))


def change_label(dataset: Dataset) -> Dataset:
    labels = dataset.val.labels.clone()
    labels[0] = 1 - labels[0]
    return replace(dataset, val=Split(dataset.val.images, labels))


def test_data_is_known_by_its_contents() -> None:
    """Not by its name or its layout in memory; a pixel, a label or a class makes it another."""
    dataset = random_dataset()
    contiguous = Split(dataset.train.images.contiguous(), dataset.train.labels)
    assert data_identity(dataset) == data_identity(replace(dataset, name="other", train=contiguous))
    others = [change_pixel(dataset), change_label(dataset), replace(dataset, classes=("a", "c"))]
    assert all(data_identity(other) != data_identity(dataset) for other in others)
