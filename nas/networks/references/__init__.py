"""Which published networks are known here, exactly?

One file for each family. Each network is a table with its columns named, as in the paper that is cited above it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from nas.errors import NasError, unknown_name
from nas.networks.architecture import Architecture
from nas.networks.references.mnasnet import mnasnet_a1
from nas.networks.references.mobilenet import mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small

# By family, so that each family's file is followed by its rows here.
REFERENCES: Mapping[str, Callable[[], Architecture]] = {
    # MobileNetV2 and V3
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_large": mobilenet_v3_large,
    "mobilenet_v3_small": mobilenet_v3_small,
    "mobilenet_v3_large_minimalistic": partial(mobilenet_v3_large, minimalistic=True),
    "mobilenet_v3_small_minimalistic": partial(mobilenet_v3_small, minimalistic=True),
    # MnasNet
    "mnasnet_a1": mnasnet_a1,
}


def reference(name: str) -> Architecture:
    """The published network called `name`, as published. Raises NasError (listing the names) for any other."""
    if name not in REFERENCES:
        raise NasError(unknown_name("reference network", name, REFERENCES))
    return REFERENCES[name]()


def find_network(name: str) -> Architecture:
    """The published network called `name`, or the one in the file `name` (ending in .json).

    The file holds what `Architecture.to_json` gives, itself or under the key "architecture", as a search's picks do.
    Raises NasError for a name that is not known and a file that holds no architecture.
    """
    if not name.endswith(".json"):
        return reference(name)
    try:
        data = json.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise NasError(f"cannot read {name}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise NasError(f"malformed JSON: {error} ({name})") from error
    if isinstance(data, dict) and "architecture" in data:
        data = data["architecture"]
    try:
        return Architecture.from_json(data)
    except NasError as error:
        raise NasError(f"{error} ({name})") from error
