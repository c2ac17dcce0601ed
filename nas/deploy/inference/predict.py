"""Classify images with a model."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nas.accuracy.data.folder import SUFFIXES, decode_images, images_below
from nas.deploy.export.agreement import run_checked
from nas.deploy.inference.model import RunnableModel
from nas.deploy.trained import Preprocessing
from nas.errors import NasError, RunFailedError

DEFAULT_BATCH = 32


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one image, the most probable first, as (label, probability 0 to 1)."""

    image: str
    classes: tuple[tuple[str, float], ...]


def images_in(paths: Sequence[Path]) -> list[Path]:
    """Every image among `paths`: files as they are, and all images in and below folders, sorted.

    Raises NasError for a path that is not there and for a folder without images.
    """
    images: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = images_below(path)
            if not inside:
                raise NasError(f"there are no images in {path}. Known endings: {', '.join(SUFFIXES)}.")
            images += inside
        elif path.is_file():
            images.append(path)
        else:
            raise NasError(f"there is no image or folder {path}")
    return images


def predict(
    model: RunnableModel,
    images: Sequence[Path],
    *,
    top: int = 1,
    batch_size: int = DEFAULT_BATCH,
    on_batch: Callable[[int, int], None] | None = None,
) -> list[Prediction]:
    """The `top` classes of each image, decoded and normalised as the network's training images were.

    Probabilities are the softmax of the logits. `on_batch` is called with the number of images done, and of all.
    Raises NasError for a model whose preprocessing is not recorded and for images that cannot be read (those of
    all batches at once), RunFailedError where the model does not run or gives NaN.
    """
    preprocessing = required_preprocessing(model)
    predictions: list[Prediction] = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        pixels = _decoded(batch, preprocessing.resolution, images)
        inputs = preprocessing.applied(pixels).numpy()
        shape = (len(batch), model.manifest.architecture.classes)
        logits = run_checked(model.run, inputs, shape, model.manifest.name)
        predictions += [_best(path, row, model, top) for path, row in zip(batch, softmax(logits), strict=True)]
        if on_batch is not None:
            on_batch(start + len(batch), len(images))
    return predictions


def required_preprocessing(model: RunnableModel) -> Preprocessing:
    """The preprocessing of images for `model`. Raises NasError where it is not recorded."""
    if model.manifest.preprocessing is None:
        raise NasError(
            f"how images are prepared for {model.manifest.name} is not recorded. "
            "Export it with --data, the images that it was trained on, or finish its training first."
        )
    return model.manifest.preprocessing


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities (n, classes) of logits (n, classes)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def as_json(predictions: Sequence[Prediction]) -> str:
    """JSON: a list with an object for each image."""
    data = [
        {"image": one.image, "classes": [{"label": label, "probability": share} for label, share in one.classes]}
        for one in predictions
    ]
    return json.dumps(data, indent=1, ensure_ascii=False)


def as_csv(predictions: Sequence[Prediction]) -> str:
    """CSV: a line for each image, with its path, then a label and a probability for each class."""
    most = max((len(one.classes) for one in predictions), default=1)
    header = ["image", *(f"{what}_{rank}" for rank in range(1, most + 1) for what in ("label", "probability"))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for one in predictions:
        writer.writerow([one.image, *(cell for label, share in one.classes for cell in (label, f"{share:.6f}"))])
    return text.getvalue()


def _decoded(batch: Sequence[Path], resolution: int, images: Sequence[Path]) -> Tensor:
    """The pixels of a `batch` of `images`. Raises NasError, which names all `images` that cannot be read."""
    try:
        return decode_images(batch, resolution, progress=False)
    except NasError:
        decode_images(images, 1, progress=False)  # to one pixel: only to find all that cannot be read
        raise


def _best(path: Path, probabilities: NDArray[np.float64], model: RunnableModel, top: int) -> Prediction:
    if not np.isfinite(probabilities).all():
        raise RunFailedError(f"{model.manifest.name} gives NaN for {path}: do not use it")
    order = np.argsort(-probabilities, kind="stable")[:top]
    labels = model.manifest.labels
    return Prediction(str(path), tuple((labels[i] if labels else str(i), float(probabilities[i])) for i in order))
