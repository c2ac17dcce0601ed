"""Copy a library's weights into our network, and refuse weights that do not fit it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nas.errors import NasError
from nas.networks.architecture import Architecture
from nas.networks.operators import units
from nas.networks.pretrained import timm, torchvision
from nas.networks.pretrained.files import read_weights, tensors_of
from nas.networks.pretrained.layout import Layout

LAYOUTS = (*torchvision.LAYOUTS, *timm.LAYOUTS)

# The most tensors of a kind that an error names.
_MOST_NAMED = 10
# Names of files and of hub folders of timm's networks with TensorFlow's padding.
_TENSORFLOW = re.compile(r"(?:models--timm--)?tf_(?:efficientnet|mixnet|mobilenet)")


@dataclass(frozen=True)
class Loaded:
    """What was loaded: the number of `tensors` of our state dict, from a network of `library`'s `family`.

    `fresh` says why the classifier kept its own weights; it is empty if the classifier was loaded too.
    """

    library: str
    family: str
    tensors: int
    fresh: str = ""

    def __str__(self) -> str:
        text = f"{self.tensors} tensors from {self.library} ({self.family})"
        return f"{text}; the classifier is not among them: {self.fresh}" if self.fresh else text


class Target(NamedTuple):
    """A tensor of ours, the names of the library's tensors for it, and a number to add (to running variances)."""

    name: str
    tensor: Tensor
    sources: tuple[str, ...]
    shift: float
    classifier: bool


def load_pretrained(
    network: nn.Module,
    architecture: Architecture,
    source: str | Path | Mapping[str, Tensor],
    *,
    classifier: bool | None = None,
) -> Loaded:
    """Copy the weights in `source`, a file or a state dict of a library's network, into the same network of ours.

    `network` is made by `build_network(architecture)`. The classifier (the last block) is loaded if it fits; it keeps
    its weights if the number of classes differs or the file has no classifier. With `classifier=True` it must fit, with
    `classifier=False` it is never loaded. Afterwards both networks give the same logits in evaluation mode (for
    training see `nas.networks.pretrained`). Raises NasError, and leaves the network as it was, for a source without a
    state dict, an unknown family, timm's `tf_` networks, and tensors that are missing, left over or of another shape.
    """
    weights = _weights(source)
    layout = recognise(weights)
    targets = match(layout, network, architecture, weights)
    fresh = _reason_to_skip(targets, weights, classifier)
    loaded = [target for target in targets if not (fresh and target.classifier)]
    problems = _problems(loaded, weights, {name for target in targets for name in target.sources})
    if problems:
        raise NasError(f"weights of {layout.library} ({layout.family}) do not fit this network: {'; '.join(problems)}")
    with torch.no_grad():
        for target in loaded:
            target.tensor.copy_(_value(target, weights))
    return Loaded(layout.library, layout.family, len(loaded), fresh)


def recognise(names: Mapping[str, Tensor]) -> Layout:
    """The layout of a state dict with these names. Raises NasError for an unknown family."""
    for layout in LAYOUTS:
        if layout.recognises(names):
            return layout
    families = ", ".join(f"{layout.family} ({layout.library})" for layout in LAYOUTS)
    first = ", ".join(list(names)[:3])
    raise NasError(f"weights of a family that is not known: the first of {len(names)} are {first}. Known: {families}.")


def match(
    layout: Layout, network: nn.Module, architecture: Architecture, weights: Mapping[str, Tensor]
) -> list[Target]:
    """All tensors of `network` with the names of their counterparts, which may be missing in `weights`."""
    rows = units(architecture)
    blocks = list(network.children())
    if len(blocks) != len(rows):
        raise NasError(f"the network must be built from the architecture: {len(rows)} blocks, but it has {len(blocks)}")
    try:
        leaves = list(layout.leaves(rows, layout.places(weights)))
    except NasError as error:
        raise NasError(f"weights of {layout.library} ({layout.family}) do not fit this network: {error}") from error
    epsilon = layout.epsilon(rows)
    targets: list[Target] = []
    for index, (block, names) in enumerate(zip(blocks, leaves, strict=True)):
        ours = list(_leaf_modules(block))
        if len(ours) != len(names):
            raise NasError(f"block {index} must have {len(names)} layers with weights, but has {len(ours)}: {block}")
        for (path, module), name in zip(ours, names, strict=True):
            sources = (name,) if isinstance(name, str) else name
            shift = epsilon - module.eps if isinstance(module, nn.BatchNorm2d) else 0.0
            for key, tensor in module.state_dict().items():
                targets.append(
                    Target(
                        name=f"{index}.{path}.{key}",
                        tensor=tensor,
                        sources=tuple(f"{source}.{key}" for source in sources),
                        shift=shift if key == "running_var" else 0.0,
                        classifier=index == len(blocks) - 1,
                    )
                )
    return targets


