"""Scores equal their definitions, and outputs that are not finite have none."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.accuracy.training.failures import TrainingFailedError
from nas.accuracy.training.scores import score
from tests.accuracy.helpers import random_dataset, tiny_network


def test_scores_are_torchs() -> None:
    """Top-1, top-5 and loss of known logits."""
    dataset = random_dataset(30, classes=8)
    logits = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    table = {
        bytes(image.numpy().data): row for image, row in zip(dataset.train.images.contiguous(), logits, strict=True)
    }

    class Known(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            pixels = x * dataset.std.view(1, 3, 1, 1) + dataset.mean.view(1, 3, 1, 1)
            return torch.stack([table[bytes(p.contiguous().numpy().data)] for p in pixels.round().to(torch.uint8)])

    scores = score(Known(), dataset.train, dataset)
    labels = dataset.train.labels
    ranks = (logits > logits.gather(1, labels[:, None])).sum(1)
    assert scores.top1 == pytest.approx(100 * float((ranks == 0).float().mean()))
    assert scores.top5 == pytest.approx(100 * float((ranks < 5).float().mean()))
    assert scores.loss == pytest.approx(float(functional.cross_entropy(logits, labels)), rel=1e-5)


def test_top1_counts() -> None:
    """A network that always says class 0 is right as often as class 0 comes up, in batches of any size."""
    dataset = random_dataset(15)

    class Zero(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = nn.Parameter(torch.tensor([1.0, 0.0]))

        def forward(self, x: Tensor) -> Tensor:
            return self.scores.expand(len(x), 2)

    assert score(Zero(), dataset.train, dataset, batch_size=4).top1 == pytest.approx(100 * 8 / 15)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_outputs_that_are_not_finite_have_no_scores(value: float) -> None:
    """`argmax` would take them for class 0."""
    network = tiny_network(2)
    nn.init.constant_(network[-1].bias, value)  # type: ignore[index]
    with pytest.raises(TrainingFailedError, match="outputs are NaN or infinite; lower the learning rate"):
        score(network, random_dataset().val, random_dataset())
