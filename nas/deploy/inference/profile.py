"""Measure how much time each block of a network takes in an ONNX file.

ONNX Runtime's profiler times every operator of the graph that it runs. Torch's exporter names a node after its module
("/3/layers/0/Conv" belongs to block 3), so that times can be summed for each block of the architecture.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from nas.errors import RunFailedError
from nas.networks.architecture import Architecture
from nas.networks.operators import units

_RUNS = 30
_WARMUP = 5
_BLOCK = re.compile(r"/(\d+)/")
_MICRO = 1000
_OTHER = "other"


@dataclass(frozen=True)
class LayerTime:
    """The median time of one block, or of all nodes that belong to no block; `share` of the total is 0 to 1."""

    block: int | None
    unit: str
    ms: float
    share: float
    operators: tuple[str, ...]


def profile_onnx(path: Path, architecture: Architecture, *, batch: int = 1, threads: int = 1) -> list[LayerTime]:
    """The time of each block of `architecture` in the ONNX file at `path`, in order.

    The last one, with `block` None, is of the nodes of no block, most of which change layouts between blocks. Times
    are longer with the profiler than without. Raises RunFailedError where the file does not run.
    """
    runs = _events(path, (batch, 3, architecture.resolution, architecture.resolution), threads)
    spent: dict[int | None, list[float]] = defaultdict(lambda: [0.0] * len(runs))
    kinds: dict[int | None, dict[str, None]] = defaultdict(dict)
    for number, events in enumerate(runs):
        for event in events:
            match = _BLOCK.match(event["name"])
            block = int(match[1]) if match else None
            spent[block][number] += event["dur"] / _MICRO
            kinds[block][event["args"].get("op_name", "?")] = None
    medians = {block: float(np.median(times)) for block, times in spent.items()}
    total = sum(medians.values())
    keys = {index: unit.key for index, unit in enumerate(units(architecture))}
    return [
        LayerTime(block, _OTHER if block is None else keys[block], ms, ms / total, tuple(kinds[block]))
        for block, ms in sorted(medians.items(), key=lambda item: (item[0] is None, item[0] or 0))
    ]


def _events(path: Path, shape: tuple[int, ...], threads: int) -> list[list[dict[str, Any]]]:
    """The profiler's record of every operator, for each run after the warm-up."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
            source = session.get_inputs()[0]
            dtype = np.float16 if source.type == "tensor(float16)" else np.float32
            image = np.zeros(shape, dtype)
            for _ in range(_WARMUP + _RUNS):
                session.run(None, {source.name: image})
        # ONNX Runtime's exceptions have no other common base.
        except Exception as error:
            raise RunFailedError(f"ONNX Runtime cannot profile {path.name}: {error}") from error
        events = json.loads(Path(session.end_profiling()).read_text())
    kernels = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    # Every run has the same number of events, in order.
    each = len(kernels) // (_WARMUP + _RUNS)
    return [kernels[each * number : each * (number + 1)] for number in range(_WARMUP, _WARMUP + _RUNS)]
