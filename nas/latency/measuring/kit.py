"""What is carried to a device to time units there?

A kit is a folder: an ONNX file for each model, `manifest.json`, and `run.py` (a copy of runner.py), which needs Python,
onnxruntime and numpy on the device and nothing else. What comes back is one file of raw samples (see samples.py).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nas.errors import NasError
from nas.latency.measuring import runner

MANIFEST = "manifest.json"
RUNNER = "run.py"
SENTINEL = "sentinel"
EMPTY = "empty"
# On a machine that is never quiet, at most so many times the passes are made.
MOST_PASSES = 3

GraphOptimization = Literal["disabled", "basic", "extended", "all"]
Precision = Literal["float32", "float16", "int8"]


@dataclass(frozen=True)
class RunSettings:
    """How the models of a kit are run.

    Each model is timed `passes` times `rounds` times. A sample is `runs` runs right after one another: the first finds
    the caches as the other models left them, the last finds its own weights there. `group_size` models are loaded at
    once, which is a visit; the sentinel is timed before every `sentinel_every`-th of them. A visit in which it took
    more than `quiet_share` of its best time is made again, up to `most_passes` in all. Where it takes `slow_share` of
    its best time, the machine is hot or busy, and is left alone for up to `longest_pause_s`.
    """

    provider: str = "CPUExecutionProvider"
    threads: int = 1
    cores: tuple[int, ...] = ()
    graph_optimization: GraphOptimization = "all"
    precision: Precision = "float32"
    warmup: int = 2
    passes: int = 6
    most_passes: int = 6 * MOST_PASSES
    rounds: int = 5
    runs: int = 2
    group_size: int = 250
    sentinel_every: int = 10
    quiet_share: float = 1.05
    slow_share: float = 1.3
    longest_pause_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("threads", "most_passes", "rounds", "runs", "group_size", "sentinel_every"):
            if getattr(self, name) < 1:
                raise NasError(f"{name} must be at least 1, but got {getattr(self, name)}")
        if self.passes < 2:
            raise NasError(f"passes must be at least 2, one to check the other by, but got {self.passes}")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunSettings:
        """Settings as a table or a manifest keeps them."""
        return cls(**{**data, "cores": tuple(data["cores"])})


@dataclass(frozen=True)
class KitModel:
    """One model of a kit: an ONNX file and the shapes of its inputs. Units are named by their keys."""

    name: str
    onnx: bytes
    inputs: tuple[tuple[int, ...], ...]


def write_kit(models: Iterable[KitModel], settings: RunSettings, folder: Path) -> str:
    """Write a kit into `folder` and return its identity: the same models and settings have the same.

    There must be a model called SENTINEL. Until the kit is whole it stands beside `folder`, so that a kill leaves
    nothing that looks like a kit. Raises NasError where `folder` holds something that is no kit.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise NasError(f"{folder} holds other files: a kit needs a folder of its own")
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / "models").mkdir(parents=True)
    listed = []
    for number, model in enumerate(models):
        file = f"models/{number:05d}.onnx"
        (unfinished / file).write_bytes(model.onnx)
        digest = hashlib.sha256(model.onnx).hexdigest()
        listed.append({"name": model.name, "file": file, "sha256": digest, "inputs": model.inputs})
    manifest = {"format": runner.FORMAT, "settings": asdict(settings), "sentinel": SENTINEL, "models": listed}
    identity = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]
    (unfinished / MANIFEST).write_text(json.dumps({"kit": identity, **manifest}, indent=1), encoding="utf-8")
    write_runner(unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    return identity


def write_runner(folder: Path) -> None:
    """Put what runs a kit into its folder; it is no part of what the kit is known by."""
    shutil.copyfile(runner.__file__, folder / RUNNER)
