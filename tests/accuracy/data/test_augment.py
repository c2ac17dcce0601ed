"""An augmented image is a crop of the padded one, mirrored or not."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from nas.accuracy.data.augment import augment, normalised


def images(count: int = 6, height: int = 7, width: int = 5) -> torch.Tensor:
    values = torch.randint(0, 256, (count, 3, height, width), generator=torch.Generator().manual_seed(1))
    return values.to(torch.uint8).contiguous(memory_format=torch.channels_last)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_asked_for_changes_nothing() -> None:
    """Without padding and mirror, the batch is the images, in the order asked for."""
    order = torch.tensor([3, 0, 3, 5])
    batch = augment(images(), order, padding=0, mirror=False, generator=generator())
    assert torch.equal(batch, images()[order])
    assert batch.is_contiguous(memory_format=torch.channels_last)


@given(st.integers(0, 4), st.booleans(), st.integers(0, 1000))
def test_every_image_is_a_window_of_the_padded_one(padding: int, mirror: bool, seed: int) -> None:
    """Each result is some crop of the reflection-padded image, mirrored only where that is allowed."""
    source = images()
    batch = augment(source, torch.arange(6), padding=padding, mirror=mirror, generator=generator(seed))
    padded = functional.pad(source.float(), [padding] * 4, mode="reflect").to(torch.uint8)
    for image, whole in zip(batch, padded, strict=True):
        windows = whole.unfold(1, 7, 1).unfold(2, 5, 1).permute(1, 2, 0, 3, 4).reshape(-1, 3, 7, 5)
        allowed = torch.cat([windows, windows.flip(-1)]) if mirror else windows
        assert (allowed == image).flatten(1).all(1).any()


def test_every_move_and_both_sides_come_up() -> None:
    """Of many draws, all positions and about half mirrored."""
    source = torch.zeros(1, 3, 9, 9, dtype=torch.uint8)
    source[0, :, 4, 4] = 255
    batch = augment(source, torch.zeros(400, dtype=torch.int64), padding=2, mirror=False, generator=generator())
    assert {tuple(p) for p in batch[:, 0].nonzero()[:, 1:].tolist()} == {
        (y, x) for y in range(2, 7) for x in range(2, 7)
    }
    lopsided = torch.arange(9, dtype=torch.uint8).expand(1, 3, 9, 9)
    batch = augment(lopsided, torch.zeros(400, dtype=torch.int64), padding=0, mirror=True, generator=generator())
    assert 150 < int((batch[:, 0, 0, 0] == 8).sum()) < 250


def test_images_stay_as_they_were_and_seeds_decide() -> None:
    """The source is untouched; the same seed gives the same batch, another seed another."""
    source = images()
    batches = [
        augment(source, torch.arange(6), padding=2, mirror=True, generator=generator(seed)) for seed in (0, 0, 1)
    ]
    assert torch.equal(source, images())
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])


def test_normalised_is_the_formula() -> None:
    """(value - mean) / std for each channel, in channels-last memory."""
    mean, std = torch.tensor([10.0, 20.0, 30.0]), torch.tensor([2.0, 4.0, 8.0])
    expected = (images().float() - mean[:, None, None]) / std[:, None, None]
    result = normalised(images(), mean, std)
    torch.testing.assert_close(result, expected)
    assert result.is_contiguous(memory_format=torch.channels_last)
