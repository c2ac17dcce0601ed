"""The manifest of an exported file: FILE.json beside FILE, such as knee.onnx.json beside knee.onnx.

It records the network, the hash of every file and its own, the preprocessing of images, the name of each class, what
wrote the file, and how that was checked.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nas.deploy.sealed_json import check_seal, sealed
from nas.deploy.trained import Preprocessing
from nas.errors import NasError, RunFailedError
from nas.files import atomic_file, move_into_place, shown
from nas.networks.architecture import Architecture
from nas.networks.onnx_graph import INPUT_NAME, OUTPUT_NAME

VERSION = 1


@dataclass(frozen=True)
class Manifest:
    """The facts of one exported file.

    `files` has the hash (SHA-256) of each file that belongs to it, by its path from the manifest's folder. `weights`
    says in words which weights are trained. `labels` and `preprocessing` are None where they were not recorded. `check`
    is a `LogitsAgreement` as plain data, or says under "not_run" why there is none. `history` holds what was done to
    the file, such as quantisation, as free JSON.
    """

    name: str
    format: str
    precision: str
    any_batch: bool
    architecture: Architecture
    weights: str
    labels: tuple[str, ...] | None
    preprocessing: Preprocessing | None
    versions: Mapping[str, str]
    check: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)
    history: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Files are named after it: a path would lead into another folder.
        if self.name in ("", ".", "..") or "/" in self.name or "\\" in self.name:
            raise NasError(f"the name of an exported network must be that of a file in a folder, but is {self.name!r}")

    def to_json(self) -> dict[str, Any]:
        """Plain data, with input and output spelled out for other programs."""
        return {
            "manifest": VERSION,
            "name": self.name,
            "format": self.format,
            "precision": self.precision,
            "files": dict(self.files),
            "input": {
                "name": INPUT_NAME,
                "type": "float32",
                "layout": "NCHW",
                "channel_order": "RGB",
                "batch": "any" if self.any_batch else 1,
                "resolution": self.architecture.resolution,
            },
            "output": {"name": OUTPUT_NAME, "type": "float32", "classes": self.architecture.classes},
            "preprocessing": self.preprocessing.to_json() if self.preprocessing else None,
            "labels": list(self.labels) if self.labels is not None else None,
            "weights": self.weights,
            "check": dict(self.check),
            "versions": dict(self.versions),
            "history": dict(self.history),
            "architecture": self.architecture.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Manifest:
        """The inverse of `to_json`. Raises KeyError or TypeError where parts are missing, NasError where they clash."""
        if data["manifest"] != VERSION:
            raise NasError(f"a manifest must be of version {VERSION}, but is of {data['manifest']!r}")
        preprocessing = data["preprocessing"]
        labels = data["labels"]
        return cls(
            name=data["name"],
            format=data["format"],
            precision=data["precision"],
            any_batch=data["input"]["batch"] == "any",
            architecture=Architecture.from_json(data["architecture"]),
            weights=data["weights"],
            labels=tuple(map(str, labels)) if labels is not None else None,
            preprocessing=Preprocessing.from_json(preprocessing) if preprocessing is not None else None,
            versions=dict(data["versions"]),
            check=dict(data["check"]),
            files={str(name): str(digest) for name, digest in data["files"].items()},
            history=dict(data["history"]),
        )


def manifest_path(model: Path) -> Path:
    """Where the manifest of the exported file `model` stands."""
    return model.with_name(model.name + ".json")


def load_manifest(model: Path) -> Manifest:
    """The manifest of the exported file `model`, after checking that its files are there and as they were written.

    Raises NasError where there is no manifest, where it is damaged, and where a file is missing or another one.
    """
    path = manifest_path(model)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        manifest = Manifest.from_json(data)
        check_seal(data)
    except FileNotFoundError as error:
        if not model.exists():
            raise NasError(f"there is no file {shown(model)}") from error
        raise NasError(
            f"{shown(model)} must have its manifest {path.name} beside it, which says what goes into it and what its "
            "outputs mean. Files that python -m nas.deploy export and compress write have one."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NasError(f"{shown(path)} is damaged or no manifest ({error!r})") from error
    except NasError as error:
        raise NasError(f"{error} ({shown(path)})") from error
    _check_files(model, manifest)
    return manifest


def save_with_manifest(written: Path, model: Path, manifest: Manifest) -> Manifest:
    """Move the files in the folder `written` beside `model`, and write the manifest; returns it with their hashes.

    `written` is a folder beside `model` that holds its files under their final names; it is empty afterwards. Raises
    RunFailedError where a file cannot be written.
    """
    whole = replace(manifest, files=file_hashes(written))
    text = json.dumps(sealed(whole.to_json()), indent=1, ensure_ascii=False) + "\n"
    part = written / manifest_path(model).name
    try:
        with atomic_file(part) as file:
            file.write(text.encode())
        # The manifest goes last: without it, or with another one, files are refused.
        for path in sorted(written.iterdir(), key=lambda path: path == part):
            _replace(path, model.parent / path.name)
    except OSError as error:
        raise RunFailedError(f"cannot write {shown(model)}: {error.strerror}") from error
    return whole


def file_hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below `folder`, by its path from there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in paths}


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_of(model: Path, manifest: Manifest) -> int:
    """The size of all files that belong to `model`, in bytes."""
    return sum((model.parent / name).stat().st_size for name in manifest.files)


def _check_files(model: Path, manifest: Manifest) -> None:
    """Raise NasError unless every file of `manifest` is there, in its folder, with its hash."""
    folder = model.parent.resolve()
    own = [name for name in manifest.files if name == model.name or name.startswith(f"{model.name}/")]
    if not own:
        raise NasError(f"{shown(manifest_path(model))} is the manifest of another file: {', '.join(manifest.files)}")
    for name, digest in manifest.files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder):
            raise NasError(f"{shown(manifest_path(model))} names a file outside its folder: {name}")
        if not path.is_file():
            raise NasError(f"{shown(model)} is not whole: {name} is missing. Export it again.")
        if sha256_of(path) != digest:
            raise NasError(
                f"{shown(path)} is not the file that {manifest_path(model).name} means: it has another hash. "
                "Export it again."
            )


def _replace(path: Path, target: Path) -> None:
    if target.is_dir():  # a package of Core ML: folders with files cannot be replaced
        shutil.rmtree(target)
    move_into_place(path, target)
