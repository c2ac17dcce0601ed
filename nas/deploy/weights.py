"""Put saved weights into a network whose classifier may be for other classes; tell two sets of weights apart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nas.errors import NasError
from nas.networks.architecture import Architecture


def load_fitting_weights(
    network: nn.Module, architecture: Architecture, weights: Mapping[str, Tensor], *, new_classifier: bool = False
) -> list[str]:
    """Put `weights` into `network`, all but a classifier of another shape; returns the names that were left fresh.

    The classifier is the last block. With `new_classifier` it is left fresh even where its shape fits. Raises NasError
    where any other tensor is missing, left over or of another shape: then the weights are of another network.
    """
    tensors = network.state_dict()
    classifier = f"{len(architecture.blocks) - 1}."
    fitting = {
        name: weight
        for name, weight in weights.items()
        if name in tensors
        and weight.shape == tensors[name].shape
        and not (new_classifier and name.startswith(classifier))
    }
    replaceable = {name for name in tensors.keys() & weights.keys() if name.startswith(classifier)}
    odd = sorted((tensors.keys() | weights.keys()) - fitting.keys() - replaceable)
    if odd:
        raise NasError(
            f"the weights must be of the network {architecture.fingerprint} but for its classifier, "
            f"but {len(odd)} tensors differ, such as {', '.join(odd[:3])}. Give the weights of this network, or of "
            "its proxy."
        )
    network.load_state_dict(fitting, strict=False)
    return [name for name in tensors if name not in fitting]


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """32 hexadecimal digits of the names, types, shapes and bytes of `weights`, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in weights.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # As bytes: NumPy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
