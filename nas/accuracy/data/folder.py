"""How does a folder of photographs become a dataset?

    PATH/train/CLASS/...    trained on
    PATH/val/CLASS/...      scores; where it is missing, a part of train/ is held out instead
    PATH/test/CLASS/...     never read by a search

Images lie in the class folders or below them, under the usual endings (SUFFIXES); files with others are passed over,
and so is what is hidden (`.thumbs/`).
Every image that cannot be read is named in an error: none is skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from nas.accuracy.data.dataset import Dataset, Split, hold_out, subset
from nas.errors import NasError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
HELD_OUT_SHARE = 0.2

_SHOWN = 10
_THREADS = 8
_WHITE_16 = 65_535


@dataclass(frozen=True)
class _Files:
    """The image files of one split and the class of each."""

    paths: tuple[Path, ...]
    labels: Tensor

    def pick(self, indices: Tensor) -> _Files:
        return _Files(tuple(self.paths[i] for i in indices.tolist()), self.labels[indices])


def load_folder_dataset(folder: Path, *, image_size: int, max_images: int | None, seed: int, progress: bool) -> Dataset:
    """The images of `folder` at `image_size` pixels: the centre square is cropped, then resized.

    Without val/, a fifth of each class of train/ is held out for the scores; test/ is then needed, and is not read.
    Raises NasError for a folder of another shape, and for images that cannot be read (named).
    """
    classes = _classes(_split_folder(folder, "train"))
    train = _files(folder / "train", classes)
    if (folder / "val").is_dir():
        val = _files(folder / "val", classes)
    elif (folder / "test").is_dir():
        count = round(len(train.paths) * HELD_OUT_SHARE)
        stays, held = hold_out(train.labels, count, classes, what=f"{folder / 'train'}")
        train, val = train.pick(stays), train.pick(held)
    else:
        raise NasError(
            f"{folder} must hold val/ or test/ beside train/, but has neither. "
            "Put images that are not trained on into val/CLASS/ (same class folders as train/)."
        )
    train = train.pick(subset(train.labels, max_images, len(classes), seed))
    both = decode_images((*train.paths, *val.paths), image_size, progress)
    splits = [Split(both[: len(train.paths)], train.labels), Split(both[len(train.paths) :], val.labels)]
    description = f"{len(classes)} class folders, {image_size}x{image_size} from photographs"
    return Dataset(f"folder:{folder}", classes, splits[0], splits[1], mirror=True, description=description)


def load_folder_test(folder: Path, *, image_size: int, progress: bool) -> Split:
    """The images of test/, decoded as those of the dataset are. Raises NasError where there is no test/."""
    classes = _classes(_split_folder(folder, "train"))
    _split_folder(folder, "test")
    files = _files(folder / "test", classes)
    return Split(decode_images(files.paths, image_size, progress), files.labels)


def _split_folder(folder: Path, split: str) -> Path:
    if not folder.is_dir():
        raise NasError(f"there is no folder {folder}. It must hold train/ and val/ or test/, each with class folders.")
    if not (folder / split).is_dir():
        held = ", ".join(sorted(f"{entry.name}/" for entry in folder.iterdir() if entry.is_dir())) or "no folders"
        raise NasError(f"{folder} must hold {split}/ with one folder for each class, but holds {held}")
    return folder / split


def _classes(train: Path) -> tuple[str, ...]:
    names = tuple(sorted(entry.name for entry in train.iterdir() if entry.is_dir() and not _hidden(entry.name)))
    if len(names) < 2:
        held = f"one, {names[0]}" if names else "none"
        raise NasError(f"{train} must hold at least two class folders with images, but holds {held}")
    return names


def _files(split: Path, classes: tuple[str, ...]) -> _Files:
    """Every image of a split, by class and then by name. Raises NasError for other classes than `classes`."""
    found = {entry.name for entry in split.iterdir() if entry.is_dir() and not _hidden(entry.name)}
    missing, extra = sorted(set(classes) - found), sorted(found - set(classes))
    if missing or extra:
        parts = [f"lacks {_listed(missing)}"] * bool(missing) + [f"has {_listed(extra)} besides"] * bool(extra)
        raise NasError(f"{split} must have the class folders of train/, but {' and '.join(parts)}")
    by_class = [images_below(split / name) for name in classes]
    if not any(by_class):
        raise NasError(f"{split} must hold images, but there are none. Known endings: {', '.join(SUFFIXES)}.")
    empty = [name for name, paths in zip(classes, by_class, strict=True) if not paths]
    if empty:
        raise NasError(
            f"each class folder of {split} must hold images, but there are none in {_listed(empty)}. "
            f"Known endings: {', '.join(SUFFIXES)}."
        )
    labels = [torch.full((len(paths),), label) for label, paths in enumerate(by_class)]
    return _Files(tuple(path for paths in by_class for path in paths), torch.cat(labels))


def images_below(folder: Path) -> list[Path]:
    """The image files of `folder` and of the folders below it, sorted; hidden ones are passed over."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if not any(map(_hidden, path.relative_to(folder).parts)))


def _hidden(name: str) -> bool:
    return name.startswith(".")


def decode_images(paths: Sequence[Path], image_size: int, progress: bool) -> Tensor:
    """The images of `paths`, uint8 (n, 3, size, size): the centre square of each is cropped, then resized.

    Raises NasError that names those that cannot be read.
    """
    images = np.empty((len(paths), image_size, image_size, 3), dtype=np.uint8)

    def decode_into(index: int) -> str | None:
        try:
            images[index] = _load_image(paths[index], image_size)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            return f"{paths[index]} ({_first_line(error)})"
        return None

    with ThreadPoolExecutor(_THREADS) as pool:
        done = pool.map(decode_into, range(len(paths)))
        bar = tqdm(done, desc="reading images", total=len(paths), unit="image", disable=not progress, leave=False)
        unreadable = [problem for problem in bar if problem]
    if unreadable:
        more = [f"and {len(unreadable) - _SHOWN} more"] if len(unreadable) > _SHOWN else []
        shown = "\n  ".join([*unreadable[:_SHOWN], *more])
        raise NasError(f"{len(unreadable)} of {len(paths)} images cannot be read; repair or remove them:\n  {shown}")
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def _load_image(path: Path, size: int) -> NDArray[np.uint8]:
    """One image, upright as its EXIF data says, uint8 (size, size, 3)."""
    with Image.open(path) as opened:
        opened.draft("RGB", (2 * size, 2 * size))  # lets JPEG decode at a smaller scale
        image = _in_8_bits(ImageOps.exif_transpose(opened)).convert("RGB")
    side = min(image.size)
    left, top = ((length - side) / 2 for length in image.size)
    # The box first: a panorama resized whole would take hundreds of megabytes.
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)))


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits scaled to 8, which Pillow would cut off at 255. Raises ValueError for what has no known white."""
    if image.mode == "F":
        raise ValueError("mode F: floating-point pixels have no known white; save it with 8 or 16 bits")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image)  # of mode I: Pillow reads some files of 16 bits as 32
    if values.min() < 0 or values.max() > _WHITE_16:
        raise ValueError(
            f"mode {image.mode}: pixels must be 0 to {_WHITE_16}, but are {values.min()} to {values.max()}"
        )
    return Image.fromarray(np.round(values * (255 / _WHITE_16)).astype(np.uint8))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
