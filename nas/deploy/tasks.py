"""Finish and export a network, whichever it is: what the commands and the Python API do alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from nas.accuracy.data.dataset import Dataset
from nas.accuracy.full_training.distillation import Teacher
from nas.accuracy.full_training.fine_tuning import Tuning
from nas.accuracy.full_training.recipes import Recipe
from nas.accuracy.full_training.state import FinalTraining
from nas.accuracy.training.processes import Processes
from nas.deploy.export.export import export_file
from nas.deploy.export.manifest import Manifest
from nas.deploy.find import FoundNetwork
from nas.deploy.finish.finish import (
    Finished,
    check_classes,
    check_folder,
    finish,
    finished_architecture,
    load_training_data,
    start_network,
)
from nas.deploy.inference.images import load_labelled_images
from nas.deploy.trained import Preprocessing
from nas.errors import NasError
from nas.networks.architecture import Architecture
from nas.networks.pretrained import load_pretrained

# A file is compared with torch on so many real images, in batches of _BATCH.
_IMAGES = 64
_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class FinishPlan:
    """How a network is trained to the end, besides its recipe.

    `weights` are those to start from: `fresh`, `own` (of the trained folder, or those that the search trained), or a
    file of torchvision's or timm's; None is own for a trained folder, else fresh. `resolution` is that of the images in
    pixels, by default the network's; with `max_stride` the earliest strides become 1 (for small images).
    `teacher` makes the teacher, from the images and the device.
    """

    recipe: Recipe
    recipe_name: str
    weights: str | None = None
    resolution: int | None = None
    max_stride: int | None = None
    new_classes: bool = False
    seed: int = 0
    tuning: Tuning | None = None
    teacher: Callable[[Dataset], Teacher] | None = None

    def __post_init__(self) -> None:
        bounds = {"resolution": (8, 4096), "max_stride": (1, 64), "seed": (0, 2**31 - 1)}
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and least <= value <= most):
                raise NasError(f"{name} must be a whole number from {least} to {most}, but got {value!r}")


def finish_network(
    source: FoundNetwork,
    data: str,
    out: Path,
    plan: FinishPlan,
    *,
    processes: Processes | None = None,
    on_epoch: Callable[[FinalTraining], None] = lambda _: None,
    progress: bool = False,
) -> Finished:
    """Train a network to the end on the images of `data`, test it and write it into `out`; called again, it resumes.

    `progress` shows downloads. Raises NasError for weights, classes or a folder that do not fit, before training.
    """
    check_folder(out)
    resolution = source.architecture.resolution if plan.resolution is None else plan.resolution
    images = load_training_data(data, resolution, progress=progress)
    check_classes(source, images.dataset, new_classes=plan.new_classes)
    architecture = finished_architecture(
        source.architecture, len(images.dataset.classes), resolution=resolution, max_stride=plan.max_stride
    )
    network, start = _start(source, architecture, plan)
    return finish(
        network,
        architecture,
        images,
        plan.recipe,
        out,
        seed=plan.seed,
        tuning=plan.tuning,
        teacher=plan.teacher(images.dataset) if plan.teacher else None,
        processes=processes,
        record={"network": source.name, "recipe_name": plan.recipe_name, "start": start},
        on_epoch=on_epoch,
    )


def _start(source: FoundNetwork, architecture: Architecture, plan: FinishPlan) -> tuple[nn.Sequential, str]:
    """The network to train, with its first weights, and a sentence about them."""
    which = plan.weights or ("own" if source.fully_trained else "fresh")
    if which == "own" and source.weights is None:
        raise NasError(f"--weights own: there are no weights of {source.name}. Choices: fresh, or a file.")
    weights = source.weights if which == "own" else None
    network = start_network(architecture, weights, new_classifier=plan.new_classes, seed=plan.seed)
    if which in ("own", "fresh"):
        return network, f"trained on {source.trained_on}" if weights is not None else "fresh weights"
    if not Path(which).is_file():
        raise NasError(f"--weights must be fresh, own, or a file of weights, but got {which!r}")
    return network, str(load_pretrained(network, architecture, which))


@dataclass(frozen=True, eq=False)
class ExportSource:
    """A network that is ready to be exported: as it is deployed, with the images that its files are compared on.

    `weights` says which of the weights are trained; `of` names the images.
    """

    found: FoundNetwork
    network: nn.Module
    weights: str
    labels: tuple[str, ...] | None
    preprocessing: Preprocessing | None
    batches: Sequence[Tensor]
    of: str

    def export(self, format_name: str, out: Path, *, name: str | None = None) -> tuple[Path, Manifest]:
        """Write the file of one format into `out`, checked; returns its path and its manifest.

        Raises NasError where the format cannot express the network, or the file does not compute what torch does.
        """
        manifest = replace(
            self.found.float_manifest(format_name, self.weights),
            name=name or self.found.name,
            labels=self.labels,
            preprocessing=self.preprocessing,
        )
        return export_file(self.network, manifest, out, batches=self.batches, of=self.of)


def export_source(found: FoundNetwork, data: str | None = None, *, progress: bool = False) -> ExportSource:
    """`found` as it is deployed; its files are compared on images of `data`, or on random ones where there are none.

    The images give labels and preprocessing, too, where the network has none recorded.
    """
    network, weights = found.deployed()
    if data is None:
        return ExportSource(found, network, weights, found.labels, found.preprocessing, [], "random images")
    images = load_labelled_images(data, found.architecture, preprocessing=found.preprocessing, progress=progress)
    fits = len(images.labels) == found.architecture.classes
    labels = found.labels or (images.labels if fits else None)
    pixels = images.some(_IMAGES)
    batches = [pixels[start : start + _BATCH] for start in range(0, len(pixels), _BATCH)]
    return ExportSource(found, network, weights, labels, images.preprocessing, batches, f"validation images of {data}")
