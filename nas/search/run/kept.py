"""What a run keeps besides its trials: weights, references, repeats and its setting."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.accuracy.score import Score
from nas.errors import NasError
from nas.files import read_json, shown, write_json
from nas.search.costing import CostedNetwork
from nas.search.results.result import Setting
from nas.search.run.directory import RunDirectory
from nas.search.trial import Trial

if TYPE_CHECKING:
    from torch import Tensor

_WEIGHTS = "trial's weights"


def save_weights(run: RunDirectory, number: int, weights: Mapping[str, Tensor]) -> None:
    """Keep the weights of a trial's proxy. Raises RunFailedError where they cannot be written."""
    from nas.accuracy.training.sealed_file import write_sealed

    write_sealed(run.checkpoint(number), _WEIGHTS, weights)


def load_weights(run: RunDirectory, number: int) -> Mapping[str, Tensor] | None:
    """The weights of a trial's proxy, or None where they were not kept, cannot be read or are damaged."""
    from torch import Tensor

    from nas.accuracy.training.sealed_file import DamagedFileError, read_sealed

    path = run.checkpoint(number)
    try:
        weights = _unsealed(path) if _is_zip(path) else read_sealed(path, _WEIGHTS)
    except (OSError, DamagedFileError):
        return None
    whole = isinstance(weights, dict) and all(isinstance(weight, Tensor) for weight in weights.values())
    return weights if whole else None


def _is_zip(path: Path) -> bool:
    """Whether it is a file as torch writes it: runs of format 2 kept their weights so."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _unsealed(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        return None


def keep_weights_of(run: RunDirectory, front: tuple[Trial, ...]) -> None:
    """Delete the weights of trials that are not on the front: dozens of networks would fill a disk."""
    kept = {run.checkpoint(trial.number) for trial in front}
    for path in run.checkpoints.glob("trial_*.pt"):
        if path not in kept:
            with suppress(OSError):  # What cannot be deleted takes room, and does no other harm.
                path.unlink()


def save_references(run: RunDirectory, references: list[CostedNetwork]) -> None:
    """Keep the reference networks that have been trained."""
    write_json(run.references, [network.to_json() for network in references])


def load_references(run: RunDirectory) -> list[CostedNetwork]:
    """The reference networks that have been trained so far."""
    if not run.references.exists():
        return []
    found = read_json(run.references)
    with shape_of(run.references):
        return [CostedNetwork.from_json(data) for data in found]


def save_repeats(run: RunDirectory, repeats: Mapping[str, Sequence[Score]]) -> None:
    """Keep the scores of networks that were trained again, by their fingerprints."""
    write_json(run.repeats, {network: [score.to_json() for score in scores] for network, scores in repeats.items()})


def load_repeats(run: RunDirectory) -> dict[str, tuple[Score, ...]]:
    """The scores of networks that were trained again so far."""
    if not run.repeats.exists():
        return {}
    found = read_json(run.repeats)
    with shape_of(run.repeats):
        return {network: tuple(map(Score.from_json, scores)) for network, scores in found.items()}


def save_setting(run: RunDirectory, setting: Setting) -> None:
    """Keep the facts that stand above the results."""
    write_json(run.setting, setting.to_json())


@contextmanager
def shape_of(path: Path) -> Iterator[None]:
    """What turning the contents of `path` into our values raises becomes one line."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, NasError) as error:
        raise NasError(
            f"{shown(path)} must hold what this program wrote, but has another shape "
            f"({type(error).__name__}: {error}). Restore it, or start anew with --run."
        ) from error
