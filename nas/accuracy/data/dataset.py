"""Hold labelled images in memory, and divide them into training and validation sets.

Images are uint8, (n, 3, height, width), in channels-last memory. Each is decoded once; a batch is a gather of bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from nas.errors import NasError

# The seed of every split, whatever the seed of a run, so that all runs are scored on the same images.
SPLIT_SEED = 20190506

_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Split:
    """Images, uint8 (n, 3, h, w), and their classes, int64 (n,)."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        assert self.images.dtype == torch.uint8, self.images.dtype
        assert self.labels.dtype == torch.int64, self.labels.dtype
        assert self.images.ndim == 4, self.images.shape
        assert len(self.images) == len(self.labels), (len(self.images), len(self.labels))

    def __len__(self) -> int:
        return len(self.labels)

    def pick(self, indices: Tensor) -> Split:
        """The images at `indices`, int64 (m,), in that order."""
        return Split(self.images[indices].contiguous(memory_format=torch.channels_last), self.labels[indices])

    def at(self, resolution: int) -> Split:
        """These images resized to a side of `resolution` pixels (bilinear, antialiased); at most one copy is made."""
        if self.images.shape[-2:] == (resolution, resolution):
            return self
        size = (len(self), 3, resolution, resolution)
        resized = torch.empty(size, dtype=torch.uint8, memory_format=torch.channels_last)
        for start in range(0, len(self), _CHUNK):
            chunk = self.images[start : start + _CHUNK].float()
            chunk = functional.interpolate(chunk, (resolution, resolution), mode="bilinear", antialias=True)
            resized[start : start + _CHUNK] = chunk.round_().clamp_(0, 255)
        return Split(resized, self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """The images of a search: `train` to train on, `val` to score on.

    There is no test split here, so that a search cannot use it; `nas.accuracy.data.load.load_test_split` reads it.
    `classes` are sorted by name, and labels are positions in it. `mirror` says whether a mirrored image keeps its
    class.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    mirror: bool
    description: str

    @property
    def resolution(self) -> int:
        """Side of the images as held in memory, in pixels."""
        return self.train.images.shape[-1]

    def at(self, resolution: int) -> Dataset:
        """The same images resized to a side of `resolution` pixels."""
        if resolution == self.resolution:
            return self
        return replace(self, train=self.train.at(resolution), val=self.val.at(resolution))

    @cached_property
    def mean(self) -> Tensor:
        """Mean of each channel over the training split, in 0 to 255, float32 (3,)."""
        return self._moments[0]

    @cached_property
    def std(self) -> Tensor:
        """Standard deviation of each channel over the training split, in 0 to 255 and at least 1, float32 (3,)."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        total, squares = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
        for start in range(0, len(self.train), _CHUNK):
            values = self.train.images[start : start + _CHUNK].double()
            total += values.sum((0, 2, 3))
            squares += values.square().sum((0, 2, 3))
        count = self.train.images.numel() / 3
        mean = total / count
        return mean.float(), (squares / count - mean.square()).clamp_(min=1.0).sqrt().float()


def hold_out(labels: Tensor, count: int, classes: tuple[str, ...], *, what: str) -> tuple[Tensor, Tensor]:
    """Divide images into two sorted lists of indices: those that stay, and about `count` held out.

    Each class is held out in proportion, with at least one image on each side. Raises NasError where a class has fewer
    than 2 images; `what` names the images in that message.
    """
    sizes = torch.bincount(labels, minlength=len(classes))
    small = [name for name, size in zip(classes, sizes.tolist(), strict=True) if size < 2]
    if small:
        raise NasError(
            f"{what} must have at least 2 images of each class, one to train on and one for validation, "
            f"but has fewer of {_listed(small)}. Add images, or leave these classes out."
        )
    shares = (sizes * count / len(labels)).round().long().clamp(min=1).minimum(sizes - 1)
    held_out = _first_of_each_class(labels, shares, SPLIT_SEED)
    stays = torch.ones(len(labels), dtype=torch.bool)
    stays[held_out] = False
    return stays.nonzero().flatten(), held_out


def subset(labels: Tensor, max_images: int | None, classes: int, seed: int) -> Tensor:
    """Sorted indices of `max_images` images, each class in proportion; of all images where there are fewer.

    `seed` draws the images. Raises NasError where `max_images` is less than the number of classes.
    """
    if max_images is None or max_images >= len(labels):
        return torch.arange(len(labels))
    if max_images < classes:
        raise NasError(f"max_images must be at least {classes}, one for each class, but is {max_images}")
    sizes = torch.bincount(labels, minlength=classes)
    return _first_of_each_class(labels, _proportional(sizes, max_images), seed)


def _proportional(sizes: Tensor, count: int) -> Tensor:
    """Divide `count` in proportion to `sizes`, at least 1 each; the largest remainders are rounded up."""
    exact = sizes * count / sizes.sum()
    shares = exact.floor().long().clamp(min=1)
    while (missing := count - int(shares.sum())) != 0:
        step = 1 if missing > 0 else -1
        may_change = shares < sizes if step > 0 else shares > 1
        gap = torch.where(may_change, (exact - shares) * step, -torch.inf)
        shares[gap.argmax()] += step
    return shares


def _first_of_each_class(labels: Tensor, counts: Tensor, seed: int) -> Tensor:
    """Sorted indices of the first `counts[c]` images of each class c, in an order drawn from `seed`."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    chosen = [order[labels[order] == label][:count] for label, count in enumerate(counts.tolist())]
    return torch.cat(chosen).sort().values


def _listed(names: list[str], limit: int = 10) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
