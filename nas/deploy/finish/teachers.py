"""Load a teacher for distillation: a trained network's folder, or an ONNX file.

An ONNX file is one of ours, with its manifest beside it, or any other one that takes images (n, 3, h, w) and returns
logits. The student's images are normalised and resized as the teacher's were.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor
from torch.nn import functional

from nas.accuracy.data.dataset import Dataset
from nas.accuracy.full_training.distillation import Teacher, TeacherLogits
from nas.accuracy.training.devices import resolve_device
from nas.accuracy.training.settings import Device
from nas.deploy.export.manifest import load_manifest, manifest_path, sha256_of
from nas.deploy.trained import Preprocessing, load_trained
from nas.errors import NasError, RunFailedError

# An ONNX file that takes any number of images runs so many at a time.
_AT_ONCE = 256


def load_teacher(path: Path, dataset: Dataset, *, temperature: float, alpha: float, device: Device) -> Teacher:
    """The teacher at `path`, for a student that is trained on `dataset` on `device`.

    assumption: an ONNX file without a manifest was trained for the data set's classes, in their order, on images
    normalised as the data set's are. Raises NasError for other classes and other files, RunFailedError for a file that
    does not load.
    """
    if path.suffix == ".onnx":
        logits = _onnx_teacher(path, dataset)
        name = f"{path.name} {sha256_of(path)[:16]}"
    elif path.is_file():
        raise NasError(f"a teacher must be a trained network's folder or an .onnx file, but {path} is another file")
    else:
        logits = _network_teacher(path, dataset, device)
        name = f"{path.resolve().name} {sha256_of(path / 'network.json')[:16]}"
    return Teacher(name, logits, temperature, alpha)


def _network_teacher(folder: Path, dataset: Dataset, device: Device) -> TeacherLogits:
    trained = load_trained(folder)
    _check_labels(str(folder), trained.labels, dataset)
    place = resolve_device(device)
    network = trained.build().to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    adapted = _adaptation(dataset, trained.preprocessing)

    def logits(images: Tensor) -> Tensor:
        answers: Tensor = network(adapted(images))
        return answers

    return logits


def _onnx_teacher(path: Path, dataset: Dataset) -> TeacherLogits:
    preprocessing = None
    if manifest_path(path).is_file():
        manifest = load_manifest(path)
        preprocessing = manifest.preprocessing
        if manifest.labels is not None:
            _check_labels(str(path), manifest.labels, dataset)
    session = _session(path)
    source, (answer, *_) = session.get_inputs()[0], session.get_outputs()
    if len(source.shape) != 4 or source.shape[1] != 3 or source.type != "tensor(float)":
        raise NasError(
            f"a teacher must take images (n, 3, height, width) of float32, "
            f"but {path} takes {source.shape} of {source.type}"
        )
    if isinstance(answer.shape[-1], int) and answer.shape[-1] != len(dataset.classes):
        raise NasError(f"{path} has {answer.shape[-1]} classes, but {dataset.name} has {len(dataset.classes)}")
    if preprocessing is None:
        side = source.shape[-1] if isinstance(source.shape[-1], int) else dataset.resolution
        preprocessing = Preprocessing.of(dataset, side)
    adapted = _adaptation(dataset, preprocessing)
    at_once = source.shape[0] if isinstance(source.shape[0], int) else _AT_ONCE

    def logits(images: Tensor) -> Tensor:
        batch = adapted(images).cpu().numpy()
        if len(batch) % at_once and at_once != _AT_ONCE:
            raise NasError(f"{path} takes {at_once} images at a time, which must divide the {len(batch)} of a batch")
        parts = [batch[start : start + at_once] for start in range(0, len(batch), at_once)]
        answers = [session.run([answer.name], {source.name: np.ascontiguousarray(part)})[0] for part in parts]
        return torch.from_numpy(np.concatenate(answers)).to(images.device)

    return logits


def _adaptation(dataset: Dataset, theirs: Preprocessing) -> TeacherLogits:
    """A function from images normalised as those of `dataset` to images prepared as `theirs`."""
    ours = Preprocessing.of(dataset, dataset.resolution)

    def adapted(images: Tensor) -> Tensor:
        if (ours.mean, ours.std) != (theirs.mean, theirs.std):
            mean, std, their_mean, their_std = (
                torch.tensor(values, device=images.device).view(1, 3, 1, 1)
                for values in (ours.mean, ours.std, theirs.mean, theirs.std)
            )
            images = (images * std + mean - their_mean) / their_std
        size = (theirs.resolution, theirs.resolution)
        if images.shape[-2:] != size:
            images = functional.interpolate(images, size, mode="bilinear", antialias=True)
        return images

    return adapted


def _check_labels(name: str, labels: tuple[str, ...], dataset: Dataset) -> None:
    if labels != dataset.classes:
        raise NasError(
            f"a teacher must know the classes of {dataset.name} ({_few(dataset.classes)}), in their order, but {name} "
            f"knows {_few(labels)}"
        )


def _few(labels: tuple[str, ...]) -> str:
    return f"{len(labels)}: {', '.join(labels[:5])}{', …' * (len(labels) > 5)}"


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise NasError(f"cannot read the teacher {path}: {error.strerror}") from error
    # ONNX Runtime's exceptions have no other common base.
    except Exception as error:
        raise RunFailedError(f"ONNX Runtime cannot load {path}: {error}") from error
