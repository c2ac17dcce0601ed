"""Train a network to the end, test it, and write everything into a folder.

The folder holds the best weights as a trained network (network.json, weights.safetensors), the last ones in last/, the
checkpoint that the same command resumes from, history.csv, history.json and curves.png. test.json, confusion.csv and
confusion.png are of test images that neither the search nor this training saw.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nas.accuracy.data.dataset import Dataset, Split
from nas.accuracy.data.load import load_dataset, load_test_split
from nas.accuracy.full_training.distillation import Teacher
from nas.accuracy.full_training.fine_tuning import Tuning
from nas.accuracy.full_training.recipes import Recipe
from nas.accuracy.full_training.state import FinalEpoch, FinalTraining
from nas.accuracy.full_training.train import train_to_the_end
from nas.accuracy.training.processes import Processes
from nas.accuracy.training.scores import Scores, score
from nas.deploy.find import FoundNetwork
from nas.deploy.trained import Preprocessing, TrainedNetwork, is_trained, save_trained
from nas.deploy.weights import load_fitting_weights
from nas.errors import NasError
from nas.files import check_writable, shown, write_files
from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.networks.proxy import ProxySettings, proxy_architecture

CHECKPOINT = "checkpoint.pt"
LAST = "last"


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Images to train, choose and test a network on; `test` is None where the source has no test images."""

    source: str
    dataset: Dataset
    test: Split | None


@dataclass(frozen=True, eq=False)
class Finished:
    """A network trained to the end: the best weights, the history, and the scores on the test images.

    Without test images `scores` are those on the validation images, by which the best weights were chosen.
    """

    network: TrainedNetwork
    history: tuple[FinalEpoch, ...]
    best_epoch: int
    scores: Scores
    tested: bool


def load_training_data(source: str, resolution: int, *, progress: bool = False) -> TrainingData:
    """The images of `source` at `resolution` pixels, with its test images, so that missing ones are noticed at once."""
    dataset = load_dataset(source, image_size=resolution, progress=progress).at(resolution)
    kind, _, place = source.partition(":")
    if kind == "folder" and not (Path(place) / "test").is_dir():
        return TrainingData(source, dataset, None)
    return TrainingData(
        source, dataset, load_test_split(source, image_size=resolution, progress=progress).at(resolution)
    )


def finished_architecture(
    architecture: Architecture, classes: int, *, resolution: int | None = None, max_stride: int | None = None
) -> Architecture:
    """`architecture` for `classes` classes, and for images of another `resolution` where that is given.

    With `max_stride` its earliest strides become 1, as in a search for small images (`nas.networks.proxy`), and they
    stay 1 in the network that is deployed.
    """
    blocks = (*architecture.blocks[:-1], replace(architecture.blocks[-1], out_channels=classes))
    adapted = Architecture(resolution or architecture.resolution, classes, blocks)
    if max_stride is None:
        return adapted
    settings = ProxySettings(resolution=adapted.resolution, max_stride=max_stride)
    return proxy_architecture(adapted, settings, largest_resolution=adapted.resolution, classes=classes)


def check_classes(source: FoundNetwork, dataset: Dataset, *, new_classes: bool) -> None:
    """Raise NasError where `source` was trained for other classes, unless its classifier is to be replaced."""
    if source.labels is None or source.labels == dataset.classes or new_classes:
        return
    missing = sorted(set(source.labels) - set(dataset.classes))
    extra = sorted(set(dataset.classes) - set(source.labels))
    detail = f"without {_few(missing)}" * bool(missing) + " and " * bool(missing and extra)
    detail += f"with {_few(extra)} besides" * bool(extra) or "in another order"
    raise NasError(
        f"{dataset.name} must have the {len(source.labels)} classes that {source.name} was trained for, but has "
        f"{len(dataset.classes)}, {detail}. Give --new-classes to train a new classifier for them."
    )


def start_network(
    architecture: Architecture, weights: Mapping[str, Tensor] | None, *, new_classifier: bool, seed: int
) -> nn.Sequential:
    """The network with `weights`, or with fresh ones from `seed` where there are none.

    The classifier is fresh where `weights` are for another number of classes, and with `new_classifier`. Raises
    NasError where anything else does not fit.
    """
    network = build_network(architecture, seed=seed)
    if weights is not None:
        load_fitting_weights(network, architecture, weights, new_classifier=new_classifier)
    return network


