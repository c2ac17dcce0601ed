"""Augment batches for full training: random resized crops, mixup, CutMix and random erasing.

Each function works on a whole batch. Random numbers are drawn on the CPU, so that they are the same on every device.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional

from nas.accuracy.data.rand_augment import warped

# Highest ratio of width to height, or of height to width, of a crop and of an erased rectangle (arXiv:1409.4842,
# section 6; arXiv:1708.04896, section 4).
_MOST_ASPECT = 4 / 3
_MOST_ERASED_ASPECT = 1 / 0.3
# Lowest and highest share of an image's area that is erased.
_ERASED_SHARE = (0.02, 1 / 3)


class Mixed(NamedTuple):
    """A mixed batch: each image is `share` of one of class `labels` and 1 − `share` of one of class `others`."""

    images: Tensor
    labels: Tensor
    others: Tensor
    share: float

    def loss(self, logits: Tensor, label_smoothing: float) -> Tensor:
        """Cross-entropy with both classes, weighted by their shares (arXiv:1710.09412, equation 1)."""
        own = functional.cross_entropy(logits, self.labels, label_smoothing=label_smoothing)
        if self.share == 1:
            return own
        other = functional.cross_entropy(logits, self.others, label_smoothing=label_smoothing)
        return self.share * own + (1 - self.share) * other


def mixed(images: Tensor, labels: Tensor, *, mixup: float, cutmix: float, generator: Generator) -> Mixed:
    """Mix each of `images`, (n, c, h, w), with another one of the batch by mixup or CutMix.

    `mixup` and `cutmix` are the parameters of their beta distributions; 0 turns one off. Where both are above 0, the
    whole batch takes one of them, each with probability 0.5.
    """
    if not (mixup or cutmix):
        return Mixed(images, labels, labels, 1.0)
    cut = bool(cutmix) and (not mixup or bool(torch.rand((), generator=generator) < 0.5))
    order = torch.randperm(len(images), generator=generator).to(images.device)
    share = _beta(cutmix if cut else mixup, generator)
    if not cut:
        return Mixed(torch.lerp(images[order], images, share), labels, labels[order], share)
    top, bottom, left, right = _box(images.shape[-2], images.shape[-1], 1 - share, generator)
    out = images.clone(memory_format=torch.preserve_format)
    out[:, :, top:bottom, left:right] = images[order][:, :, top:bottom, left:right]
    covered = (bottom - top) * (right - left) / (images.shape[-2] * images.shape[-1])
    return Mixed(out, labels, labels[order], 1 - covered)


def resized_crops(batch: Tensor, *, least: float, mirror: bool, generator: Generator) -> Tensor:
    """Random crops of `batch`, uint8 (n, 3, h, w), resized to h × w, float32 (arXiv:1409.4842, section 6).

    A crop has `least` to 1 of the image's area. With `mirror`, each is mirrored with probability 0.5.
    """
    count = len(batch)
    area, aspect, x, y, coin = torch.rand(5, count, generator=generator)
    area = least + (1 - least) * area
    ratio = torch.exp((2 * aspect - 1) * math.log(_MOST_ASPECT))
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    matrices = torch.zeros(count, 2, 3)
    matrices[:, 0, 0] = torch.where(coin < 0.5, -width, width) if mirror else width
    matrices[:, 1, 1] = height
    # Positions go from -1 to 1, so the centre of a crop may be up to 1 - width away from 0.
    matrices[:, 0, 2] = (2 * x - 1) * (1 - width)
    matrices[:, 1, 2] = (2 * y - 1) * (1 - height)
    # The outermost half pixels are interpolated with what lies beyond the edge, so the edge is repeated there.
    pixels = functional.pad(batch.float(), (1, 1, 1, 1), mode="replicate")
    side = torch.tensor([batch.shape[-1] / pixels.shape[-1], batch.shape[-2] / pixels.shape[-2]])
    inner = matrices * side.view(1, 2, 1)
    return warped(pixels, inner.to(batch.device), size=batch.shape[-2:])


def erased(images: Tensor, *, probability: float, generator: Generator) -> Tensor:
    """Fill a rectangle of each of `images` with noise, with that probability; in place, normalised (n, c, h, w)."""
    if not probability:
        return images
    height, width = images.shape[-2:]
    chosen = (torch.rand(len(images), generator=generator) < probability).nonzero().flatten().tolist()
    low, high = _ERASED_SHARE
    for index in chosen:
        area = low + (high - low) * float(torch.rand((), generator=generator))
        ratio = math.exp((2 * float(torch.rand((), generator=generator)) - 1) * math.log(_MOST_ERASED_ASPECT))
        h = max(1, min(height, round(height * math.sqrt(area * ratio))))
        w = max(1, min(width, round(width * math.sqrt(area / ratio))))
        top = int(torch.randint(height - h + 1, (), generator=generator))
        left = int(torch.randint(width - w + 1, (), generator=generator))
        noise = torch.randn(images.shape[1], h, w, generator=generator)
        images[index, :, top : top + h, left : left + w] = noise.to(images)
    return images


def _box(height: int, width: int, area: float, generator: Generator) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a random box with the image's aspect ratio and share `area` of its area.

    The box is clipped at the edges (arXiv:1905.04899, equation 2).
    """
    h, w = round(height * math.sqrt(area)), round(width * math.sqrt(area))
    y = int(torch.randint(height, (), generator=generator))
    x = int(torch.randint(width, (), generator=generator))
    top, left = y - h // 2, x - w // 2
    return max(0, top), min(height, top + h), max(0, left), min(width, left + w)


def _beta(parameter: float, generator: Generator) -> float:
    """Draw from the beta distribution whose two parameters are both `parameter`."""
    a, b = torch._standard_gamma(torch.full((2,), parameter, dtype=torch.float64), generator=generator).tolist()
    return a / (a + b) if a + b > 0 else 1.0
