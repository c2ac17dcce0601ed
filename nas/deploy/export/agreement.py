"""Compare the logits of an exported file with torch's, on the user's images or random ones.

Every result states how far apart they are, and how far apart they may be.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nas.errors import RunFailedError

# The largest difference from torch that is accepted, relative to the largest logit. Over 14 members of mbv3, fresh ones
# and ones with spread-out normalisation, the worst difference was 1.9e-5, while the logits of different images differed
# by 3.4e-2 to 1.1e-1: the tolerance lies well apart from both.
TOLERANCE = 5e-4
# A network that was trained for a few steps only can amplify rounding beyond that. So the tolerance is at least so many
# times the error of float32 in torch, against float64, on the same images.
ROUNDING_TIMES = 10
# The tolerance is at most this: with float32 logits that are off by a hundredth, nothing can be compared.
MOST_TOLERANCE = 1e-2

# Float64 takes several times as long as float32, so its error is estimated on a few images.
_EXACT_IMAGES = 8

Logits = NDArray[np.float32]
Runner = Callable[[NDArray[np.float32]], Logits]


@dataclass(frozen=True)
class LogitsAgreement:
    """How far a file's logits are from torch's on some images, which `of` describes.

    `difference` is the largest absolute difference; `relative_difference` is `difference` / largest absolute logit, and
    `tolerance` was its limit. `top1_agreement` is the share, 0 to 1, of the images that both put in the same class.
    """

    images: int
    of: str
    difference: float
    relative_difference: float
    tolerance: float
    top1_agreement: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LogitsAgreement:
        """The inverse of `to_json`."""
        return cls(**data)


@torch.no_grad()
def check_agreement(
    run: Runner, network: nn.Module, batches: Sequence[Tensor], *, name: str, of: str = "random images"
) -> LogitsAgreement:
    """Compare the logits of `run` for `batches`, each float32 (n, 3, h, w), with those of `network` in evaluation mode.

    Raises RunFailedError, calling the file `name`, where it does not run, or differs by more than the tolerance.
    """
    ours, theirs = [], []
    for images in batches:
        ours.append(network(images).numpy())
        theirs.append(run_checked(run, images.numpy(), ours[-1].shape, name))
    first = torch.cat(list(batches))[:_EXACT_IMAGES]
    exact = copy.deepcopy(network).double()(first.double()).numpy()
    return logits_agreement(np.concatenate(ours), np.concatenate(theirs), exact, name=name, of=of)


def run_checked(run: Runner, images: NDArray[np.float32], shape: tuple[int, ...], name: str) -> Logits:
    """The logits of `run` for `images`. Raises RunFailedError where it fails, and for logits of another shape."""
    try:
        logits = run(images)
    # The runtimes' exceptions have no other common base.
    except Exception as error:
        raise RunFailedError(f"{name} does not run on a batch of {len(images)}: {error}") from error
    if logits.shape != shape:
        raise RunFailedError(f"the logits of {name} must have shape {shape}, but have {logits.shape}")
    return logits


def logits_agreement(
    ours: Logits, theirs: Logits, exact: NDArray[np.float64], *, name: str, of: str
) -> LogitsAgreement:
    """The agreement of two arrays (images, classes). Raises RunFailedError where they differ too much.

    `exact` are torch's logits of the first few images in float64: their distance from `ours` is float32's error.
    """
    difference = float(np.abs(ours - theirs).max())
    scale = float(np.abs(ours).max())
    relative = difference / scale if scale else difference
    rounding = float(np.abs(ours[: len(exact)] - exact).max()) / scale if scale else 0.0
    tolerance = min(MOST_TOLERANCE, max(TOLERANCE, ROUNDING_TIMES * rounding))
    # Written this way round, NaN is refused too.
    if not relative <= tolerance:
        raise RunFailedError(
            f"{name} must give torch's logits within {tolerance:.3g} of the largest, but "
            f"differs by {relative:.3g} ({difference:.3g} of {scale:.3g}): do not deploy it. "
            "The network's weights may have diverged, or the exporter misread an operator."
        )
    return LogitsAgreement(
        images=len(ours),
        of=of,
        difference=difference,
        relative_difference=relative,
        tolerance=tolerance,
        top1_agreement=float((ours.argmax(1) == theirs.argmax(1)).mean()),
    )


def random_images(count: int, resolution: int, generator: torch.Generator) -> Tensor:
    """Soft blobs with noise over them, float32 (count, 3, h, w), of about mean 0 and deviation 1.

    As in photographs, neighbouring pixels are alike, and no two images are.
    """
    blobs = torch.randn(count, 3, 7, 7, generator=generator)
    noise = torch.randn(count, 3, resolution, resolution, generator=generator)
    return functional.interpolate(blobs, size=(resolution, resolution), mode="bilinear") + 0.3 * noise
