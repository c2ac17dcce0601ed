"""How does a network become an ONNX file, and how does that run?

Through torch's own exporter (nas/networks/onnx_graph.py) and ONNX Runtime on the CPU. TensorRT takes the same file:
`trtexec --onnx=FILE`, or ONNX Runtime's TensorrtExecutionProvider.
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
    """ONNX Runtime on the CPU; a file that takes float16 is fed with that."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    given, result = session.get_inputs()[0], session.get_outputs()[0]
    dtype = np.float16 if given.type == "tensor(float16)" else np.float32

    def run(images: NDArray[np.float32]) -> Logits:
        logits: Logits = session.run([result.name], {given.name: images.astype(dtype, copy=False)})[0]
        return logits.astype(np.float32, copy=False)

    return run
