"""Write the files of a run's picks.

picks/NAME.onnx is the network; picks/NAME.json says which one it is, how it scored and how its export was checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nas.deploy.export.export import OnnxCheck, deployed_network, export_onnx
from nas.deploy.export.manifest import sha256_of
from nas.errors import NasError
from nas.files import atomic_file, write_json, writing
from nas.networks.architecture import Architecture
from nas.networks.describe import describe
from nas.networks.onnx_graph import INPUT_NAME
from nas.search.results.portfolio import Pick, picks_of
from nas.search.results.result import SearchResult
from nas.search.results.wording import count
from nas.search.trial import Trial

FOLDER = "picks"

# What the files of picks are called (`Pick.slug`).
_A_PICK = re.compile(r"knee|worst_device|(within|at)_\d.*|within_all_\d+")

WeightsOf = Callable[[Trial], Mapping[str, Tensor] | None]


@dataclass(frozen=True)
class OnnxExport:
    """One ONNX file: which of its weights are trained, in a sentence, and how it was checked."""

    file: str
    sha256: str
    size_bytes: int
    weights: str
    check: OnnxCheck

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "weights": self.weights,
            "check": self.check.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OnnxExport:
        """The inverse of `to_json`."""
        return cls(**{**data, "check": OnnxCheck.from_json(data["check"])})


@dataclass(frozen=True)
class ExportedPick:
    """A pick and its ONNX file; where there is none, `problem` says why."""

    pick: Pick
    export: OnnxExport | None
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "reason": self.pick.reason,
            "slug": self.pick.slug,
            "description": describe(self.pick.trial.network.architecture),
            "input": _input(self.pick.trial.network.architecture),
            "trial": self.pick.trial.to_json(),
            "better_references": list(self.pick.better),
            "onnx": self.export.to_json() if self.export else None,
            "onnx_problem": self.problem,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ExportedPick:
        """The inverse of `to_json`."""
        better = tuple(data.get("better_references", ()))
        pick = Pick(data["reason"], data["slug"], Trial.from_json(data["trial"]), better)
        return cls(pick, OnnxExport.from_json(data["onnx"]) if data["onnx"] else None, data["onnx_problem"])


def write_picks(result: SearchResult, folder: Path, weights: WeightsOf) -> list[ExportedPick]:
    """Write each pick's files into `folder`, and remove those of networks that are no longer picked.

    An export that fails is recorded and does not stop the others. Where `weights` has none for a trial, an earlier
    export of the same network is kept: it may have been made when there were some. Raises RunFailedError where files
    cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    written: dict[int, ExportedPick] = {}
    exported = []
    for pick in picks_of(result):
        twin = written.get(pick.trial.number)
        exported.append(_copied(twin, pick, folder) if twin else _exported(pick, folder, weights))
        written.setdefault(pick.trial.number, exported[-1])
    for one in exported:
        write_json(folder / f"{one.pick.slug}.json", one.to_json())
    _remove_others(folder, {one.pick.slug: one.export is not None for one in exported})
    return exported


def _input(architecture: Architecture) -> dict[str, Any]:
    """What goes into the ONNX file. Mean and deviation are those of the data set, which a result does not hold."""
    return {
        "name": INPUT_NAME,
        "type": "float32",
        "layout": "NCHW",
        "channel_order": "RGB",
        "resolution": architecture.resolution,
        "pixel_range": [0, 255],
        "normalisation": "per channel: minus the mean of the training images, over their standard deviation",
    }


def _exported(pick: Pick, folder: Path, weights_of: WeightsOf) -> ExportedPick:
    """Write the pick's ONNX file, or keep the earlier one."""
    network = pick.trial.network
    weights = weights_of(pick.trial)
    earlier = None if weights else _earlier_export(pick, folder)
    if earlier:
        return ExportedPick(pick, earlier)
    score = network.score
    trained_on = f"{score.dataset} at {score.resolution} pixels for {count(score.epochs, 'epoch')}" if score else ""
    path = folder / f"{pick.slug}.onnx"
    try:
        module, sentence = deployed_network(
            network.architecture, weights, seed=score.seed if score else 0, trained_on=trained_on
        )
        with writing(path):
            check = export_onnx(module, network.architecture, path)
    except NasError as error:
        return ExportedPick(pick, None, str(error))
    return ExportedPick(pick, OnnxExport(path.name, sha256_of(path), path.stat().st_size, sentence, check))


def _copied(twin: ExportedPick, pick: Pick, folder: Path) -> ExportedPick:
    """Another pick of the same trial: the same file under another name."""
    if twin.export is None:
        return ExportedPick(pick, None, twin.problem)
    path = folder / f"{pick.slug}.onnx"
    with writing(path), atomic_file(path) as file:
        file.write((folder / twin.export.file).read_bytes())
    return ExportedPick(pick, OnnxExport(**{**vars(twin.export), "file": path.name}))


def _earlier_export(pick: Pick, folder: Path) -> OnnxExport | None:
    """The export that is already in `folder`, where it is whole and of this trial's network."""
    try:
        before = ExportedPick.from_json(json.loads((folder / f"{pick.slug}.json").read_text(encoding="utf-8")))
        if before.pick.trial.network != pick.trial.network or before.export is None:
            return None
        return before.export if sha256_of(folder / before.export.file) == before.export.sha256 else None
    except (OSError, ValueError, KeyError, TypeError, NasError):
        # Nothing is there, or nothing that can be relied on: it is written again.
        return None


def _remove_others(folder: Path, current: Mapping[str, bool]) -> None:
    """Delete the files of picks that are not in `current` (whose values say whether there is an ONNX file)."""
    names = {f"{slug}.json" for slug in current} | {f"{slug}.onnx" for slug, onnx in current.items() if onnx}
    for path in folder.iterdir():
        if path.suffix in (".json", ".onnx") and _A_PICK.fullmatch(path.stem) and path.name not in names:
            with writing(path):
                path.unlink()
