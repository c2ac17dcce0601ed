"""Score a network on labelled images: top-1, top-5, loss and confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.accuracy.data.augment import normalised
from nas.accuracy.data.dataset import Dataset, Split
from nas.accuracy.training.failures import TrainingFailedError
from nas.accuracy.training.processes import Processes


@dataclass(frozen=True)
class Scores:
    """Results on a set of images: `confusion[true, predicted]` counts images, int64 (classes, classes).

    `within_top5` counts the images whose class has one of the five highest logits; `loss` is the mean cross-entropy.
    """

    confusion: Tensor
    within_top5: int
    loss: float

    @property
    def images(self) -> int:
        """Number of images."""
        return int(self.confusion.sum())

    @property
    def top1(self) -> float:
        """Percent of the images whose class has the highest logit."""
        return 100 * int(self.confusion.diagonal().sum()) / self.images

    @property
    def top5(self) -> float:
        """Percent of the images whose class has one of the five highest logits (all, with fewer classes)."""
        return 100 * self.within_top5 / self.images


@torch.inference_mode()
def score(
    network: nn.Module,
    split: Split,
    dataset: Dataset,
    *,
    batch_size: int = 256,
    processes: Processes | None = None,
) -> Scores:
    """Score `network` on `split`, normalising images as `dataset` says; the network ends in evaluation mode.

    Computes in float32, `batch_size` images at a time; each process scores its share. Raises TrainingFailedError where
    an output is NaN or infinite: `argmax` would take it for class 0.
    """
    network.eval()
    processes = processes or Processes()
    device = next(network.parameters()).device
    mean, std = dataset.mean.to(device), dataset.std.to(device)
    classes = len(dataset.classes)
    confusion = torch.zeros(classes * classes, dtype=torch.int64, device=device)
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    own = torch.arange(processes.rank, len(split), processes.count)
    for indices in torch.split(own, batch_size):
        labels = split.labels[indices].to(device)
        logits = network(normalised(split.images[indices].to(device), mean, std)).float()
        confusion += torch.bincount(labels * classes + logits.argmax(1), minlength=classes * classes)
        within = (logits.topk(min(5, classes), 1).indices == labels[:, None]).any(1).sum()
        loss = functional.cross_entropy(logits, labels, reduction="sum")
        sums += torch.stack([within.double(), loss.double(), (~logits.isfinite()).sum().double()])
    processes.total(confusion)
    processes.total(sums)
    if sums[2] > 0:
        raise TrainingFailedError("the network's outputs are NaN or infinite; lower the learning rate")
    return Scores(confusion.view(classes, classes).cpu(), int(sums[0]), float(sums[1]) / len(split))
