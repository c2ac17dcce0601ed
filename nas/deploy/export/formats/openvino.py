"""OpenVINO models: read from the same ONNX graph, written as two files (.xml and .bin), run by OpenVINO on the CPU.

OpenVINO's telemetry, which tells Intel of every import unless a user has opted out, is kept from being imported.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.deploy.export.agreement import Logits, Runner
from nas.networks.onnx_graph import onnx_bytes

TITLE = "OpenVINO"
SUFFIX = ".xml"
ANY_BATCH = True
WRITES_WITH = ("openvino",)
RUNS_WITH = ("openvino",)
RUNTIME = "openvino"
DISTRIBUTIONS = ("openvino",)
RUNS_NOT_HERE = ""

# Users have not agreed to be reported; besides, the package forks this process, which JAX warns of. Without it OpenVINO
# takes a stub of its own.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def write(network: nn.Module, example: Tensor, path: Path) -> None:
    """Write `network` for any batch size, with its weights beside it."""
    import openvino

    graph = onnx_bytes(network, example, name=path.name, any_batch_size=True)
    model = openvino.Core().read_model(io.BytesIO(graph))
    openvino.save_model(model, str(path), compress_to_fp16=False)


def open_runner(path: Path, *, threads: int = 0) -> Runner:
    """A function that runs the model in OpenVINO, in float32 even where the CPU is faster in bfloat16."""
    import openvino

    settings: dict[str, object] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)

    def run(images: NDArray[np.float32]) -> Logits:
        logits: Logits = compiled(images)[0]
        return logits.copy()

    return run
