"""Compress an ONNX model to int8 or float16, and measure what that does to accuracy, size and latency.

Accuracy is measured before and after on the same images, and latency side by side. A model that loses too much accuracy
is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from nas.accuracy.data.dataset import Split
from nas.deploy.export.agreement import Runner
from nas.deploy.inference.images import LabelledImages
from nas.deploy.inference.timing import DEFAULT_RUNS, Times, measure_interleaved, ratio_of
from nas.deploy.quantisation.onnx import (
    DEFAULT_PERCENTILE,
    Calibration,
    Method,
    RunsAs,
    in_float16,
    quantised_dynamic,
    quantised_static,
    runs_as,
)
from nas.deploy.trained import Preprocessing
from nas.errors import RunFailedError
from nas.networks.onnx_graph import INPUT_NAME, OUTPUT_NAME

# In percentage points of top-1: the most that a network may lose.
DEFAULT_MOST_DROP = 1.0

_BATCH = 250


@dataclass(frozen=True)
class Quality:
    """A model's top-1 in percent, its size, and its latency for one image."""

    top1: float
    size_bytes: int
    latency: Times

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"top1": self.top1, "bytes": self.size_bytes, "latency": self.latency.to_json()}


@dataclass(frozen=True, eq=False)
class Compressed:
    """A compressed model, and how it compares with the model before.

    `drop` is in percentage points of top-1; `latency_ratio` is latency after / before; `same_class` is the share, 0 to
    1, of the images that both put in the same class.
    """

    model: ModelProto
    before: Quality
    after: Quality
    images: int
    same_class: float
    latency_ratio: float
    threads: int
    runs_as: RunsAs

    @property
    def drop(self) -> float:
        """Top-1 before − top-1 after, in percentage points."""
        return self.before.top1 - self.after.top1

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the model."""
        return {
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "drop": self.drop,
            "images": self.images,
            "same_class": self.same_class,
            "latency_ratio": self.latency_ratio,
            "size_ratio": self.after.size_bytes / self.before.size_bytes,
            "threads": self.threads,
            "operators": self.runs_as.to_json(),
        }


def compress(
    model: ModelProto,
    images: LabelledImages,
    method: Method,
    *,
    calibration: Calibration = "minmax",
    percentile: float = DEFAULT_PERCENTILE,
    exclude: tuple[str, ...] = (),
    runs: int = DEFAULT_RUNS,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Compressed:
    """`model` (float32) compressed by `method`, calibrated on training images and scored on validation images.

    Latency is that of one image on `threads` threads. Raises RunFailedError where the result does not run or gives
    NaN, and as `quantised_static` does.
    """
    if method == "int8-static":
        inputs = images.calibration_inputs()
        compressed_model = quantised_static(
            model, inputs, calibration=calibration, percentile=percentile, exclude=exclude, progress=progress
        )
    else:
        compressed_model = quantised_dynamic(model) if method == "int8-dynamic" else in_float16(model)
    return compare_models(model, compressed_model, images, runs=runs, threads=threads)


def compare_models(
    model: ModelProto,
    compressed_model: ModelProto,
    images: LabelledImages,
    *,
    runs: int = DEFAULT_RUNS,
    threads: int = 1,
) -> Compressed:
    """`compressed_model` with its scores on the validation images, size and latency beside those of `model` (float32).

    Raises as `compress` does.
    """
    both = {"before": session_runner(model, threads), "after": session_runner(compressed_model, threads)}
    classes = {name: _classes(run, images, f"the model {name}") for name, run in both.items()}
    one_image = images.some(1).numpy()
    times = measure_interleaved({name: partial(run, one_image) for name, run in both.items()}, runs=runs)
    labels = images.validation.labels.numpy()
    qualities = {
        name: Quality(100 * float((classes[name] == labels).mean()), len(one.SerializeToString()), times[name])
        for name, one in (("before", model), ("after", compressed_model))
    }
    return Compressed(
        model=compressed_model,
        before=qualities["before"],
        after=qualities["after"],
        images=len(labels),
        same_class=float((classes["before"] == classes["after"]).mean()),
        latency_ratio=ratio_of(times["after"], times["before"]),
        threads=threads,
        runs_as=runs_as(compressed_model),
    )


def check_drop(compressed: Compressed, most: float) -> None:
    """Raise RunFailedError where more than `most` percentage points of top-1 are lost."""
    # Written this way round, NaN is refused too.
    if not compressed.drop <= most:
        raise RunFailedError(
            f"top-1 fell by {compressed.drop:.2f} points, from {compressed.before.top1:.2f} to "
            f"{compressed.after.top1:.2f} %, but may fall by {most:g} at most; nothing was written. Try another "
            "--calibration, more --images, or training for it (--method int8-qat, more --epochs); --allow keeps the "
            "network all the same."
        )


def top1_of(run: Runner, split: Split, preprocessing: Preprocessing, name: str) -> float:
    """Top-1 of a model on `split`, in percent."""
    return 100 * float((_classes_of(run, split, preprocessing, name) == split.labels.numpy()).mean())


def session_runner(model: ModelProto, threads: int = 1) -> Runner:
    """A function that runs `model` in ONNX Runtime on the CPU. Raises RunFailedError where it cannot be loaded."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    # ONNX Runtime's exceptions have no other common base.
    except Exception as error:
        raise RunFailedError(f"ONNX Runtime cannot load the model: {error}") from error
    return lambda images: session.run([OUTPUT_NAME], {INPUT_NAME: images})[0]


def load_onnx(content: bytes, name: str) -> ModelProto:
    """The model in `content`. Raises RunFailedError, calling it `name`, where it is no model or lacks its weights."""
    try:
        model = onnx.load_from_string(content)
    except Exception as error:  # protobuf's own exception, which has no public name
        raise RunFailedError(f"{name} is not an ONNX file: {error}") from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise RunFailedError(f"{name} must hold its weights itself, but has them in another file: save both as one")
    return model


def _classes(run: Runner, images: LabelledImages, name: str) -> NDArray[np.int64]:
    return _classes_of(run, images.validation, images.preprocessing, name)


def _classes_of(run: Runner, split: Split, preprocessing: Preprocessing, name: str) -> NDArray[np.int64]:
    """The class that a model puts each image of `split` in, int64 (n,)."""
    classes = []
    for start in range(0, len(split), _BATCH):
        inputs = preprocessing.applied(split.images[start : start + _BATCH]).numpy()
        try:
            logits = run(inputs)
        # ONNX Runtime's exceptions have no other common base.
        except Exception as error:
            raise RunFailedError(f"{name} does not run on a batch of {len(inputs)}: {error}") from error
        if not np.isfinite(logits).all():
            raise RunFailedError(f"{name} gives NaN or infinite logits: its activations do not fit this precision")
        classes.append(logits.argmax(axis=1))
    return np.concatenate(classes)
