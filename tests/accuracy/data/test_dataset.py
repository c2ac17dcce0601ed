"""Images are divided by class, reproducibly, and never lie in two splits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas.accuracy.data.dataset import Split, hold_out, subset
from nas.accuracy.data.load import load_dataset, load_test_split
from nas.errors import NasError

CLASSES = ("a", "b", "c")
labels_of_three = st.lists(st.sampled_from([0, 1, 2]), max_size=60).map(
    lambda extra: torch.tensor([0, 0, 1, 1, 2, 2, *extra])
)


@given(labels_of_three, st.integers(1, 30))
def test_hold_out_divides_without_overlap(labels: torch.Tensor, count: int) -> None:
    """Every image is on one side, every class on both, and twice the same call gives the same sides."""
    stays, held = hold_out(labels, count, CLASSES, what="images")
    assert sorted([*stays.tolist(), *held.tolist()]) == list(range(len(labels)))
    assert set(labels[stays].tolist()) == set(labels[held].tolist()) == {0, 1, 2}
    assert torch.equal(held, hold_out(labels, count, CLASSES, what="images")[1])


def test_hold_out_is_in_proportion() -> None:
    """A class with three times the images gives three times as many."""
    _, held = hold_out(torch.tensor([0] * 300 + [1] * 100), 40, ("a", "b"), what="images")
    assert torch.bincount(torch.tensor([0] * 300 + [1] * 100)[held]).tolist() == [30, 10]


def test_hold_out_needs_two_of_each_class() -> None:
    """A class that could not be on both sides is named."""
    with pytest.raises(NasError, match=r"at least 2 images of each class.*has fewer of b, c"):
        hold_out(torch.tensor([0, 0, 0, 1]), 2, CLASSES, what="images")


@given(labels_of_three, st.integers(3, 66), st.integers(0, 5))
def test_subset_has_the_size_asked_for(labels: torch.Tensor, count: int, seed: int) -> None:
    """As many distinct images as asked for, with each class among them."""
    kept = subset(labels, count, 3, seed)
    assert len(set(kept.tolist())) == min(count, len(labels))
    assert set(labels[kept].tolist()) == {0, 1, 2}


def test_subset_below_one_each_is_refused() -> None:
    """Fewer images than classes cannot be stratified."""
    with pytest.raises(NasError, match="at least 3"):
        subset(torch.tensor([0, 1, 2, 0]), 2, 3, 0)


def test_digits_splits_are_disjoint() -> None:
    """The 1797 digits are shared out: train, val and test hold each exactly once."""
    dataset, test = load_dataset("digits", image_size=8), load_test_split("digits", image_size=8)
    splits = (dataset.train, dataset.val, test)
    assert sum(len(split) for split in splits) == 1797
    seen = [{image.numpy().tobytes() for image in split.images} for split in splits]
    assert sum(len(images) for images in seen) == len(set().union(*seen))
    for split in splits:
        assert torch.bincount(split.labels).min() > 0.07 * len(split)


def test_digits_max_images_leaves_validation_alone() -> None:
    """A smaller training split is scored on the same images, whatever the seed."""
    whole = load_dataset("digits", image_size=8)
    small = load_dataset("digits", image_size=8, max_images=50, seed=3)
    assert len(small.train) == 50
    assert torch.equal(whole.val.images, small.val.images)
    assert not torch.equal(small.train.images, load_dataset("digits", image_size=8, max_images=50, seed=4).train.images)


def test_digits_are_grey_and_never_mirrored() -> None:
    """Three equal channels that use the whole range; a mirrored digit is another digit."""
    dataset = load_dataset("digits", image_size=8)
    assert torch.equal(dataset.train.images[:, 0], dataset.train.images[:, 2])
    assert (int(dataset.train.images.min()), int(dataset.train.images.max())) == (0, 255)
    assert not dataset.mirror


def test_moments_agree_with_torch() -> None:
    """Mean and deviation of each channel are those of all its pixels."""
    images = torch.randint(0, 256, (1500, 3, 4, 4), dtype=torch.uint8)
    labels = torch.zeros(1500, dtype=torch.int64)
    dataset = load_dataset("digits", image_size=8)
    dataset = type(dataset)("x", ("a",), Split(images, labels), Split(images, labels), True, "")
    torch.testing.assert_close(dataset.mean, images.double().mean((0, 2, 3)).float())
    torch.testing.assert_close(dataset.std, images.double().std((0, 2, 3), correction=0).float())


def test_resizing_keeps_flat_images_and_labels() -> None:
    """An image of one colour stays so at any size, in every chunk."""
    values = torch.arange(1100) % 256
    split = Split(values.to(torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8), values)
    for resolution in (4, 12):
        resized = split.at(resolution)
        assert resized.images.shape == (1100, 3, resolution, resolution)
        assert torch.equal(resized.images.long().amin((1, 2, 3)), values)
        assert torch.equal(resized.images.long().amax((1, 2, 3)), values)
        assert torch.equal(resized.labels, split.labels)
    assert split.at(8) is split


@pytest.mark.parametrize("source", ["digit", "cifar", "folder", "digits:x", "", "../../x"])
def test_unknown_source_lists_the_known(source: str) -> None:
    """A source that does not exist is answered with those that do."""
    with pytest.raises(NasError, match=r"unknown data set .*Known: .*digits"):
        load_dataset(source, image_size=8)


@pytest.mark.parametrize("source", ["folder:", "cifar10:"])
def test_missing_path_is_said(source: str) -> None:
    """A colon must be followed by a path."""
    with pytest.raises(NasError, match="must be followed by a path"):
        load_dataset(source, image_size=8)


def test_max_images_must_be_positive() -> None:
    """Zero images cannot be trained on."""
    with pytest.raises(NasError, match="max_images must be at least 1, but is 0"):
        load_dataset("digits", image_size=8, max_images=0)
