"""The formats that a network can be exported to, and how to write and run each.

Each is a module around the format's own converter and runtime. All but ONNX need an extra of the package, such as
`pip install 'hwnas[litert]'`. TensorRT has no module: it takes ONNX files.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Protocol, cast

from torch import Tensor, nn

from nas.deploy.export.agreement import Runner
from nas.errors import NasError, RunFailedError, unknown_name

FORMATS: tuple[str, ...] = ("onnx", "litert", "coreml", "executorch", "openvino")


class Format(Protocol):
    """A module of this folder. Importing it needs none of its packages; writing and running files does."""

    TITLE: str
    # Ending of the main file's name (in Core ML: the folder's).
    SUFFIX: str
    # Whether a file takes any number of images at once; otherwise it takes one.
    ANY_BATCH: bool
    # Modules that must be importable to write a file, and to run it.
    WRITES_WITH: tuple[str, ...]
    RUNS_WITH: tuple[str, ...]
    # The module whose import loads the runtime.
    RUNTIME: str
    # The distributions whose versions are recorded.
    DISTRIBUTIONS: tuple[str, ...]
    # Why such files cannot be run on any machine of this kind, or an empty text.
    RUNS_NOT_HERE: str

    def write(self, network: nn.Module, example: Tensor, path: Path) -> None:
        """Write `network`, in evaluation mode on the CPU, for inputs like `example`, float32 (1, c, h, w)."""

    def open_runner(self, path: Path, *, threads: int = 0) -> Runner:
        """A function that runs the file, float32 in and out, on `threads` threads (0: the runtime chooses)."""


def format_called(name: str) -> Format:
    """The format called `name`. Raises NasError, with those that exist, for any other."""
    if name not in FORMATS:
        raise NasError(unknown_name("format", name, FORMATS))
    return cast(Format, importlib.import_module(f"nas.deploy.export.formats.{name}"))


def suffixes() -> Mapping[str, str]:
    """The format of each file ending."""
    return {format_called(name).SUFFIX: name for name in FORMATS}


def formats_in(text: str) -> tuple[str, ...]:
    """The formats that a list such as "onnx,litert" names; "all" means every one. Raises NasError for unknown ones."""
    names = FORMATS if text == "all" else tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        format_called(name)
    return names


def check_installed(names: Sequence[str], *, to_run: bool = False) -> None:
    """Raise NasError, which says what to install, where packages of the formats `names` are missing."""
    lacking = []
    for name in names:
        kind = format_called(name)
        missing = missing_modules(kind.RUNS_WITH if to_run else kind.WRITES_WITH)
        if missing:
            lacking.append(f"{kind.TITLE} needs {', '.join(missing)}: pip install 'hwnas[{name}]'")
    if lacking:
        raise NasError("\n".join(lacking))


def missing_modules(modules: Sequence[str]) -> list[str]:
    """Those of some top-level `modules` that are not installed."""
    return [module for module in modules if util.find_spec(module) is None]


def cannot_run(name: str) -> str:
    """Why a file of the format `name` cannot be run on this machine, or an empty text."""
    kind = format_called(name)
    missing = missing_modules(kind.RUNS_WITH)
    if missing:
        return kind.RUNS_NOT_HERE or f"{', '.join(missing)} is not installed: pip install 'hwnas[{name}]'"
    return kind.RUNS_NOT_HERE


def versions(name: str) -> dict[str, str]:
    """The versions of the installed distributions that write and run the format, by name."""
    installed = {}
    for distribution in ("torch", *format_called(name).DISTRIBUTIONS):
        try:
            installed[distribution] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return installed


def write_file(name: str, network: nn.Module, example: Tensor, path: Path) -> None:
    """Write `network`, in evaluation mode on the CPU, as a file of the format `name` for inputs like `example`.

    Raises RunFailedError, with the converter's own words, where it cannot be converted.
    """
    try:
        format_called(name).write(network, example, path)
    except (NasError, OSError):
        raise
    # The converters' exceptions have no other common base.
    except Exception as error:
        raise RunFailedError(f"{format_called(name).TITLE} cannot express the network: {first_line(error)}") from error


def open_file(name: str, path: Path, *, threads: int = 0) -> Runner:
    """A function that runs the file at `path`, of the format `name`.

    Raises NasError where the runtime is missing, RunFailedError where it cannot load the file.
    """
    check_installed([name], to_run=True)
    try:
        return format_called(name).open_runner(path, threads=threads)
    except NasError:
        raise
    # The runtimes' exceptions have no other common base.
    except Exception as error:
        raise RunFailedError(f"{format_called(name).TITLE} cannot load {path.name}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, cut to 300 characters: converters' texts run over pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
