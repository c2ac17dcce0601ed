"""ExecuTorch programs: written by torch.export and ExecuTorch's XNNPACK backend, run by ExecuTorch's own runtime.

They take one image at a time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.deploy.export.agreement import Logits, Runner
from nas.deploy.export.formats.quiet import quiet
from nas.errors import RunFailedError

TITLE = "ExecuTorch"
SUFFIX = ".pte"
ANY_BATCH = False
WRITES_WITH = ("executorch",)
RUNS_WITH = ("executorch",)
RUNTIME = "executorch.extension.pybindings.portable_lib"
DISTRIBUTIONS = ("executorch",)
RUNS_NOT_HERE = ""

# Where a program's file holds its kind (in flatbuffers: after the offset of the root).
_MAGIC = slice(4, 6)


def write(network: nn.Module, example: Tensor, path: Path) -> None:
    """Write `network` for one image at a time."""
    with quiet(), torch.no_grad():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        exported = torch.export.export(network, (example,))
        program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    path.write_bytes(program.buffer)


def open_runner(path: Path, *, threads: int = 0) -> Runner:  # noqa: ARG001 - the runtime chooses them itself
    """A function that runs the program in ExecuTorch's runtime, image by image."""
    content = path.read_bytes()
    if content[_MAGIC] != b"ET":
        # The runtime would kill the process instead of raising an error.
        raise RunFailedError(f"{path.name} is not an ExecuTorch program")
    with quiet():
        from executorch.runtime import Runtime

        program = Runtime.get().load_program(content)
        method = program.load_method("forward")
    # The method reads from both but keeps neither alive: were they freed, the process would be killed.
    held = (program, content)

    def run_one(image: NDArray[np.float32]) -> Logits:
        assert held
        logits: Logits = method.execute([torch.from_numpy(np.ascontiguousarray(image[None]))])[0].numpy()[0].copy()
        return logits

    return lambda images: np.stack([run_one(image) for image in images])
