"""ONNX files: written by torch's own exporter (nas/networks/onnx_graph.py), run by ONNX Runtime on the CPU.

TensorRT takes the same files: `trtexec --onnx=FILE`, or ONNX Runtime's TensorrtExecutionProvider.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.deploy.export.agreement import Logits, Runner
from nas.networks.onnx_graph import onnx_bytes

TITLE = "ONNX"
SUFFIX = ".onnx"
ANY_BATCH = True
WRITES_WITH = ("onnx", "onnxruntime")
RUNS_WITH = ("onnxruntime",)
RUNTIME = "onnxruntime"
DISTRIBUTIONS = ("onnx", "onnxruntime")
RUNS_NOT_HERE = ""


def write(network: nn.Module, example: Tensor, path: Path) -> None:
    """Write `network` for any batch size."""
    path.write_bytes(onnx_bytes(network, example, name=path.name, any_batch_size=True))


def open_runner(path: Path, *, threads: int = 0) -> Runner:
    """A function that runs the file in ONNX Runtime on the CPU; images become float16 where the file takes that."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    source, result = session.get_inputs()[0], session.get_outputs()[0]
    dtype = np.float16 if source.type == "tensor(float16)" else np.float32

    def run(images: NDArray[np.float32]) -> Logits:
        logits: Logits = session.run([result.name], {source.name: images.astype(dtype, copy=False)})[0]
        return logits.astype(np.float32, copy=False)

    return run
