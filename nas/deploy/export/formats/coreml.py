"""Core ML packages: written by coremltools as ML programs of float32, for one image at a time.

They run on Apple's systems alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.deploy.export.agreement import Logits, Runner
from nas.deploy.export.formats.quiet import quiet
from nas.networks.onnx_graph import INPUT_NAME, OUTPUT_NAME

TITLE = "Core ML"
SUFFIX = ".mlpackage"
ANY_BATCH = False
WRITES_WITH = ("coremltools",)
RUNS_WITH = ("coremltools",)
RUNTIME = "coremltools"
DISTRIBUTIONS = ("coremltools",)
RUNS_NOT_HERE = "" if sys.platform == "darwin" else "Core ML files run on Apple's systems alone"


def write(network: nn.Module, example: Tensor, path: Path) -> None:
    """Write `network` for one image at a time."""
    with quiet(), torch.no_grad():
        import coremltools

        model = coremltools.convert(
            # A traced network would do for most blocks. But in those that reshape (ShuffleNet's, MobileViT's) it holds
            # shapes as arrays, which coremltools 9.0 cannot read with NumPy from 2.4 on.
            torch.export.export(network, (example,)).run_decompositions({}),
            inputs=[coremltools.TensorType(INPUT_NAME, shape=example.shape, dtype=np.float32)],
            outputs=[coremltools.TensorType(OUTPUT_NAME, dtype=np.float32)],
            convert_to="mlprogram",
            compute_precision=coremltools.precision.FLOAT32,
            minimum_deployment_target=coremltools.target.iOS16,
            skip_model_load=True,
        )
        model.save(str(path))


def open_runner(path: Path, *, threads: int = 0) -> Runner:  # noqa: ARG001 - Core ML chooses them itself
    """A function that runs the package in Core ML, image by image."""
    import coremltools

    model = coremltools.models.MLModel(str(path))

    def run_one(image: NDArray[np.float32]) -> Logits:
        logits: Logits = model.predict({INPUT_NAME: image[None]})[OUTPUT_NAME][0]
        return logits

    return lambda images: np.stack([run_one(image) for image in images])
