"""Load a folder of photographs as a dataset.

    PATH/train/CLASS/...    training images
    PATH/val/CLASS/...      validation images; where it is missing, a part of train/ is held out instead
    PATH/test/CLASS/...     test images, never read by a search

Images lie in the class folders or below them and have the usual endings (SUFFIXES). Files with other endings, and
hidden files and folders (`.thumbs/`), are ignored. An image that cannot be read is an error that names it.
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
    """The image files of one split, and their classes."""

    paths: tuple[Path, ...]
    labels: Tensor

    def pick(self, indices: Tensor) -> _Files:
        return _Files(tuple(self.paths[i] for i in indices.tolist()), self.labels[indices])


def load_folder_dataset(folder: Path, *, image_size: int, max_images: int | None, seed: int, progress: bool) -> Dataset:
    """The images of `folder`, their centre squares resized to `image_size` pixels.

    Without val/, a fifth of each class of train/ is held out for validation; test/ must then exist, and is not read.
    Raises NasError for a folder of another structure, and for images that cannot be read, naming them.
    """
    classes = _classes(_split_folder(folder, "train"))
    train = _files(folder / "train", classes)
    if (folder / "val").is_dir():
        val = _files(folder / "val", classes)
    elif (folder / "test").is_dir():
        count = round(len(train.paths) * HELD_OUT_SHARE)
        stay, held_out = hold_out(train.labels, count, classes, what=f"{folder / 'train'}")
        train, val = train.pick(stay), train.pick(held_out)
    else:
        raise NasError(
            f"{folder} must hold val/ or test/ beside train/, but has neither. "
            "Put images that are not trained on into val/CLASS/ (same class folders as train/)."
        )
    train = train.pick(subset(train.labels, max_images, len(classes), seed))
    images = decode_images((*train.paths, *val.paths), image_size, progress)
    splits = [Split(images[: len(train.paths)], train.labels), Split(images[len(train.paths) :], val.labels)]
    description = f"{len(classes)} class folders, {image_size}x{image_size} from photographs"
    return Dataset(f"folder:{folder}", classes, splits[0], splits[1], mirror=True, description=description)


def load_folder_test(folder: Path, *, image_size: int, progress: bool) -> Split:
    """The images of test/, decoded like those of the dataset. Raises NasError where there is no test/."""
    classes = _classes(_split_folder(folder, "train"))
    _split_folder(folder, "test")
    files = _files(folder / "test", classes)
    return Split(decode_images(files.paths, image_size, progress), files.labels)


def _split_folder(folder: Path, split: str) -> Path:
    if not folder.is_dir():
        raise NasError(f"there is no folder {folder}. It must hold train/ and val/ or test/, each with class folders.")
    if not (folder / split).is_dir():
        contents = ", ".join(sorted(f"{entry.name}/" for entry in folder.iterdir() if entry.is_dir())) or "no folders"
        raise NasError(f"{folder} must hold {split}/ with one folder for each class, but holds {contents}")
    return folder / split


def _classes(train: Path) -> tuple[str, ...]:
    names = tuple(sorted(entry.name for entry in train.iterdir() if entry.is_dir() and not _hidden(entry.name)))
    if len(names) < 2:
        contents = f"one, {names[0]}" if names else "none"
        raise NasError(f"{train} must hold at least two class folders with images, but holds {contents}")
    return names


def _files(split: Path, classes: tuple[str, ...]) -> _Files:
    """Every image of a split, by class and then by name. Raises NasError where its classes are not `classes`."""
    folders = {entry.name for entry in split.iterdir() if entry.is_dir() and not _hidden(entry.name)}
    missing, extra = sorted(set(classes) - folders), sorted(folders - set(classes))
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
    """The image files in `folder` and below it, sorted, without hidden ones."""
    images = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in images if not any(map(_hidden, path.relative_to(folder).parts)))


def _hidden(name: str) -> bool:
    return name.startswith(".")


def decode_images(paths: Sequence[Path], image_size: int, progress: bool) -> Tensor:
    """The images at `paths`, uint8 (n, 3, size, size): the centre square of each, resized.

    Raises NasError for images that cannot be read, naming the first of them.
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
    """The centre square of one image, uint8 (size, size, 3), turned upright by its EXIF data."""
    with Image.open(path) as opened:
        opened.draft("RGB", (2 * size, 2 * size))  # decodes JPEG at a smaller scale, which is faster
        image = _in_8_bits(ImageOps.exif_transpose(opened)).convert("RGB")
    side = min(image.size)
    left, top = ((length - side) / 2 for length in image.size)
    # With a box, only the square is resized: a whole panorama would take hundreds of megabytes.
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)))


def _in_8_bits(image: Image.Image) -> Image.Image:
    """`image` with grey of 16 bits scaled to 8; Pillow's own conversion clips it at 255.

    Raises ValueError for pixels whose white is not known.
    """
    if image.mode == "F":
        raise ValueError("mode F: floating-point pixels have no known white; save it with 8 or 16 bits")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image)  # Pillow reads some 16-bit files as mode I, which has 32 bits
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
