"""Load a data set by its source: `digits`, `folder:PATH`, `cifar10` or `cifar10:PATH`."""

from __future__ import annotations

from pathlib import Path

import pooch

from nas.accuracy.data.cifar10 import (
    OFFICIAL,
    Archive,
    check_archive,
    fetch_archive,
    load_cifar10_dataset,
    load_cifar10_test,
)
from nas.accuracy.data.dataset import Dataset, Split
from nas.accuracy.data.digits import load_digits_dataset, load_digits_test
from nas.accuracy.data.folder import load_folder_dataset, load_folder_test
from nas.errors import NasError, unknown_name

__all__ = ["SOURCES", "Dataset", "Split", "load_dataset", "load_test_split"]

SOURCES = ("digits", "folder:PATH", "cifar10", "cifar10:PATH")


def load_dataset(
    source: str,
    *,
    image_size: int,
    seed: int = 0,
    max_images: int | None = None,
    cache: Path | None = None,
    progress: bool = False,
    archive: Archive = OFFICIAL,
) -> Dataset:
    """The training and validation images of `source`; its test images are not read.

    Photographs of a folder are resized to a side of `image_size` pixels; digits (8) and CIFAR-10 (32) keep their size
    (`Dataset.at` resizes). `max_images` keeps that many training images, drawn with `seed` from each class in
    proportion; the validation images do not depend on the seed. Downloads go to `cache` (by default the user's cache
    folder). Raises NasError for an unknown source and for files that cannot be used.
    """
    if max_images is not None and max_images < 1:
        raise NasError(f"max_images must be at least 1, but is {max_images}")
    kind, place = _parsed(source)
    if kind == "digits":
        return load_digits_dataset(max_images=max_images, seed=seed)
    if kind == "folder":
        return load_folder_dataset(
            Path(place), image_size=image_size, max_images=max_images, seed=seed, progress=progress
        )
    return load_cifar10_dataset(_archive(place, cache, progress, archive), max_images=max_images, seed=seed)


def load_test_split(
    source: str,
    *,
    image_size: int,
    cache: Path | None = None,
    progress: bool = False,
    archive: Archive = OFFICIAL,
) -> Split:
    """The test images of `source`, which no search has seen: for the final score of a chosen network."""
    kind, place = _parsed(source)
    if kind == "digits":
        return load_digits_test()
    if kind == "folder":
        return load_folder_test(Path(place), image_size=image_size, progress=progress)
    return load_cifar10_test(_archive(place, cache, progress, archive))


def _parsed(source: str) -> tuple[str, str]:
    """Split a source into kind and place: "folder:a/b" gives `("folder", "a/b")`."""
    kind, colon, place = source.partition(":")
    takes_place = {"digits": (False,), "folder": (True,), "cifar10": (False, True)}
    if kind not in takes_place or bool(colon) not in takes_place[kind]:
        raise NasError(unknown_name("data set", source, SOURCES))
    if colon and not place:
        raise NasError(f"{kind}: must be followed by a path, but got {source!r}, such as {kind}:images/flowers")
    return kind, place


def _archive(place: str, cache: Path | None, progress: bool, archive: Archive) -> Path:
    if place:
        return check_archive(Path(place), archive)
    return fetch_archive(cache or _default_cache(), progress=progress, archive=archive)


def _default_cache() -> Path:
    return Path(pooch.os_cache("hwnas"))
