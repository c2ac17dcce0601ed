"""RandAugment on whole batches, in torch (arXiv:1909.13719).

Each image gets a number of operations, drawn from fourteen with equal probability, all of one magnitude. Images that
drew the same operation are computed together, and all translations, rotations and shears of a layer take one
interpolation. So no image library is needed, the draws are the same on every device, and images on an accelerator stay
there.

Operations on colours equal those of Pillow's ImageOps and ImageEnhance to within a grey level. Ranges are those of the
paper's code (rotation 30 degrees, shear 0.3, translation 0.45 of the side, factors 0.1 to 1.9 at magnitude 10).
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
# The grey, in 0 to 255, of what a move brings into view from beyond the image's edge.
_FILL = 128.0
# Weights of red, green and blue in grey: ITU-R 601, as in Pillow.
_GREY = (0.299, 0.587, 0.114)


def rand_augment(batch: Tensor, *, layers: int, magnitude: float, generator: Generator) -> Tensor:
    """Apply `layers` operations to each image of `batch`, (n, 3, h, w), uint8 or float, 0 to 255; returns float32."""
    assert 0 <= magnitude <= MOST_MAGNITUDE, magnitude
    pixels = batch.float()
    for _ in range(layers):
        drawn = torch.randint(len(OPERATIONS), (len(pixels),), generator=generator)
        signs = torch.randint(2, (len(pixels),), generator=generator) * 2 - 1
        amounts = (signs * magnitude / MOST_MAGNITUDE).float()
        pixels = _layer(pixels, drawn, amounts)
    return pixels


def _layer(pixels: Tensor, drawn: Tensor, amounts: Tensor) -> Tensor:
    """Apply to each image the operation whose number it drew, by its amount (-1 to 1)."""
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
    """Transform each image of `pixels`, (n, 3, h, w), by its 2×3 matrix from output to input positions (-1 to 1).

    `size` is the height and width of the output, by default those of the input. Positions outside the image are grey.
    """
    grid = functional.affine_grid(matrices, [*pixels.shape[:2], *(size or pixels.shape[2:])], align_corners=False)
    shifted = functional.grid_sample(pixels - _FILL, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return shifted + _FILL


def _rotation(amounts: Tensor) -> Tensor:
    angles = amounts * math.radians(_ROTATION_DEGREES)
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    return torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)


def _off_diagonal(row: int, column: int, most: float) -> Callable[[Tensor], Tensor]:
    """A function from amounts to identity matrices with `amount` · `most` at (`row`, `column`)."""

    def matrices(amounts: Tensor) -> Tensor:
        identities = torch.eye(2, 3).repeat(len(amounts), 1, 1)
        identities[:, row, column] = amounts * most
        return identities

    return matrices


def _blended(towards: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Pillow's ImageEnhance: blend an image with its degenerate form (`towards`), or move away from that."""

    def enhanced(pixels: Tensor, amounts: Tensor) -> Tensor:
        degenerate = towards(pixels)
        return (degenerate + (pixels - degenerate) * (1 + _FACTOR * amounts)).clamp_(0, _WHITE)

    return enhanced


def grey(pixels: Tensor) -> Tensor:
    """The brightness of each pixel, (n, 1, h, w)."""
    weights = torch.tensor(_GREY, device=pixels.device).view(1, 3, 1, 1)
    return (pixels * weights).sum(1, keepdim=True)


def smoothed(pixels: Tensor) -> Tensor:
    """Average each pixel, with weight 5, with its eight neighbours; pixels at the border stay."""
    kernel = torch.ones(3, 1, 3, 3, device=pixels.device)
    kernel[:, :, 1, 1] = 5
    out = pixels.clone()
    if min(pixels.shape[-2:]) >= 3:
        out[:, :, 1:-1, 1:-1] = functional.conv2d(pixels, kernel / 13, groups=3)
    return out


def autocontrast(pixels: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel to 0 to 255; a channel of a single value stays."""
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    flat = high <= low
    stretched = (pixels - low) * (_WHITE / torch.where(flat, torch.ones_like(high), high - low))
    return torch.where(flat, pixels, stretched)


def equalized(pixels: Tensor, _: Tensor) -> Tensor:
    """Equalise the histogram of each channel, as Pillow does."""
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
    """Invert pixels at or above a threshold, which falls from 256 to 0 as the amount grows."""
    return torch.where(pixels >= 256 * (1 - amounts.abs()), _WHITE - pixels, pixels)


def posterized(pixels: Tensor, amounts: Tensor) -> Tensor:
    """Reduce the bits of each channel from 8 to 4 as the amount grows."""
    step = 2 ** (amounts.abs() * _POSTERIZE_BITS).round()
    return (pixels / step).floor() * step


_MOVES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "rotate": _rotation,
    "shear_x": _off_diagonal(0, 1, _SHEAR),
    "shear_y": _off_diagonal(1, 0, _SHEAR),
    # Positions go from -1 to 1, so a side has the length 2.
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
