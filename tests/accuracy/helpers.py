"""Small networks, data sets and archives for the tests of `nas.accuracy`."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from nas.accuracy.data.cifar10 import RECORD_BYTES, TEST_BATCH, TRAIN_BATCHES, Archive
from nas.accuracy.data.dataset import Dataset, Split
from nas.accuracy.full_training.recipes import Recipe
from nas.networks.architecture import Architecture, Block
from nas.networks.build import build_network

# Only the order of images is random, so that accumulated parts can be compared with a whole batch. In float32 on every
# machine, because sums in another order must agree to 1e-5.
BARE = Recipe(
    epochs=2,
    batch_size=16,
    learning_rate=0.5,
    warmup_epochs=0.0,
    crop_padding=0.0,
    mirror="never",
    device="cpu",
    precision="float32",
)


def tiny_network(classes: int, *, seed: int = 0, dropout: float = 0.0) -> nn.Module:
    """A network that learns the digits in seconds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 32, 3, 1, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(64 * 4 * 4, classes),
        )


def small_network(seed: int = 0, *, stride: int = 2) -> nn.Sequential:
    """A network with a residual block, for 8 pixels and 2 classes; `stride` is the first block's."""
    blocks = (
        Block("conv", 8, 3, stride, activation="relu"),
        Block("mbconv", 8, 3, 1, 16, activation="hswish", se_channels=4, se_gate="hsigmoid"),
        Block("pool"),
        Block("linear", 12, activation="hswish"),
        Block("linear", 2),
    )
    return build_network(Architecture(8, 2, blocks), seed=seed)


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two state_dicts are equal, bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def random_dataset(count: int = 40, *, classes: int = 2, side: int = 8) -> Dataset:
    """Images of noise with the labels 0, 1, … in turn."""
    images = torch.randint(
        0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    split = Split(images, torch.arange(count) % classes)
    return Dataset("noise", tuple("abcdefghij"[:classes]), split, split.pick(torch.arange(5)), True, "noise")


def write_image(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (12, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def write_folder(root: Path, splits: dict[str, int], classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    """Write `splits[name]` images a class; an image's red value is its number, its green value 100 · class."""
    for split, count in splits.items():
        for label, name in enumerate(classes):
            for number in range(count):
                write_image(root / split / name / f"{number}.png", (number, 100 * label, 0))
    return root


def cifar_bytes(images_a_batch: int = 20) -> bytes:
    """An archive with the structure of CIFAR-10's, the same bytes each time: each image is filled with its number."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for batch, name in enumerate((*TRAIN_BATCHES, TEST_BATCH)):
            rows = np.zeros((images_a_batch, RECORD_BYTES), dtype=np.uint8)
            rows[:, 0] = np.arange(images_a_batch) % 10
            rows[:, 1:] = (batch * images_a_batch + np.arange(images_a_batch))[:, None]
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = rows.nbytes
            archive.addfile(info, io.BytesIO(rows.tobytes()))
    return packed.getvalue()


def archive_of(data: bytes, url: str = "http://localhost/cifar-10-binary.tar.gz") -> Archive:
    return Archive(url, hashlib.md5(data).hexdigest())