def finish(
    network: nn.Sequential,
    architecture: Architecture,
    images: TrainingData,
    recipe: Recipe,
    out: Path,
    *,
    seed: int = 0,
    tuning: Tuning | None = None,
    teacher: Teacher | None = None,
    processes: Processes | None = None,
    record: Mapping[str, Any] | None = None,
    on_epoch: Callable[[FinalTraining], None] = lambda _: None,
) -> Finished:
    """Train `network` to the end and write everything into `out`; called again, it resumes from the checkpoint there.

    `record` is kept with the network. The first of `processes` writes the files. Raises NasError for a folder that
    holds anything else, and as `train_to_the_end` does; nothing is then overwritten.
    """
    processes = processes or Processes()
    check_folder(out)

    def after_epoch(state: FinalTraining) -> None:
        write_files(out, {"history.csv": _history_csv(state.history)})
        on_epoch(state)

    state = train_to_the_end(
        network,
        images.dataset,
        recipe,
        seed=seed,
        tuning=tuning,
        teacher=teacher,
        checkpoint=out / CHECKPOINT,
        processes=processes,
        on_epoch=after_epoch,
    )
    last = state.last
    state.scored.load_state_dict(state.best)
    scores = score(state.scored, images.test or images.dataset.val, images.dataset, processes=processes)
    facts = {**(record or {}), **_facts(state, images, recipe, seed, tuning, teacher, scores)}
    best = _trained(architecture, state.best, images.dataset, facts)
    finished = Finished(best, tuple(state.history), state.best_epoch, scores, images.test is not None)
    if processes.first:
        save_trained(out / LAST, _trained(architecture, last, images.dataset, {**facts, "weights": "last"}))
        _save(finished, out)
    processes.wait()
    return finished


def check_folder(out: Path, checkpoint: str = CHECKPOINT) -> None:
    """Raise NasError unless `out` is new, empty, or has the file `checkpoint` to resume from; RunFailedError unless it
    can be written into.
    """
    check_writable(out)
    if out.is_dir() and not (out / checkpoint).exists() and any(out.iterdir()):
        what = "a trained network without its checkpoint" if is_trained(out) else "something else"
        if checkpoint != CHECKPOINT and (out / CHECKPOINT).exists():
            what = "a training of finish"
        raise NasError(f"{shown(out)} must be new or hold a training to go on with, but holds {what}")


def _trained(
    architecture: Architecture, weights: Mapping[str, Tensor], dataset: Dataset, record: Mapping[str, Any]
) -> TrainedNetwork:
    preprocessing = Preprocessing.of(dataset, architecture.resolution)
    return TrainedNetwork(architecture, weights, dataset.classes, preprocessing, record)


def _facts(
    state: FinalTraining,
    images: TrainingData,
    recipe: Recipe,
    seed: int,
    tuning: Tuning | None,
    teacher: Teacher | None,
    scores: Scores,
) -> dict[str, Any]:
    """The record of how the network was trained, as JSON."""
    return {
        "trained_on": f"{images.dataset.name} at {images.dataset.resolution} pixels for {recipe.epochs} epochs",
        "data": images.source,
        "weights": "best",
        "recipe": recipe.model_dump(mode="json"),
        "seed": seed,
        "tuning": asdict(tuning or Tuning()),
        "teacher": teacher and {"name": teacher.name, "temperature": teacher.temperature, "alpha": teacher.alpha},
        "epochs": len(state.history),
        "best_epoch": state.best_epoch,
        "val": {"top1": state.history[state.best_epoch - 1].top1, "images": len(images.dataset.val)},
        "test": None if images.test is None else _scores_json(scores),
    }


def _scores_json(scores: Scores) -> dict[str, Any]:
    return {"top1": scores.top1, "top5": scores.top5, "loss": scores.loss, "images": scores.images}


def _save(finished: Finished, out: Path) -> None:
    """Write the trained network, its history, scores and pictures."""
    # Imported here: matplotlib takes a second to import, and all but one process of a training never draw.
    from nas.deploy.finish.training_pictures import save_confusion, save_curves

    labels = finished.network.labels
    split = "test" if finished.tested else "validation"
    right = finished.scores.confusion.diagonal() / finished.scores.confusion.sum(1).clamp(min=1)
    by_class = {label: round(100 * float(share), 2) for label, share in zip(labels, right, strict=True)}
    test = {"split": split, **_scores_json(finished.scores), "top1_by_class": by_class}
    texts = {
        "history.csv": _history_csv(finished.history),
        "history.json": _json([{"epoch": n, **asdict(e)} for n, e in enumerate(finished.history, start=1)]),
        "test.json": _json(test),
        "confusion.csv": _confusion_csv(labels, finished.scores.confusion),
    }
    write_files(out, texts)
    save_curves(out / "curves.png", out.resolve().name, finished.history, finished.best_epoch)
    title = f"{finished.scores.images:,} {split} images: top-1 {finished.scores.top1:.2f} %"
    save_confusion(out / "confusion.png", title, labels, finished.scores.confusion)
    save_trained(out, finished.network)


def _history_csv(history: list[FinalEpoch] | tuple[FinalEpoch, ...]) -> str:
    names = [field.name for field in fields(FinalEpoch)]
    rows = [[str(n), *(f"{getattr(epoch, name):.6g}" for name in names)] for n, epoch in enumerate(history, start=1)]
    return _csv([["epoch", *names], *rows])


def _confusion_csv(labels: tuple[str, ...], confusion: Tensor) -> str:
    rows = [[label, *map(str, row)] for label, row in zip(labels, confusion.tolist(), strict=True)]
    return _csv([["true \\ predicted", *labels], *rows])


def _csv(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
