"""Download, check and read CIFAR-10.

Reads the binary archive of https://www.cs.toronto.edu/~kriz/cifar.html: records of one label byte and 3072 image bytes
(channel, row, column), in five batches to train on and one to test on. No pickle is opened.
"""

from __future__ import annotations

import tarfile
import tempfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
import requests
import torch

from nas.accuracy.data.dataset import Dataset, Split, hold_out, subset
from nas.errors import NasError, RunFailedError
from nas.files import move_into_place

SIDE = 32
RECORD_BYTES = 1 + 3 * SIDE * SIDE
VAL_SHARE = 0.1
TRAIN_BATCHES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_BATCH = "test_batch.bin"

# In the archive's order (batches.meta.txt), which is also the order by name.
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Archive:
    """The address of an archive, and the MD5 that its bytes must have."""

    url: str = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    md5: str = "c32a1d4ab5d03f1284b67883e8d87530"  # as published on https://www.cs.toronto.edu/~kriz/cifar.html

    @property
    def file_name(self) -> str:
        """The archive's file name in the cache."""
        return self.url.rsplit("/", 1)[-1]


OFFICIAL = Archive()


def load_cifar10_dataset(path: Path, *, max_images: int | None, seed: int) -> Dataset:
    """45 000 training and 5 000 validation images, both from the training batches of the archive at `path`."""
    images = _read(path, TRAIN_BATCHES)
    train, val = hold_out(images.labels, round(len(images) * VAL_SHARE), CLASSES, what=str(path))
    train = train[subset(images.labels[train], max_images, len(CLASSES), seed)]
    description = "CIFAR-10, 32x32 photographs of 10 kinds of things"
    return Dataset("cifar10", CLASSES, images.pick(train), images.pick(val), mirror=True, description=description)


def load_cifar10_test(path: Path) -> Split:
    """The test batch of the archive at `path`: 10 000 images."""
    images = _read(path, [TEST_BATCH])
    return images.pick(torch.arange(len(images)))


def fetch_archive(cache: Path, *, progress: bool, archive: Archive = OFFICIAL) -> Path:
    """Path of the archive in the folder `cache`; downloads it where it is missing.

    Raises RunFailedError where the download fails or has another hash, and then keeps nothing of it. Raises NasError
    where a file that was there before has another hash, and leaves that file for the user to remove.
    """
    place = cache / archive.file_name
    if place.is_file():
        return check_archive(place, archive)
    by_hand = f"download {archive.url} by hand and put it at {place}, or give its place as cifar10:PATH"
    try:
        md5 = _download(archive, place, progress)
    except (requests.RequestException, OSError) as error:
        raise RunFailedError(f"cannot download CIFAR-10 ({_reason(error)}); {by_hand}") from error
    if md5 != archive.md5:
        raise RunFailedError(
            f"the download of {archive.url} must have the MD5 {archive.md5}, but has {md5}; it was removed. "
            f"Try again, or {by_hand}."
        )
    return place


def _download(archive: Archive, place: Path, progress: bool) -> str:
    """Download the archive to `place`, but only if its MD5 is right; returns the MD5 of the download."""
    pooch.get_logger().setLevel("WARNING")  # it would print the hash and tell the user to write it into the code
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=_TIMEOUT_SECONDS)
    place.parent.mkdir(parents=True, exist_ok=True)
    # In a temporary folder, because other processes of the same training may be downloading, too.
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        # Checked here rather than by pooch, so that the message is one line with both hashes.
        download = pooch.retrieve(archive.url, known_hash=None, fname=place.name, path=folder, downloader=downloader)
        md5: str = pooch.file_hash(download, alg="md5")
        if md5 == archive.md5:
            move_into_place(Path(download), place)
    return md5


def check_archive(path: Path, archive: Archive = OFFICIAL) -> Path:
    """Return `path` if its MD5 is the archive's. Raises NasError for another MD5, or where there is no such file."""
    if not path.is_file():
        raise NasError(f"there is no file {path}. It must be the archive {archive.file_name} from {archive.url}.")
    md5 = pooch.file_hash(str(path), alg="md5")
    if md5 != archive.md5:
        raise NasError(
            f"{path} must have the MD5 {archive.md5}, but has {md5}: it is damaged or another file. "
            f"Give the archive of {archive.url}, or leave the path out to have it downloaded."
        )
    return path


def _read(path: Path, batches: Iterable[str]) -> Split:
    try:
        with tarfile.open(path, "r:gz") as archive:
            members = {Path(member.name).name: member for member in archive.getmembers() if member.isfile()}
            records = [_records(archive, members, name, path) for name in batches]
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise NasError(f"{path} must be a CIFAR-10 archive, but cannot be read: {_reason(error)}") from error
    rows = np.concatenate(records)
    images = torch.from_numpy(rows[:, 1:].reshape(-1, 3, SIDE, SIDE))
    return Split(images, torch.from_numpy(rows[:, 0].astype(np.int64)))


def _records(
    archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str, path: Path
) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """The records of one batch, uint8 (images, 3073)."""
    opened = archive.extractfile(members[name]) if name in members else None
    if opened is None:
        raise NasError(f"{path} must be a CIFAR-10 archive, but holds no {name}")
    data = np.frombuffer(opened.read(), dtype=np.uint8)
    if not len(data) or len(data) % RECORD_BYTES:
        raise NasError(f"{name} in {path} must be whole records of {RECORD_BYTES} bytes, but has {len(data)} bytes")
    rows = data.reshape(-1, RECORD_BYTES)
    if rows[:, 0].max() >= len(CLASSES):
        raise NasError(f"labels in {name} of {path} must be 0 to {len(CLASSES) - 1}, but one is {rows[:, 0].max()}")
    return rows


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