def _weights(source: str | Path | Mapping[str, Tensor]) -> dict[str, Tensor]:
    if isinstance(source, Mapping):
        return tensors_of(source)
    path = Path(source)
    if any(_TENSORFLOW.match(part) for part in path.parts):
        raise NasError(
            f"{path} is of a network that timm ported from TensorFlow (tf_), whose convolutions of stride 2 pad images "
            "at the right and bottom only. Ours pad all sides, so it would give other logits. "
            "Take the weights of the network without tf_ in its name."
        )
    return read_weights(path)


def _leaf_modules(block: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers that have weights themselves, in the order in which they were registered."""
    for path, module in block.named_modules():
        if next(module.parameters(recurse=False), None) is not None:
            yield path, module


def _reason_to_skip(targets: Sequence[Target], weights: Mapping[str, Tensor], classifier: bool | None) -> str:
    """Why the classifier is not loaded, or an empty text."""
    if classifier is not None:
        return "" if classifier else "it was not asked for"
    of_classifier = [target for target in targets if target.classifier]
    theirs = [weights[source] for target in of_classifier for source in target.sources if source in weights]
    if not theirs:
        return "there are no weights for it"
    our_classes, their_classes = len(of_classifier[0].tensor), len(theirs[0]) if theirs[0].ndim else 0
    return f"{our_classes} classes instead of {their_classes}" if our_classes != their_classes else ""


def _problems(targets: Sequence[Target], weights: Mapping[str, Tensor], expected: set[str]) -> list[str]:
    """One text for each kind of problem: missing tensors, tensors that are not `expected`, and wrong shapes."""
    needed = [source for target in targets for source in target.sources if not _optional(source)]
    missing = [source for source in needed if source not in weights]
    over = [name for name in weights if name not in expected]
    shapes = [
        f"{target.sources[0]} is {_shape(weights[target.sources[0]])} instead of {_shape(target.tensor)}"
        for target in targets
        if all(source in weights for source in target.sources) and not _fits(target, weights)
    ]
    kinds = ((missing, "missing"), (over, "of no layer here"), (shapes, "of another shape"))
    return [f"{len(names)} {kind}: {_first(names)}" for names, kind in kinds if names]


def _first(names: Sequence[str]) -> str:
    others = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {others} more" if others > 0 else "")


def _optional(source: str) -> bool:
    """Whether a tensor may be missing: older files have no batch counts of their normalisations."""
    return source.endswith(".num_batches_tracked")


def _fits(target: Target, weights: Mapping[str, Tensor]) -> bool:
    """Whether shapes fit; a linear layer may be a 1×1 convolution in the library, or the reverse."""
    shapes = [weights[source].shape for source in target.sources]
    if any(shape[1:] != shapes[0][1:] for shape in shapes):
        return False
    stacked = (sum(shape[0] for shape in shapes), *shapes[0][1:]) if shapes[0] else ()
    return _without_pixels(stacked) == _without_pixels(target.tensor.shape)


def _without_pixels(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a 1×1 convolution's weights as that of a linear layer's; any other shape unchanged."""
    return tuple(shape[:2]) if len(shape) == 4 and tuple(shape[2:]) == (1, 1) else tuple(shape)


def _value(target: Target, weights: Mapping[str, Tensor]) -> Tensor:
    if target.sources[0] not in weights:
        return torch.zeros_like(target.tensor)
    sources = [weights[source] for source in target.sources]
    whole = torch.cat(sources) if len(sources) > 1 else sources[0]
    # The type is converted first, because half precision would lose the shift of a variance.
    return whole.reshape(target.tensor.shape).to(target.tensor) + (target.shift if target.shift else 0)


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "one number"
