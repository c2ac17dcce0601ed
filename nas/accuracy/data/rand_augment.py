"""What does RandAugment do to a batch of images?

RandAugment (arXiv:1909.13719): each image gets a number of operations, drawn from fourteen with equal probability, all
of one magnitude. Here they work on a batch at a time, in torch: the images that drew the same operation are done
together, and all moves, turns and shears of a layer in one interpolation. So no image library is needed, the draws are
the same on every device, and images that are on an accelerator stay there.

Operations on colours are those of Pillow's ImageOps and ImageEnhance, to within a grey level; ranges are the paper's
code's (rotation 30 degrees, shear 0.3, a translation of 0.45 of the side, factors from 0.1 to 1.9 at magnitude 10).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional

MOST_MAGNITUDE = 10.0

_WHITE = 255.0
_ROTATION_DEGREES, _SHEAR, _TRANSLATION, _FACTOR = 30.0, 0.3, 0.45, 0.9
_POSTERIZE_BITS = 4
# What comes into view from beyond the image's edge, in 0 to 255.
_FILL = 128.0
# ITU-R 601, as Pillow turns colours to grey.
_GREY = (0.299, 0.587, 0.114)


def rand_augment(batch: Tensor, *, layers: int, magnitude: float, generator: Generator) -> Tensor:
    """`batch`, (n, 3, h, w) in 0 to 255, uint8 or float, after `layers` operations an image; float32, 0 to 255."""
    assert 0 <= magnitude <= MOST_MAGNITUDE, magnitude
    pixels = batch.float()
    for _ in range(layers):
        drawn = torch.randint(len(OPERATIONS), (len(pixels),), generator=generator)
        signs = torch.randint(2, (len(pixels),), generator=generator) * 2 - 1
        amounts = (signs * magnitude / MOST_MAGNITUDE).float()
        pixels = _layer(pixels, drawn, amounts)
    return pixels


def _layer(pixels: Tensor, drawn: Tensor, amounts: Tensor) -> Tensor:
    """Each image after the operation that it drew, of its amount (-1 to 1)."""
    out = pixels.clone()
    matrices = torch.eye(2, 3).repeat(len(pixels), 1, 1)
    moved = torch.zeros(len(pixels), dtype=torch.bool)
    for number, name in enumerate(OPERATIONS):
        chosen = (drawn == number).nonzero().flatten()
        if not len(chosen) or name == "identity":
            continue
        if name in _MOVES:
            matrices[chosen] = _MOVES[name](amounts[chosen])
            moved[chosen] = True
        else:
            here = chosen.to(pixels.device)
            out[here] = _COLOURS[name](pixels[here], amounts[chosen].to(pixels.device).view(-1, 1, 1, 1))
    if moved.any():
        here = moved.nonzero().flatten().to(pixels.device)
        out[here] = warped(pixels[here], matrices[moved].to(pixels.device))
    return out


def warped(pixels: Tensor, matrices: Tensor, *, size: Sequence[int] | None = None) -> Tensor:
    """`pixels`, (n, 3, h, w), each interpolated where its 2×3 matrix maps output positions (-1 to 1) to the input.

    `size` is the height and width of the output, by default those of the input. What lies outside becomes grey.
    """
    grid = functional.affine_grid(matrices, [*pixels.shape[:2], *(size or pixels.shape[2:])], align_corners=False)
    shifted = functional.grid_sample(pixels - _FILL, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return shifted + _FILL


def _rotation(amounts: Tensor) -> Tensor:
    angles = amounts * math.radians(_ROTATION_DEGREES)
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    return torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)


def _off_diagonal(row: int, column: int, most: float) -> Callable[[Tensor], Tensor]:
    """The identity with one more number in it."""

    def matrices(amounts: Tensor) -> Tensor:
        changed = torch.eye(2, 3).repeat(len(amounts), 1, 1)
        changed[:, row, column] = amounts * most
        return changed

    return matrices


def _blended(towards: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Pillow's enhancement: towards a dull image, or as far away from it."""

    def enhanced(pixels: Tensor, amounts: Tensor) -> Tensor:
        dull = towards(pixels)
        return (dull + (pixels - dull) * (1 + _FACTOR * amounts)).clamp_(0, _WHITE)

    return enhanced


def grey(pixels: Tensor) -> Tensor:
    """The brightness of each pixel, (n, 1, h, w)."""
    weights = torch.tensor(_GREY, device=pixels.device).view(1, 3, 1, 1)
    return (pixels * weights).sum(1, keepdim=True)


def smoothed(pixels: Tensor) -> Tensor:
    """Each pixel averaged with its neighbours, itself five times; those at the border stay."""
    kernel = torch.ones(3, 1, 3, 3, device=pixels.device)
    kernel[:, :, 1, 1] = 5
    out = pixels.clone()
    if min(pixels.shape[-2:]) >= 3:
        out[:, :, 1:-1, 1:-1] = functional.conv2d(pixels, kernel / 13, groups=3)
    return out


def autocontrast(pixels: Tensor, _: Tensor) -> Tensor:
    """Each channel stretched so that it goes from 0 to 255; one of a single value stays."""
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    flat = high <= low
    stretched = (pixels - low) * (_WHITE / torch.where(flat, torch.ones_like(high), high - low))
    return torch.where(flat, pixels, stretched)


def equalized(pixels: Tensor, _: Tensor) -> Tensor:
    """Each channel with its levels moved so that all are about as frequent, as Pillow does it."""
    rows = pixels.round().clamp(0, _WHITE).long().flatten(2).flatten(0, 1)
    counts = torch.zeros(len(rows), 256, dtype=torch.long, device=pixels.device)
    counts.scatter_add_(1, rows, torch.ones_like(rows))
    last = 255 - (counts > 0).long().flip(1).argmax(1, keepdim=True)
    step = (rows.shape[1] - counts.gather(1, last)) // 255
    before = counts.cumsum(1) - counts
    levels = (before + step // 2) // step.clamp(min=1)
    levels = torch.where(step > 0, levels.clamp(max=255), torch.arange(256, device=pixels.device))
    return levels.gather(1, rows).view(pixels.shape).float()


def solarized(pixels: Tensor, amounts: Tensor) -> Tensor:
    """Pixels above a threshold inverted; the threshold falls from 256 to 0."""
    return torch.where(pixels >= 256 * (1 - amounts.abs()), _WHITE - pixels, pixels)


def posterized(pixels: Tensor, amounts: Tensor) -> Tensor:
    """Fewer bits for each channel: from 8 to 4."""
    step = 2 ** (amounts.abs() * _POSTERIZE_BITS).round()
    return (pixels / step).floor() * step


_MOVES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "rotate": _rotation,
    "shear_x": _off_diagonal(0, 1, _SHEAR),
    "shear_y": _off_diagonal(1, 0, _SHEAR),
    # Positions go from -1 to 1: a side is 2 long.
    "translate_x": _off_diagonal(0, 2, 2 * _TRANSLATION),
    "translate_y": _off_diagonal(1, 2, 2 * _TRANSLATION),
}
_COLOURS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": _blended(torch.zeros_like),
    "contrast": _blended(lambda pixels: grey(pixels).mean((2, 3), keepdim=True).expand_as(pixels)),
    "colour": _blended(lambda pixels: grey(pixels).expand_as(pixels)),
    "sharpness": _blended(smoothed),
    "autocontrast": autocontrast,
    "equalize": equalized,
    "solarize": solarized,
    "posterize": posterized,
}
OPERATIONS = ("identity", *_MOVES, *_COLOURS)
