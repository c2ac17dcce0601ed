"""A trained network, as a value and as a folder on disk.

The folder has two files: network.json (architecture, labels, preprocessing, how it was trained, the hash of the weights
and its own) and weights.safetensors. Reading them runs no code.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from nas.accuracy.data.dataset import Dataset
from nas.deploy.sealed_json import check_seal, sealed
from nas.errors import NasError, RunFailedError
from nas.files import atomic_file, move_into_place, shown
from nas.networks.architecture import Architecture
from nas.networks.build import build_network

FORMAT = 1
NETWORK_FILE = "network.json"
WEIGHTS_FILE = "weights.safetensors"

_WHITE = 255
_CHANNELS = 3
_KEYS = frozenset({"format", "architecture", "labels", "preprocessing", "weights", "record"})


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image before it goes into the network, as nas/accuracy does it.

    The centre square is cropped and resized to `resolution` pixels (bilinear), upright as its EXIF data says. The RGB
    values, scaled to 0 to 1, get `mean` subtracted and are divided by `std`, channel by channel.
    """

    resolution: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if type(self.resolution) is not int or self.resolution < 1:
            raise NasError(f"resolution must be a whole number, at least 1, but got {self.resolution!r}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            numbers = len(values) == _CHANNELS and all(math.isfinite(value) for value in values)
            if not numbers or (name == "std" and min(values) <= 0):
                must = "three finite numbers" + (" above 0" if name == "std" else "")
                raise NasError(f"{name} of a preprocessing must be {must}, but got {list(values)}")

    @classmethod
    def of(cls, dataset: Dataset, resolution: int) -> Preprocessing:
        """The preprocessing of a network trained on `dataset` at `resolution` pixels."""
        mean, std = ((moments.double() / _WHITE).tolist() for moments in (dataset.mean, dataset.std))
        return cls(resolution, tuple(mean), tuple(std))

    def applied(self, images: Tensor) -> Tensor:
        """Normalise uint8 (n, 3, h, w) to float32 (n, 3, h, w); nothing is resized."""
        mean = torch.tensor(self.mean).view(1, _CHANNELS, 1, 1)
        std = torch.tensor(self.std).view(1, _CHANNELS, 1, 1)
        return ((images.float() / _WHITE - mean) / std).contiguous()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"resolution": self.resolution, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_json`. Raises NasError where the data is not a preprocessing."""
        try:
            return cls(data["resolution"], tuple(data["mean"]), tuple(data["std"]))
        except (KeyError, TypeError) as error:
            raise NasError(
                f"not a preprocessing: it must have the keys resolution, mean and std, but is {data!r}"
            ) from error


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network with its weights, the name of each class in the order of the logits, and its preprocessing.

    `weights` is the state_dict of `build_network(architecture)`; `architecture` may have branches, which are then in
    the weights. `record` says how it was trained, as free JSON.
    """

    architecture: Architecture
    weights: Mapping[str, Tensor]
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    record: Mapping[str, Any]

    def __post_init__(self) -> None:
        classes, resolution = self.architecture.classes, self.architecture.resolution
        if len(self.labels) != classes:
            raise NasError(f"a network of {classes} classes must have as many labels, but has {len(self.labels)}")
        if self.preprocessing.resolution != resolution:
            raise NasError(
                f"the preprocessing must give the network's {resolution} pixels, but its resolution is "
                f"{self.preprocessing.resolution}"
            )

    def build(self) -> nn.Sequential:
        """The network with its weights, in evaluation mode, on the CPU.

        Raises NasError where the weights are of another network.
        """
        network = build_network(self.architecture)
        try:
            network.load_state_dict(dict(self.weights))
        except RuntimeError as error:
            detail = " ".join(str(error).split())[:300]
            raise NasError(f"the weights are not of the network {self.architecture.fingerprint}: {detail}") from error
        return network.eval()


def save_trained(folder: Path, network: TrainedNetwork) -> None:
    """Write `network` into `folder`, which is made where it is missing: both files, or neither.

    Other files there stay, and a network that lay there is replaced at once. Raises RunFailedError where it cannot be
    written.
    """
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.weights.items()}
    weights = save(tensors)
    facts = sealed(_to_json(network, hashlib.sha256(weights).hexdigest()))
    text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
    parts = {name: folder / f"{name}.part" for name in (WEIGHTS_FILE, NETWORK_FILE)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in ((WEIGHTS_FILE, weights), (NETWORK_FILE, text.encode())):
            with atomic_file(parts[name]) as file:
                file.write(content)
        # From here on the new network counts: who is killed before the last line leaves weights that are found.
        move_into_place(parts[NETWORK_FILE], folder / NETWORK_FILE)
        move_into_place(parts[WEIGHTS_FILE], folder / WEIGHTS_FILE)
    except OSError as error:
        raise RunFailedError(f"cannot write the network into {shown(folder)}: {error.strerror}") from error


def is_trained(folder: Path) -> bool:
    """Whether `folder` holds, by its files' names, a network that `save_trained` wrote."""
    return (folder / NETWORK_FILE).is_file()


def load_trained(folder: Path) -> TrainedNetwork:
    """The network in `folder`.

    Raises NasError for a folder without one, for damaged files, and for weights that are of another network.
    """
    path = folder / NETWORK_FILE
    data = _read_json(path)
    try:
        check_seal(data)
        weights = _read_weights(folder, data["weights"]["sha256"])
        network = TrainedNetwork(
            architecture=Architecture.from_json(data["architecture"]),
            weights=weights,
            labels=tuple(map(str, data["labels"])),
            preprocessing=Preprocessing.from_json(data["preprocessing"]),
            record=dict(data["record"]),
        )
        _check_shapes(network)
    except (KeyError, TypeError, ValueError) as error:
        raise NasError(f"{shown(path)} does not describe a trained network ({error!r})") from error
    except NasError as error:
        raise NasError(f"{error} ({shown(path)})") from error
    return network


def _to_json(network: TrainedNetwork, sha256: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "architecture": network.architecture.to_json(),
        "labels": list(network.labels),
        "preprocessing": network.preprocessing.to_json(),
        "weights": {"file": WEIGHTS_FILE, "sha256": sha256},
        "record": dict(network.record),
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NasError(
            f"{shown(path.parent)} must hold a trained network ({NETWORK_FILE} and {WEIGHTS_FILE}), but has no "
            f"{NETWORK_FILE}. One is made by python -m nas.deploy finish."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise NasError(f"{shown(path)} cannot be read, or is damaged: {error}") from error
    if not isinstance(data, dict) or not data.keys() >= _KEYS:
        raise NasError(f"{shown(path)} does not describe a trained network: it must have {', '.join(sorted(_KEYS))}")
    if data["format"] != FORMAT:
        raise NasError(f"{shown(path)} must be of format {FORMAT}, but is of {data['format']!r}: train it again")
    return data


def _read_weights(folder: Path, sha256: str) -> dict[str, Tensor]:
    # A save that was killed between its two last steps leaves the second of these.
    for path in (folder / WEIGHTS_FILE, folder / f"{WEIGHTS_FILE}.part"):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise NasError(f"cannot read {shown(path)}: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() == sha256:
            return _tensors(content, path)
    raise NasError(
        f"{shown(folder / WEIGHTS_FILE)} is missing or damaged: it is not the file whose hash {NETWORK_FILE} holds. "
        "Restore it, or train the network again"
    )


def _tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    try:
        return load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise NasError(f"{shown(path)} is not a safetensors file: {error}") from error


def _check_shapes(network: TrainedNetwork) -> None:
    """Raise NasError where the weights are not those of the architecture; the check takes no memory for weights."""
    with torch.device("meta"):
        tensors = build_network(network.architecture).state_dict()
    odd = sorted(
        name
        for name in tensors.keys() | network.weights.keys()
        if name not in tensors or name not in network.weights or tensors[name].shape != network.weights[name].shape
    )
    if odd:
        raise NasError(
            f"the weights must be of the network {network.architecture.fingerprint}, but {len(odd)} tensors are "
            f"missing, left over or of another shape, such as {', '.join(odd[:3])}"
        )
