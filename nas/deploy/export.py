"""How does a network become a file that a device can run, and is that file the same network?"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nas.errors import NasError, RunFailedError
from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.networks.deployed import has_branches
from nas.networks.onnx_graph import INPUT_NAME, OPSET, OUTPUT_NAME, onnx_bytes
from nas.networks.reparameterise import fused

# The largest difference from torch that is accepted, relative to the largest logit. Over 14 members of mbv3, fresh ones
# and ones with spread-out normalisation, the worst difference was 1.9e-5, while the logits of different images differed
# by 3.4e-2 to 1.1e-1: this lies well apart from both.
TOLERANCE = 5e-4
# A network that was trained for a few steps only can amplify rounding beyond that. So as many times the error that
# float32 itself makes on the same images, in torch, against float64, is accepted too.
ROUNDING_TIMES = 10
# However large that error: a network whose float32 logits are off by a hundredth is no use to compare with.
MOST_TOLERANCE = 1e-2

_BATCH_SIZES = (1, 2, 5)
_SEED = 0


@dataclass(frozen=True)
class OnnxCheck:
    """How far the file's logits in ONNX Runtime (CPU) are from torch's, over random images in several batch sizes.

    `difference` is the largest absolute one and `relative_difference` that over the largest absolute logit, which
    `tolerance` was the limit of. `top1_agreement` is the part, 0 to 1, of the images that both put in the same class.
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
    """The network that will be deployed, and a sentence that says which of its weights are trained.

    `weights` is the state_dict of the proxy that was trained in its place. Strides have no weights, so all of it fits
    but, for another number of classes, the classifier (the last block); what does not fit is fresh from `seed`.
    Branches have become one convolution each. Raises NasError when anything else does not fit: then the weights are of
    another network.
    """
    network = build_network(architecture, seed=seed)
    sentence = _load(network, architecture, weights, trained_on)
    return (fused(network) if has_branches(architecture) else network), sentence


def _load(network: nn.Module, architecture: Architecture, weights: Mapping[str, Tensor] | None, trained_on: str) -> str:
    """Put what fits of `weights` into `network`; returns a sentence that says which of its weights are trained."""
    if weights is None:
        return "no trained weights were kept: all weights are fresh from initialisation"
    wanted = network.state_dict()
    fitting = {name: weight for name, weight in weights.items() if _fits(weight, wanted.get(name))}
    classifier = f"{len(architecture.blocks) - 1}."
    may_differ = {name for name in wanted.keys() & weights.keys() if name.startswith(classifier)}
    odd = sorted((wanted.keys() | weights.keys()) - fitting.keys() - may_differ)
    if odd:
        raise NasError(
            f"the weights must be of the network {architecture.fingerprint} but for its classifier, "
            f"but {len(odd)} tensors differ, such as {', '.join(odd[:3])}. Give the weights of this network's proxy."
        )
    network.load_state_dict(fitting, strict=False)
    fresh = [name for name in wanted if name not in fitting]
    if not fresh:
        return f"all weights short-trained on {trained_on}"
    classes = next(len(weight) for name, weight in weights.items() if name.startswith(classifier))
    return (
        f"features short-trained on {trained_on}; "
        f"the classifier is untrained: {architecture.classes} classes instead of {classes}"
    )


