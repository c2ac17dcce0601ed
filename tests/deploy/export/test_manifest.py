"""Tests of manifests: they describe their file, and refuse another one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas.deploy.export.manifest import Manifest, load_manifest, manifest_path, save_with_manifest, size_of
from nas.deploy.trained import Preprocessing
from nas.errors import NasError
from tests.deploy.digits_network import DIGITS, SIDE

MANIFEST = Manifest(
    name="net",
    format="onnx",
    precision="float32",
    any_batch=True,
    architecture=DIGITS,
    weights="trained on digits",
    labels=tuple("0123456789"),
    preprocessing=Preprocessing(SIDE, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
    versions={"onnx": "1"},
    check={"top1_agreement": 1.0},
)


def saved(folder: Path, name: str = "net.onnx") -> Path:
    """A file of two parts with its manifest."""
    place = folder / "place"
    place.mkdir()
    (place / name).write_bytes(b"graph")
    (place / "net.bin").write_bytes(b"weights")
    save_with_manifest(place, folder / name, MANIFEST)
    return folder / name


def test_a_manifest_reads_back_equal_and_counts_every_part(tmp_path: Path) -> None:
    """All facts survive; the size is that of all files; the place where they were written is empty."""
    path = saved(tmp_path)
    loaded = load_manifest(path)
    assert replace(loaded, files={}) == MANIFEST
    assert loaded.files.keys() == {"net.onnx", "net.bin"}
    assert size_of(path, loaded) == len(b"graph") + len(b"weights")
    assert not list((tmp_path / "place").iterdir())


def test_unknown_labels_and_preprocessing_stay_unknown(tmp_path: Path) -> None:
    """What was not recorded stays None."""
    unknown = replace(MANIFEST, labels=None, preprocessing=None)
    assert Manifest.from_json(unknown.to_json()) == unknown


@pytest.mark.parametrize("part", ["net.onnx", "net.bin"])
def test_a_file_that_was_changed_is_refused(tmp_path: Path, part: str) -> None:
    """A file of which any part was replaced is refused."""
    path = saved(tmp_path)
    (tmp_path / part).write_bytes(b"other")
    with pytest.raises(NasError, match="another hash"):
        load_manifest(path)
    (tmp_path / part).unlink()
    with pytest.raises(NasError, match=f"{part} is missing"):
        load_manifest(path)


@pytest.mark.parametrize(
    "change", [{"labels": list("0123456798")}, {"preprocessing": Preprocessing(SIDE, (0.2,) * 3, (0.4,) * 3).to_json()}]
)
def test_facts_that_were_changed_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    """Labels and preprocessing decide predictions, too; a manifest of earlier versions, without a hash, is read."""
    path = saved(tmp_path)
    data = json.loads(manifest_path(path).read_text())
    manifest_path(path).write_text(json.dumps({**data, **change}))
    with pytest.raises(NasError, match=r"its sha256 is of something else.*net\.onnx\.json"):
        load_manifest(path)
    del data["sha256"]
    manifest_path(path).write_text(json.dumps(data))
    assert replace(load_manifest(path), files={}) == MANIFEST


@pytest.mark.parametrize("name", ["", "..", "a/b", "../esc", "a\\b"])
def test_a_name_leads_into_no_other_folder(name: str) -> None:
    """Files are named after it."""
    with pytest.raises(NasError, match="must be that of a file in a folder"):
        replace(MANIFEST, name=name)


def test_a_file_without_a_manifest_is_refused(tmp_path: Path) -> None:
    """Its input is not guessed; a file that is missing is said to be."""
    (tmp_path / "net.onnx").write_bytes(b"graph")
    with pytest.raises(NasError, match=r"must have its manifest net\.onnx\.json beside it"):
        load_manifest(tmp_path / "net.onnx")
    with pytest.raises(NasError, match="there is no file"):
        load_manifest(tmp_path / "other.onnx")


@pytest.mark.parametrize(
    "change",
    [
        {"manifest": 9},
        {"files": {"../net.onnx": "0"}},
        {"files": {"net.onnx": "0", "../../etc/passwd": "0"}},
        {"architecture": {}},
        {"preprocessing": {"resolution": 16}},
        {"input": {}},
        {"files": ["net.onnx"]},
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    """Another version, missing parts and files elsewhere are reported as errors of the user's files."""
    path = saved(tmp_path)
    data = json.loads(manifest_path(path).read_text())
    manifest_path(path).write_text(json.dumps({**data, **change}))
    with pytest.raises(NasError, match=r"net\.onnx"):
        load_manifest(path)
