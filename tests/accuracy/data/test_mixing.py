"""Images are cropped, mixed and erased by the shares that the loss uses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nas.accuracy.data.mixing import Mixed, erased, mixed, resized_crops


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(count: int = 8, side: int = 16) -> tuple[Tensor, Tensor]:
    """Image number n is full of n."""
    labels = torch.arange(count)
    return labels.float().view(-1, 1, 1, 1).expand(count, 3, side, side).contiguous(), labels


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_shares_are_those_of_the_pixels(kind: str, seed: int) -> None:
    """The mean of an image is the labels' mean, weighed by the share that the loss uses."""
    images, labels = numbered()
    out = mixed(images, labels, mixup=float(kind == "mixup"), cutmix=float(kind == "cutmix"), generator=generator(seed))
    wanted = out.share * labels + (1 - out.share) * out.others
    torch.testing.assert_close(out.images.mean((1, 2, 3)), wanted, atol=1e-4, rtol=0)
    assert torch.equal(images, numbered()[0])


def test_a_coin_decides_between_the_two() -> None:
    """With cutmix every pixel is one image's; with mixup all are between two images: both come up."""
    images, labels = numbered()
    whole = [
        bool((out.images == out.images.round()).all())
        for out in (mixed(images, labels, mixup=1.0, cutmix=1.0, generator=generator(seed)) for seed in range(20))
    ]
    assert 4 < sum(whole) < 16


def test_without_parameters_nothing_is_mixed() -> None:
    """And nothing is drawn."""
    images, labels = numbered()
    draws = generator()
    before = draws.get_state()
    out = mixed(images, labels, mixup=0, cutmix=0, generator=draws)
    assert out.images is images
    assert out.share == 1
    assert torch.equal(draws.get_state(), before)


def test_the_loss_is_that_of_soft_labels() -> None:
    """As torch computes it from probabilities."""
    logits = torch.randn(4, 5, generator=generator())
    labels, others = torch.tensor([0, 1, 2, 3]), torch.tensor([4, 4, 1, 3])
    soft = 0.3 * functional.one_hot(labels, 5) + 0.7 * functional.one_hot(others, 5)
    wanted = functional.cross_entropy(logits, soft, label_smoothing=0.1)
    torch.testing.assert_close(Mixed(logits, labels, others, 0.3).loss(logits, 0.1), wanted)


def test_erasing_hides_as_much_as_it_says() -> None:
    """With probability 1 every image loses 2 to 33 % (give or take the rounding to pixels); with 0 none does."""
    images = torch.full((200, 3, 32, 32), 7.0)
    hidden = (erased(images.clone(), probability=1, generator=generator()) != 7).float().mean((1, 2, 3))
    assert hidden.min() > 0.01
    assert hidden.max() < 0.36
    assert 0.12 < hidden.mean() < 0.23
    some = (erased(images.clone(), probability=0.25, generator=generator()) != 7).any(3).any(2).any(1)
    assert 0.15 < some.float().mean() < 0.35
    assert erased(images, probability=0, generator=generator()) is images


def test_a_whole_crop_is_the_image() -> None:
    """An area of 1 and a square leave the image as it is, but for its edges; mirrored where that is drawn."""
    images = torch.randint(0, 256, (40, 3, 12, 12), dtype=torch.uint8, generator=generator())
    out = resized_crops(images, least=0.999999, mirror=True, generator=generator())
    assert out.shape == images.shape
    # Aspect ratios move edges: the centre column of a ramp stays in the middle.
    ramp = torch.arange(12, dtype=torch.uint8).mul(20).view(1, 1, 1, 12).expand(40, 3, 12, 12)
    cut = resized_crops(ramp, least=0.5, mirror=False, generator=generator())
    slopes = (cut[:, 0, 6, 8] - cut[:, 0, 6, 4]) / 80
    assert slopes.min() > 0.55
    assert slopes.max() <= 1.001
    assert cut.min() >= 0
    assert cut.max() <= 220.01
    flipped = resized_crops(ramp, least=0.5, mirror=True, generator=generator())[:, 0, 6]
    assert 0.2 < (flipped[:, 8] < flipped[:, 4]).float().mean() < 0.8
