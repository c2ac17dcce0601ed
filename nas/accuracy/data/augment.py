"""Augment and normalise batches of uint8 images: random shifts and mirroring.

Works on a whole batch at once: one index into the bytes of all images crops, mirrors and gathers.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def augment(images: Tensor, indices: Tensor, *, padding: int, mirror: bool, generator: Generator) -> Tensor:
    """The images at `indices`, each shifted by up to `padding` pixels in x and y, and mirrored with probability 0.5.

    `images` is uint8 (n, 3, h, w), fastest in channels-last memory, and is not changed. The batch is uint8
    (len(indices), 3, h, w) in channels-last memory. A shift equals a crop of the reflection-padded image; `padding`
    must be smaller than h and w. Random numbers are drawn on the CPU, so that they are the same on every device.
    """
    count, (height, width) = len(indices), images.shape[-2:]
    assert 0 <= padding < min(height, width), (padding, height, width)
    shift_y, shift_x = torch.randint(-padding, padding + 1, (2, count, 1), generator=generator)
    rows = _reflected(torch.arange(height) + shift_y, height)
    columns = _reflected(torch.arange(width) + shift_x, width)
    if mirror:
        flipped = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(flipped, columns.flip(1), columns)
    return _gather(images, indices, rows, columns)


def normalised(batch: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(batch − `mean`) / `std`, from uint8 (n, 3, h, w) to float32 in channels-last; both are (3,) in 0 to 255."""
    pixels = batch.to(torch.float32, memory_format=torch.channels_last)
    return pixels.sub_(mean.view(1, 3, 1, 1)).mul_(1 / std.view(1, 3, 1, 1))


def _reflected(positions: Tensor, size: int) -> Tensor:
    """Positions with those outside 0 to size - 1 mirrored at the first and last pixel: -1 → 1, `size` → `size` - 2."""
    return (size - 1) - ((size - 1) - positions.abs()).abs()


def _gather(images: Tensor, indices: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixel (rows[b, y], columns[b, x]) of image indices[b], for every b, y and x: (b, 3, y, x), channels-last."""
    height, width = images.shape[-2:]
    pixels = images.permute(0, 2, 3, 1).reshape(-1, 3)  # a view of channels-last images
    lines = indices.to(torch.int64)[:, None] * height + rows
    flat = (lines[:, :, None] * width + columns[:, None, :]).reshape(-1)
    batch = pixels.index_select(0, flat.to(images.device))
    return batch.view(len(indices), rows.shape[1], columns.shape[1], 3).permute(0, 3, 1, 2)
