"""Write a network as a file that a device can run, and check that the file computes what torch does."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.deploy.export.agreement import check_agreement, random_images
from nas.deploy.export.formats import cannot_run, check_installed, format_called, open_file, versions, write_file
from nas.deploy.export.manifest import Manifest, save_with_manifest
from nas.deploy.weights import load_fitting_weights
from nas.errors import RunFailedError
from nas.files import atomic_file
from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.networks.deployed import has_branches
from nas.networks.onnx_graph import INPUT_NAME, OPSET, OUTPUT_NAME, onnx_bytes
from nas.networks.reparameterise import fused

_BATCH_SIZES = (1, 2, 5)
_SEED = 0


@dataclass(frozen=True)
class OnnxCheck:
    """How far the file's logits in ONNX Runtime (CPU) are from torch's, on random images in several batch sizes.

    The figures are those of `LogitsAgreement`.
    """

    opset: int
    runtime: str
    batch_sizes: tuple[int, ...]
    difference: float
    relative_difference: float
    tolerance: float
    top1_agreement: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "batch_sizes": list(self.batch_sizes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OnnxCheck:
        """The inverse of `to_json`."""
        return cls(**{**data, "batch_sizes": tuple(data["batch_sizes"])})


def deployed_network(
    architecture: Architecture,
    weights: Mapping[str, Tensor] | None,
    *,
    seed: int = 0,
    trained_on: str = "small images",
) -> tuple[nn.Module, str]:
    """The network as it is deployed, and a sentence that says which of its weights are trained.

    `weights` is the state_dict of the network, or of the proxy that was trained in its place: strides have no weights,
    so that only a classifier (the last block) for another number of classes does not fit, and is fresh from `seed`.
    Branches are fused into one convolution each. Raises NasError where anything else does not fit.
    """
    network = build_network(architecture, seed=seed)
    sentence = _load(network, architecture, weights, trained_on)
    return (fused(network) if has_branches(architecture) else network), sentence


def _load(network: nn.Module, architecture: Architecture, weights: Mapping[str, Tensor] | None, trained_on: str) -> str:
    """Put what fits of `weights` into `network`; returns a sentence that says which of its weights are trained."""
    if weights is None:
        return "no trained weights were kept: all weights are fresh from initialisation"
    fresh = load_fitting_weights(network, architecture, weights)
    if not fresh:
        return f"all weights short-trained on {trained_on}"
    classes = len(weights[fresh[0]])
    return (
        f"features short-trained on {trained_on}; "
        f"the classifier is untrained: {architecture.classes} classes instead of {classes}"
    )


def export_onnx(network: nn.Module, architecture: Architecture, path: Path) -> OnnxCheck:
    """Write `network`, in evaluation mode, as an ONNX file for any batch size, and check it in ONNX Runtime.

    In: `image` (batch, 3, resolution, resolution); out: `logits` (batch, classes). The network keeps its own mode.
    Raises RunFailedError, and leaves `path` as it was, where the network cannot be exported or loaded, and where the
    file's logits are not torch's within the tolerance of nas/deploy/export/agreement.py.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    was_training = network.training
    network.eval()
    try:
        with atomic_file(path) as file:
            file.write(_onnx_bytes(network, architecture.resolution, path.name))
            file.flush()
            return check_onnx(Path(file.name), network, architecture)
    finally:
        network.train(was_training)


def check_onnx(path: Path, network: nn.Module, architecture: Architecture) -> OnnxCheck:
    """Compare the ONNX file at `path` with `network`. Raises RunFailedError where it does not load or they differ."""
    session = _session(path)

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run([OUTPUT_NAME], {INPUT_NAME: images})[0]
        return logits

    agreement = check_agreement(run, network, _random_batches(architecture.resolution), name=_file_name(path))
    return OnnxCheck(
        opset=OPSET,
        runtime=f"onnxruntime {onnxruntime.__version__} CPU",
        batch_sizes=_BATCH_SIZES,
        difference=agreement.difference,
        relative_difference=agreement.relative_difference,
        tolerance=agreement.tolerance,
        top1_agreement=agreement.top1_agreement,
    )


def export_file(
    network: nn.Module, manifest: Manifest, folder: Path, *, batches: Sequence[Tensor] = (), of: str = "random images"
) -> tuple[Path, Manifest]:
    """Write `network`, in evaluation mode on the CPU, into `folder` as the file that `manifest` describes.

    The file is run in its own runtime, where that runs here, on `batches` of images as the network takes them (random
    ones by default), and its logits must be torch's. The manifest, completed with versions, check and hashes, is
    written beside the file. Raises RunFailedError, and leaves what was there as it was, where the network cannot be
    converted or the logits differ; NasError where the format's packages are missing.
    """
    kind = format_called(manifest.format)
    check_installed([manifest.format])
    target = folder / f"{manifest.name}{kind.SUFFIX}"
    resolution = manifest.architecture.resolution
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{manifest.name}.") as place:
        path = Path(place) / target.name
        write_file(manifest.format, network, torch.zeros(1, 3, resolution, resolution), path)
        check = _checked(path, network, manifest, batches or _random_batches(resolution), of)
        complete = replace(manifest, any_batch=kind.ANY_BATCH, versions=versions(manifest.format), check=check)
        return target, save_with_manifest(Path(place), target, complete)


def _checked(
    path: Path, network: nn.Module, manifest: Manifest, batches: Sequence[Tensor], of: str
) -> Mapping[str, Any]:
    """The agreement of the file at `path` with `network` as JSON, or why it could not be run."""
    why_not = cannot_run(manifest.format)
    if why_not:
        return {"not_run": why_not}
    run = open_file(manifest.format, path)
    return check_agreement(run, network, batches, name=path.name, of=of).to_json()


def _random_batches(resolution: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(_SEED)
    return [random_images(size, resolution, generator) for size in _BATCH_SIZES]


def _onnx_bytes(network: nn.Module, resolution: int, name: str) -> bytes:
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    example = torch.zeros(1, 3, resolution, resolution, device=device)
    return onnx_bytes(network, example, name=name, any_batch_size=True)


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    model = path.read_bytes()
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    # ONNX Runtime's exceptions have no other common base.
    except Exception as error:
        raise RunFailedError(f"ONNX Runtime cannot load {_file_name(path)}: {error}") from error


def _file_name(path: Path) -> str:
    """The name that the file gets once it is whole."""
    return path.name.removesuffix(".part")
