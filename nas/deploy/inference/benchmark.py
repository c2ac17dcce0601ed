"""Time models side by side, at several resolutions and batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.deploy.export.agreement import random_images
from nas.deploy.export.export import export_file
from nas.deploy.export.formats import FORMATS, cannot_run, open_file
from nas.deploy.export.manifest import Manifest, load_manifest, size_of
from nas.deploy.find import find_network
from nas.deploy.inference.memory import Footprint, measure_footprint
from nas.deploy.inference.model import is_exported
from nas.deploy.inference.timing import DEFAULT_RUNS, Times, measure_interleaved, ratio_of
from nas.errors import NasError
from nas.files import shown

_SECOND_MS = 1000


@dataclass(frozen=True)
class Contender:
    """One file at one batch size: a row of a benchmark."""

    label: str
    path: Path
    manifest: Manifest
    batch: int

    @property
    def resolution(self) -> int:
        """The size of the images, in pixels."""
        return self.manifest.architecture.resolution

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the input."""
        return (self.batch, 3, self.resolution, self.resolution)


@dataclass(frozen=True)
class Benchmark:
    """The measurements of a contender; `ratio` is its time / the first contender's, from the same rounds."""

    contender: Contender
    times: Times
    ratio: float
    size_bytes: int
    footprint: Footprint | None

    @property
    def frames_per_second(self) -> float:
        """Images in a second: batch / mean time of a batch."""
        return self.contender.batch * _SECOND_MS / self.times.mean

    def in_time(self, frame_rate: float) -> float:
        """The share of the runs, 0 to 1, that ended before the next batch of frames came at `frame_rate`."""
        budget = self.contender.batch * _SECOND_MS / frame_rate
        return float(np.mean(np.array(self.times.samples_ms) <= budget))

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        contender = self.contender
        return {
            "model": contender.label,
            "format": contender.manifest.format,
            "precision": contender.manifest.precision,
            "weights": contender.manifest.weights,
            "resolution": contender.resolution,
            "batch": contender.batch,
            **self.times.to_json(),
            "frames_per_second": self.frames_per_second,
            "ratio": self.ratio,
            "bytes": self.size_bytes,
            "memory_bytes": self.footprint.added_bytes if self.footprint else None,
            "load_ms": self.footprint.load_ms if self.footprint else None,
        }


def contenders_of(
    text: str, folder: Path, *, resolutions: Sequence[int] = (), batches: Sequence[int] = (1,), pick: str | None = None
) -> list[Contender]:
    """The files that `text` means: an exported file as it is, or a network as ONNX files that are written to `folder`.

    A network is written once for each of `resolutions` (default: its own); an exported file has a single one. Raises
    NasError where a file cannot be run here, or not at these resolutions and batch sizes.
    """
    files = [_exported(text, resolutions)] if is_exported(text) else _networks(text, folder, resolutions, pick)
    contenders = []
    for path, manifest in files:
        if not manifest.any_batch and any(batch != 1 for batch in batches):
            raise NasError(f"{shown(path)} takes one image at a time: leave out --batches")
        label = path.name if is_exported(text) else manifest.name
        contenders += [Contender(label, path, manifest, batch) for batch in batches]
    return contenders


def measure(
    contenders: Sequence[Contender],
    *,
    runs: int = DEFAULT_RUNS,
    threads: int = 1,
    memory: bool = True,
    on_round: Callable[[int, int], None] | None = None,
) -> list[Benchmark]:
    """Time all contenders in the same rounds, on the same image, and measure each one's memory.

    Raises RunFailedError where one does not run.
    """
    calls = {str(index): _call(contender, threads) for index, contender in enumerate(contenders)}
    times = measure_interleaved(calls, runs=runs, on_round=on_round)
    return [
        Benchmark(
            contender=contender,
            times=times[str(index)],
            ratio=ratio_of(times[str(index)], times["0"]),
            size_bytes=size_of(contender.path, contender.manifest),
            footprint=_footprint(contender, threads) if memory else None,
        )
        for index, contender in enumerate(contenders)
    ]


def _exported(text: str, resolutions: Sequence[int]) -> tuple[Path, Manifest]:
    """The exported file `text` and its manifest, after checking that it can be run at `resolutions`."""
    path = Path(text)
    manifest = load_manifest(path)
    own = manifest.architecture.resolution
    if any(resolution != own for resolution in resolutions):
        raise NasError(f"{text} was exported for {own} pixels alone: give the network itself to try other resolutions")
    if manifest.format not in FORMATS:
        raise NasError(f"the manifest of {text} has the format {manifest.format!r}, which is not known")
    why_not = cannot_run(manifest.format)
    if why_not:
        raise NasError(f"{text} cannot be run here: {why_not}")
    return path, manifest


def _networks(text: str, folder: Path, resolutions: Sequence[int], pick: str | None) -> list[tuple[Path, Manifest]]:
    """`text` as an ONNX file for each resolution."""
    source = find_network(text, pick=pick)
    network, weights = source.deployed()
    manifest = replace(source.float_manifest("onnx", weights), preprocessing=None)  # that of one resolution alone
    files = []
    for resolution in resolutions or (source.architecture.resolution,):
        resized = replace(manifest, architecture=replace(manifest.architecture, resolution=resolution))
        files.append(export_file(network, resized, folder / source.architecture.fingerprint / str(resolution)))
    return files


def _call(contender: Contender, threads: int) -> Callable[[], object]:
    run = open_file(contender.manifest.format, contender.path, threads=threads)
    image = random_images(contender.batch, contender.resolution, torch.Generator().manual_seed(0)).numpy()
    return lambda: run(image)


def _footprint(contender: Contender, threads: int) -> Footprint:
    return measure_footprint(contender.manifest.format, contender.path, contender.shape, threads=threads)
