"""Read the tensors in a file of weights, without running code from it."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nas.errors import NasError

# The keys under which training scripts save the state dict.
_NESTED = ("state_dict", "model")
# The prefix that DistributedDataParallel gives each name.
_WRAPPER = "module."


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a .safetensors file or one written by `torch.save`, on the CPU.

    Only plain data and tensors are read. Raises NasError for anything else, and for a file that cannot be read.
    """
    try:
        if path.suffix == ".safetensors":
            data: Any = load_file(path)
        else:
            with warnings.catch_warnings():
                # The warning says that a newer pickle protocol may be unreadable; if it is, torch raises an error.
                warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
                data = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise NasError(f"cannot read {path}: {error}") from error
    except pickle.UnpicklingError as error:
        raise NasError(
            f"{path} must hold tensors alone, but holds something else, which could run code when it is read. "
            "Ask for the state dict, best as a .safetensors file."
        ) from error
    # torch raises any of these for a file that is truncated or of another kind.
    except (SafetensorError, RuntimeError, EOFError, ValueError, LookupError) as error:
        raise NasError(f"{path} is not a file of weights, or a damaged one ({error!r})") from error
    try:
        return tensors_of(data)
    except NasError as error:
        raise NasError(f"{error} ({path})") from error


def tensors_of(data: Any) -> dict[str, Tensor]:
    """The state dict in `data`, or under its key "state_dict" or "model", without "module." before its names.

    Raises NasError where there is none.
    """
    for key in _NESTED:
        if isinstance(data, Mapping) and isinstance(data.get(key), Mapping):
            data = data[key]
    if not isinstance(data, Mapping):
        raise NasError(f"not a state dict: it must map names to tensors, but is a {type(data).__name__}")
    odd = [name for name, value in data.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if odd or not data:
        what = f"{odd[0]!r} is a {type(data[odd[0]]).__name__}" if odd else "is empty"
        raise NasError(f"not a state dict: it must map names to tensors, but {what}")
    wrapped = all(name.startswith(_WRAPPER) for name in data)
    return {name.removeprefix(_WRAPPER) if wrapped else name: tensor for name, tensor in data.items()}
