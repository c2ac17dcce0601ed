"""Load the handwritten digits that come with scikit-learn; nothing is downloaded.

`load_digits` has 1797 grey images of 8x8 pixels, the test set of "Optical Recognition of Handwritten Digits" (UCI
Machine Learning Repository, Alpaydin and Kaynak 1998).
"""

from __future__ import annotations

import torch

from nas.accuracy.data.dataset import Dataset, Split, hold_out, subset

CLASSES = tuple("0123456789")
VAL_IMAGES = 400
TEST_IMAGES = 300

# The grey values of load_digits go from 0 to 16.
_WHITE = 16


def load_digits_dataset(*, max_images: int | None, seed: int) -> Dataset:
    """About 1100 training and 400 validation images, 8x8 pixels, grey in three channels."""
    images = _all_digits()
    rest, _ = hold_out(images.labels, TEST_IMAGES, CLASSES, what="digits")
    train, val = hold_out(images.labels[rest], VAL_IMAGES, CLASSES, what="digits")
    chosen = rest[train][subset(images.labels[rest[train]], max_images, len(CLASSES), seed)]
    description = "handwritten digits that come with scikit-learn, 8x8 grey"
    return Dataset(
        "digits", CLASSES, images.pick(chosen), images.pick(rest[val]), mirror=False, description=description
    )


def load_digits_test() -> Split:
    """About 300 test images, in neither split of the dataset."""
    images = _all_digits()
    _, held_out = hold_out(images.labels, TEST_IMAGES, CLASSES, what="digits")
    return images.pick(held_out)


def _all_digits() -> Split:
    from sklearn.datasets import load_digits  # takes a second to import

    loaded = load_digits()
    grey = torch.from_numpy(loaded.images).mul_(255 / _WHITE).round_().to(torch.uint8)
    return Split(grey[:, None].repeat(1, 3, 1, 1), torch.from_numpy(loaded.target).long())
