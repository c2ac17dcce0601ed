"""Write a kit: the folder that is carried to a device to time models there.

It holds an ONNX file for each model, `manifest.json`, and `run.py` (a copy of runner.py). The device needs Python,
onnxruntime and numpy, and nothing else. A run of the kit writes one file of raw samples (see samples.py).
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
# On a machine that is never quiet, at most this many times the passes are made.
MOST_PASSES = 3

GraphOptimization = Literal["disabled", "basic", "extended", "all"]
Precision = Literal["float32", "float16", "int8"]


@dataclass(frozen=True)
class RunSettings:
    """How the models of a kit are run.

    Each model gets `rounds` samples in each of `passes` passes. A sample is `runs` consecutive runs: the first finds
    the caches filled by other models, the last finds its own weights there. A visit loads `group_size` models at once
    and times them; the sentinel is timed before every `sentinel_every`-th of them. A visit in which the sentinel took
    more than `quiet_share` of its best time is repeated, up to `most_passes` visits in all. Where the sentinel takes
    more than `slow_share` of its best time, the machine is hot or busy, and the run pauses for up to `longest_pause_s`.
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
            raise NasError(f"passes must be at least 2, to compare one with the other, but got {self.passes}")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunSettings:
        """The settings stored in a table or a manifest."""
        return cls(**{**data, "cores": tuple(data["cores"])})


@dataclass(frozen=True)
class KitModel:
    """One model of a kit: an ONNX file and the shapes of its inputs. The name of a unit's model is the unit's key."""

    name: str
    onnx: bytes
    inputs: tuple[tuple[int, ...], ...]


def write_kit(models: Iterable[KitModel], settings: RunSettings, folder: Path) -> str:
    """Write a kit into `folder` and return its identity, which depends on the models and settings alone.

    One of the models must be called SENTINEL. The kit is written beside `folder` and renamed when it is complete, so
    that an interrupted run leaves no incomplete kit. Raises NasError where `folder` holds files other than a kit.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise NasError(f"{folder} holds other files, but a kit needs a folder of its own: give another folder")
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / "models").mkdir(parents=True)
    entries = []
    for number, model in enumerate(models):
        file = f"models/{number:05d}.onnx"
        (unfinished / file).write_bytes(model.onnx)
        digest = hashlib.sha256(model.onnx).hexdigest()
        entries.append({"name": model.name, "file": file, "sha256": digest, "inputs": model.inputs})
    manifest = {"format": runner.FORMAT, "settings": asdict(settings), "sentinel": SENTINEL, "models": entries}
    identity = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]
    (unfinished / MANIFEST).write_text(json.dumps({"kit": identity, **manifest}, indent=1), encoding="utf-8")
    write_runner(unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    return identity


def write_runner(folder: Path) -> None:
    """Copy the runner into a kit's folder. It is not part of the kit's identity."""
    shutil.copyfile(runner.__file__, folder / RUNNER)
