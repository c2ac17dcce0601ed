"""RandAugment on a batch equals Pillow on each image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from nas.accuracy.data.rand_augment import _COLOURS, OPERATIONS, rand_augment, warped

PILLOW: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "brightness": lambda image, amount: ImageEnhance.Brightness(image).enhance(1 + 0.9 * amount),
    "contrast": lambda image, amount: ImageEnhance.Contrast(image).enhance(1 + 0.9 * amount),
    "colour": lambda image, amount: ImageEnhance.Color(image).enhance(1 + 0.9 * amount),
    "sharpness": lambda image, amount: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * amount),
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "solarize": lambda image, amount: ImageOps.solarize(image, round(256 * (1 - abs(amount)))),
    "posterize": lambda image, amount: ImageOps.posterize(image, 8 - round(4 * abs(amount))),
}


def pictures(count: int = 3, side: int = 24) -> Tensor:
    """Ramps with noise, uint8: as in photographs, not all levels come up, and channels differ."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(20, 200, side)[:, None] + torch.linspace(0, 30, side)[None]
    noise = 12 * torch.randn(count, 3, side, side, generator=generator)
    return (ramp + noise + torch.tensor([0.0, -15.0, 25.0]).view(1, 3, 1, 1)).clamp(0, 255).to(torch.uint8)


def in_pillow(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    changed = [np.asarray(change(Image.fromarray(image.permute(1, 2, 0).numpy()))) for image in images]
    return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("amount", [-1.0, -0.5, 0.5, 1.0])
@pytest.mark.parametrize("name", sorted(PILLOW))
def test_colours_change_as_in_pillow(name: str, amount: float) -> None:
    """Two implementations agree to within a grey level and a half (Pillow rounds between its steps)."""
    images = pictures()
    ours = _COLOURS[name](images.float(), torch.full((len(images), 1, 1, 1), amount))
    theirs = in_pillow(images, lambda image: PILLOW[name](image, amount))
    assert (ours - theirs).abs().max() <= 1.5
    assert name == "equalize" or (theirs - images.float()).abs().max() > 1.5


def test_equalize_is_pillows_exactly() -> None:
    """Level for level, also for an image of one colour, which stays."""
    for images in (pictures(5), torch.full((1, 3, 8, 8), 77, dtype=torch.uint8)):
        ours = _COLOURS["equalize"](images.float(), torch.ones(len(images), 1, 1, 1))
        assert torch.equal(ours, in_pillow(images, ImageOps.equalize))


def test_all_operations_are_known() -> None:
    """The fourteen of arXiv:1909.13719, section 3.2."""
    assert len(OPERATIONS) == 14
    assert set(PILLOW) == set(_COLOURS)


def test_a_quarter_turn_is_a_quarter_turn() -> None:
    """Positions are turned about the centre of the image, each image by its own matrix."""
    images = pictures(2).float()
    turn = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    turned = warped(images, turn)
    torch.testing.assert_close(turned[0], images[0].rot90(1, (1, 2)), atol=1e-3, rtol=0)
    torch.testing.assert_close(turned[1], images[1], atol=1e-3, rtol=0)


def test_without_magnitude_moves_do_nothing() -> None:
    """At magnitude 0 only what has no magnitude (autocontrast, equalize) changes an image."""
    images = pictures(64)
    out = rand_augment(images, layers=1, magnitude=0, generator=torch.Generator().manual_seed(1))
    same = ((out - images.float()).abs().amax((1, 2, 3)) < 1e-3).float().mean()
    assert 0.7 < same < 1


def test_the_same_draws_give_the_same_batch() -> None:
    """The batch that goes in stays as it is; another seed gives another batch; all stays within 0 to 255."""
    images = pictures(32)
    before = images.clone()
    first, again, other = (
        rand_augment(images, layers=2, magnitude=9, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(images, before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 255.001
