"""How do a library's weights get into our network?"""

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

# How many tensors of a kind an error names.
_MOST_NAMED = 10
# timm's networks with TensorFlow's padding, as a file or as a folder of its hub.
_TENSORFLOW = re.compile(r"(?:models--timm--)?tf_(?:efficientnet|mixnet|mobilenet)")


@dataclass(frozen=True)
class Loaded:
    """Which weights a network got: those of `library`'s `family`, `tensors` of our state dict; says so as a text.

    `fresh` says why the classifier kept the weights that it had, and is empty where it was loaded too.
    """

    library: str
    family: str
    tensors: int
    fresh: str = ""

    def __str__(self) -> str:
        text = f"{self.tensors} tensors from {self.library} ({self.family})"
        return f"{text}; the classifier is not among them: {self.fresh}" if self.fresh else text


class Target(NamedTuple):
    """A tensor of ours: the library's tensors that make it, and what is added (to a running variance)."""

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
    """Put the weights in `source`, a file or a state dict of a library's network, into the same network of ours.

    `network` is what `build_network(architecture)` gives. The classifier (the last block) is loaded where it fits, and
    keeps its weights where the number of classes is another or the file has none; it must fit with `classifier=True`,
    and is left alone with `classifier=False`. Afterwards both networks give the same logits in evaluation mode (about
    training: see `nas.networks.pretrained`). Raises NasError, with the network as it was, for what holds no state dict,
    a family that is not known, timm's `tf_` networks, and tensors that are missing, left over or of another shape.
    """
    weights = _weights(source)
    layout = recognise(weights)
    targets = match(layout, network, architecture, weights)
    fresh = _reason_to_skip(targets, weights, classifier)
    wanted = [target for target in targets if not (fresh and target.classifier)]
    problems = _problems(wanted, weights, {name for target in targets for name in target.sources})
    if problems:
        raise NasError(f"weights of {layout.library} ({layout.family}) do not fit this network: {'; '.join(problems)}")
    with torch.no_grad():
        for target in wanted:
            target.tensor.copy_(_value(target, weights))
    return Loaded(layout.library, layout.family, len(wanted), fresh)


def recognise(names: Mapping[str, Tensor]) -> Layout:
    """The layout of a state dict with these names. Raises NasError where it is none that is known."""
    for layout in LAYOUTS:
        if layout.recognises(names):
            return layout
    known = ", ".join(f"{layout.family} ({layout.library})" for layout in LAYOUTS)
    first = ", ".join(list(names)[:3])
    raise NasError(f"weights of a family that is not known: the first of {len(names)} are {first}. Known: {known}.")


def match(
    layout: Layout, network: nn.Module, architecture: Architecture, weights: Mapping[str, Tensor]
) -> list[Target]:
    """All tensors of `network` with their counterparts by the layout, whether `weights` holds these or not."""
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
    """The layers with weights of their own, in the order in which they were registered."""
    for path, module in block.named_modules():
        if next(module.parameters(recurse=False), None) is not None:
            yield path, module


def _reason_to_skip(targets: Sequence[Target], weights: Mapping[str, Tensor], classifier: bool | None) -> str:
    """Why the classifier is not loaded, or an empty text."""
    if classifier is not None:
        return "" if classifier else "it was not asked for"
    of_classifier = [target for target in targets if target.classifier]
    found = [weights[source] for target in of_classifier for source in target.sources if source in weights]
    if not found:
        return "there are no weights for it"
    ours, theirs = len(of_classifier[0].tensor), len(found[0]) if found[0].ndim else 0
    return f"{ours} classes instead of {theirs}" if ours != theirs else ""


def _problems(wanted: Sequence[Target], weights: Mapping[str, Tensor], known: set[str]) -> list[str]:
    """What does not fit, one text for each kind."""
    needed = [source for target in wanted for source in target.sources if not _optional(source)]
    missing = [source for source in needed if source not in weights]
    over = [name for name in weights if name not in known]
    shapes = [
        f"{target.sources[0]} is {_shape(weights[target.sources[0]])} instead of {_shape(target.tensor)}"
        for target in wanted
        if all(source in weights for source in target.sources) and not _fits(target, weights)
    ]
    kinds = ((missing, "missing"), (over, "of no layer here"), (shapes, "of another shape"))
    return [f"{len(found)} {kind}: {_first(found)}" for found, kind in kinds if found]


def _first(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _optional(source: str) -> bool:
    """Older files do not count batches."""
    return source.endswith(".num_batches_tracked")


def _fits(target: Target, weights: Mapping[str, Tensor]) -> bool:
    """Whether the library's tensors make one of ours; a linear layer may be a 1×1 convolution there, or the reverse."""
    shapes = [weights[source].shape for source in target.sources]
    if any(shape[1:] != shapes[0][1:] for shape in shapes):
        return False
    stacked = (sum(shape[0] for shape in shapes), *shapes[0][1:]) if shapes[0] else ()
    return _without_pixels(stacked) == _without_pixels(target.tensor.shape)


def _without_pixels(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a 1×1 convolution's weights, as a linear layer's; any other as it is."""
    return tuple(shape[:2]) if len(shape) == 4 and tuple(shape[2:]) == (1, 1) else tuple(shape)


def _value(target: Target, weights: Mapping[str, Tensor]) -> Tensor:
    if target.sources[0] not in weights:
        return torch.zeros_like(target.tensor)
    sources = [weights[source] for source in target.sources]
    whole = torch.cat(sources) if len(sources) > 1 else sources[0]
    # Converted first: in half precision the shift of a variance would be lost.
    return whole.reshape(target.tensor.shape).to(target.tensor) + (target.shift if target.shift else 0)


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "one number"
