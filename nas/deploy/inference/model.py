"""Open a command's MODEL so that it can be run.

It is an exported file with its manifest, run by its own runtime, or any NETWORK, run by torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nas.deploy.export.agreement import Logits, Runner
from nas.deploy.export.formats import FORMATS, cannot_run, format_called, open_file, suffixes
from nas.deploy.export.manifest import Manifest, load_manifest
from nas.deploy.find import find_network
from nas.deploy.trained import is_trained
from nas.errors import NasError
from nas.files import shown


@dataclass(frozen=True, eq=False)
class RunnableModel:
    """A model ready to run: `run` takes float32 (n, 3, h, w), normalised, and returns logits (n, classes).

    `path` is that of the exported file; it is None for a network that torch runs, whose manifest has the format
    "torch".
    """

    path: Path | None
    manifest: Manifest
    run: Runner


def is_exported(text: str) -> bool:
    """Whether `text` is an exported file (or package), by the ending of its name."""
    path = Path(text)
    # Not by a manifest beside it: NAME.json beside a trained network is most often its architecture.
    return path.suffix in suffixes() and not is_trained(path)


def refuse_pick(text: str, pick: str | None) -> None:
    """Raise NasError where a `pick` is given for the exported file `text`."""
    if pick is not None:
        raise NasError(f"--pick chooses a network of a run, but {text} is an exported file: leave out --pick")


def open_exported(path: Path, *, threads: int = 0) -> RunnableModel:
    """The exported file at `path`.

    Raises NasError where it has no manifest, is not the file that its manifest describes, or cannot be run here.
    """
    manifest = load_manifest(path)
    if manifest.format not in FORMATS or path.suffix != format_called(manifest.format).SUFFIX:
        raise NasError(f"{shown(path)} is not of the format {manifest.format!r} that its manifest says")
    why_not = cannot_run(manifest.format)
    if why_not:
        raise NasError(f"{shown(path)} cannot be run here: {why_not}")
    run = open_file(manifest.format, path, threads=threads)
    return RunnableModel(path, manifest, run if manifest.any_batch else _one_by_one(run))


def open_model(text: str, *, pick: str | None = None, threads: int = 0) -> RunnableModel:
    """The exported file or the network that `text` means. Raises NasError where there is none."""
    if is_exported(text):
        refuse_pick(text, pick)
        return open_exported(Path(text), threads=threads)
    source = find_network(text, pick=pick)
    network, weights = source.deployed()
    manifest = replace(source.float_manifest("torch", weights), versions={"torch": str(torch.__version__)})

    @torch.inference_mode()
    def run(images: NDArray[np.float32]) -> Logits:
        logits: Logits = network(torch.from_numpy(images)).numpy()
        return logits

    return RunnableModel(None, manifest, run)


def _one_by_one(run: Runner) -> Runner:
    """`run`, which takes one image at a time, made to take any number."""
    return lambda images: np.concatenate([run(images[index : index + 1]) for index in range(len(images))])