def export_onnx(network: nn.Module, architecture: Architecture, path: Path) -> OnnxCheck:
    """Write `network`, in evaluation mode, as an ONNX file for any batch size, and check it in ONNX Runtime.

    In: `image` (batch, 3, resolution, resolution); out: `logits` (batch, classes). The network keeps its own mode.
    Raises RunFailedError, and leaves `path` as it was, when the network cannot be exported or loaded, and when the
    file's logits are not torch's within the tolerance above.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    was_training = network.training
    network.eval()
    try:
        _write(network, architecture.resolution, part)
        check = check_onnx(part, network, architecture)
        part.replace(path)
    finally:
        network.train(was_training)
        part.unlink(missing_ok=True)
    return check


@torch.no_grad()
def check_onnx(path: Path, network: nn.Module, architecture: Architecture) -> OnnxCheck:
    """Compare the ONNX file at `path` with `network`. Raises RunFailedError where it does not load or they differ."""
    session = _session(path)
    exact_network = copy.deepcopy(network).double()
    ours, theirs, exact = [], [], []
    generator = torch.Generator().manual_seed(_SEED)
    for size in _BATCH_SIZES:
        images = _images(size, architecture.resolution, generator)
        ours.append(network(images).numpy())
        exact.append(exact_network(images.double()).numpy())
        theirs.append(_run(session, images.numpy(), (size, architecture.classes), path))
    return _compared(np.concatenate(ours), np.concatenate(theirs), np.concatenate(exact), path)


def _fits(weight: Tensor, wanted: Tensor | None) -> bool:
    return wanted is not None and weight.shape == wanted.shape


def _write(network: nn.Module, resolution: int, path: Path) -> None:
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    example = torch.zeros(1, 3, resolution, resolution, device=device)
    path.write_bytes(onnx_bytes(network, example, name=_file_name(path), any_batch_size=True))


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    model = path.read_bytes()
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    # ONNX Runtime's exceptions have no other common base.
    except Exception as error:
        raise RunFailedError(f"ONNX Runtime cannot load {_file_name(path)}: {error}") from error


def _run(
    session: onnxruntime.InferenceSession, images: NDArray[np.float32], shape: tuple[int, int], path: Path
) -> NDArray[np.float32]:
    try:
        logits: NDArray[np.float32] = session.run([OUTPUT_NAME], {INPUT_NAME: images})[0]
    # ONNX Runtime's exceptions have no other common base.
    except Exception as error:
        raise RunFailedError(f"{_file_name(path)} does not run on a batch of {shape[0]}: {error}") from error
    if logits.shape != shape:
        raise RunFailedError(f"the logits of {_file_name(path)} must have shape {shape}, but have {logits.shape}")
    return logits


def _file_name(path: Path) -> str:
    """What the file will be called when it is whole."""
    return path.name.removesuffix(".part")


def _images(count: int, resolution: int, generator: torch.Generator) -> Tensor:
    """Soft blobs with noise over them: as in photographs, neighbouring pixels are alike, and no two images are."""
    blobs = torch.randn(count, 3, 7, 7, generator=generator)
    noise = torch.randn(count, 3, resolution, resolution, generator=generator)
    return functional.interpolate(blobs, size=(resolution, resolution), mode="bilinear") + 0.3 * noise


def _compared(
    ours: NDArray[np.float32], theirs: NDArray[np.float32], exact: NDArray[np.float64], path: Path
) -> OnnxCheck:
    difference = float(np.abs(ours - theirs).max())
    scale = float(np.abs(ours).max())
    relative = difference / scale if scale else difference
    rounding = float(np.abs(ours - exact).max()) / scale if scale else 0.0
    tolerance = min(MOST_TOLERANCE, max(TOLERANCE, ROUNDING_TIMES * rounding))
    # Written this way round, NaN is refused too.
    if not relative <= tolerance:
        raise RunFailedError(
            f"{_file_name(path)} must give torch's logits within {tolerance:.3g} of the largest, but "
            f"differs by {relative:.3g} ({difference:.3g} of {scale:.3g}): do not deploy it. "
            "The network's weights may have diverged, or the exporter misread an operator."
        )
    return OnnxCheck(
        opset=OPSET,
        runtime=f"onnxruntime {onnxruntime.__version__} CPU",
        batch_sizes=_BATCH_SIZES,
        difference=difference,
        relative_difference=relative,
        tolerance=tolerance,
        top1_agreement=float((ours.argmax(1) == theirs.argmax(1)).mean()),
    )
