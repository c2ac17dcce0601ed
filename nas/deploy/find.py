"""Find the network that a command's NETWORK means.

It is a trained network's folder, a run's directory (and one of its networks), an architecture's .json file, or the name
of a published network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from nas.deploy.export.export import deployed_network
from nas.deploy.export.manifest import Manifest
from nas.deploy.help import NETWORK_HELP
from nas.deploy.trained import Preprocessing, load_trained
from nas.errors import NasError
from nas.files import shown
from nas.networks.architecture import Architecture
from nas.networks.deployed import deployed
from nas.networks.references import REFERENCES
from nas.networks.references import find_network as find_architecture

if TYPE_CHECKING:
    from nas.search.results.result import SearchResult
    from nas.search.trial import Trial

_TRIAL = re.compile(r"(?:trial_)?(\d+)")
_BUDGET = re.compile(r"(?:within_)?(\d+(?:\.\d+)?)ms")


@dataclass(frozen=True, eq=False)
class FoundNetwork:
    """A network with its weights and what was recorded of it; `labels` and `preprocessing` are None where nothing was.

    `weights` is the state_dict of the network, or of the proxy that a search trained in its place; None where there are
    no trained weights. `trained_on` says in words what they were trained on.
    """

    name: str
    architecture: Architecture
    weights: Mapping[str, Tensor] | None = None
    labels: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    trained_on: str = ""
    fully_trained: bool = False

    def deployed(self) -> tuple[nn.Module, str]:
        """The network as it is deployed, in evaluation mode, and a sentence on which of its weights are trained.

        Raises NasError where the weights are of another network.
        """
        network, sentence = deployed_network(self.architecture, self.weights, trained_on=self.trained_on)
        return network.eval(), f"trained on {self.trained_on}" if self.fully_trained else sentence

    def float_manifest(self, format_name: str, weights: str) -> Manifest:
        """The manifest of this network, as it is deployed, in float32; `weights` is the sentence that `deployed` gives.

        What writing the file tells (its hashes, the versions, the check) is not yet in it.
        """
        return Manifest(
            name=self.name,
            format=format_name,
            precision="float32",
            any_batch=True,
            architecture=deployed(self.architecture),
            weights=weights,
            labels=self.labels,
            preprocessing=self.preprocessing,
            versions={},
            check={},
        )


def find_network(text: str, *, pick: str | None = None) -> FoundNetwork:
    """The network that `text` means; of a run's directory the one that `pick` names (the knee by default).

    Raises NasError where there is none, and where `pick` is given for anything but a run.
    """
    from nas.search.run.directory import RunDirectory

    folder = Path(text)
    if folder.is_dir() and RunDirectory(folder).exists():
        return _picked(folder, pick or "knee")
    if pick is not None:
        raise NasError(f"--pick chooses a network of a run, but {text} is not the directory of one")
    if folder.is_dir():
        return _trained(folder)
    if folder.suffix != ".json" and text not in REFERENCES and (folder.exists() or folder.name != text):
        what = "is a file of another kind" if folder.exists() else "is not there"
        raise NasError(f"a network must be {NETWORK_HELP}, but {text} {what}")
    return FoundNetwork(folder.stem, find_architecture(text))


def _trained(folder: Path) -> FoundNetwork:
    """The trained network in `folder`."""
    network = load_trained(folder)
    trained_on = str(network.record.get("trained_on") or network.record.get("data") or "images that are not recorded")
    return FoundNetwork(
        name=folder.resolve().name,
        architecture=network.architecture,
        weights=network.weights,
        labels=network.labels,
        preprocessing=network.preprocessing,
        trained_on=trained_on,
        fully_trained=True,
    )


def _picked(folder: Path, pick: str) -> FoundNetwork:
    """The network of the run in `folder` that `pick` names, with the weights that the run kept of it."""
    from nas.search.run.directory import RunDirectory
    from nas.search.run.kept import load_weights
    from nas.search.run.load import load_result

    result = load_result(folder)
    if not result.completed:
        raise NasError(f"{shown(folder)} has no trained network to pick yet: let the search go on")
    name, trial = _pick(result, pick)
    score = trial.network.score
    return FoundNetwork(
        name=f"{folder.resolve().name}-{name}",
        architecture=trial.network.architecture,
        weights=load_weights(RunDirectory(folder), trial.number),
        trained_on=f"{score.dataset} at {score.resolution} pixels for {_epochs(score.epochs)}" if score else "",
    )


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' * (count != 1)}"


def _pick(result: SearchResult, text: str) -> tuple[str, Trial]:
    """The name and the trial that `text` means. For anything else raises NasError, which lists the picks."""
    from nas.search.results.portfolio import picks_of

    picks = {pick.slug: pick.trial for pick in picks_of(result)}
    if text in picks:
        return text, picks[text]
    if budget := _BUDGET.fullmatch(text):
        best = result.best_within("latency_ms", float(budget[1]))
        if best is None:
            fastest = min(trial.network.latency.latency_ms for trial in result.completed)
            raise NasError(f"no network of this run is within {text}: the fastest takes {fastest:.4g} ms")
        return f"within_{budget[1]}ms", best
    if number := _TRIAL.fullmatch(text):
        for trial in result.completed:
            if trial.number == int(number[1]):
                return f"trial_{trial.number}", trial
    raise NasError(
        f"--pick must be {', '.join(picks)}, a latency such as 30ms, or the number of a trial that was trained, "
        f"but got {text!r}"
    )
