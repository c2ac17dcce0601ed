"""LiteRT (TensorFlow Lite) files: written by litert-torch, run by the LiteRT interpreter on the CPU (XNNPACK).

They take one image at a time, channels first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.deploy.export.agreement import Logits, Runner
from nas.deploy.export.formats.quiet import quiet

TITLE = "LiteRT"
SUFFIX = ".tflite"
ANY_BATCH = False
WRITES_WITH = ("litert_torch",)
RUNS_WITH = ("ai_edge_litert",)
RUNTIME = "ai_edge_litert.interpreter"
DISTRIBUTIONS = ("litert-torch", "ai-edge-litert")
RUNS_NOT_HERE = ""


def write(network: nn.Module, example: Tensor, path: Path) -> None:
    """Write `network` for one image at a time."""
    with quiet():
        import litert_torch

        litert_torch.convert(network, (example,)).export(str(path))


def open_runner(path: Path, *, threads: int = 0) -> Runner:
    """A function that runs the file in the LiteRT interpreter, image by image."""
    with quiet():
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=path.read_bytes(), num_threads=threads or None)
        interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run_one(image: NDArray[np.float32]) -> Logits:
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        logits: Logits = interpreter.get_tensor(result["index"])[0]
        return logits

    return lambda images: np.stack([run_one(image) for image in images])
