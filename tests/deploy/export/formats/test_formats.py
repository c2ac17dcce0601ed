"""Tests of all formats: each computes what torch does, or names what it cannot express."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from importlib import util
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas.deploy.export import formats
from nas.deploy.export.agreement import check_agreement
from nas.deploy.export.export import export_file
from nas.deploy.export.expressible import check_expressible, refusals
from nas.deploy.export.formats import FORMATS, cannot_run, check_installed, format_called, formats_in, open_file
from nas.deploy.export.formats import onnx as onnx_format
from nas.deploy.export.manifest import Manifest, load_manifest
from nas.deploy.inference.model import open_exported
from nas.errors import NasError, RunFailedError
from nas.networks.architecture import Architecture
from tests.deploy.digits_network import DIGITS, digits, trained_digits


def manifest(name: str, architecture: Architecture = DIGITS) -> Manifest:
    return Manifest(
        name="net",
        format=name,
        precision="float32",
        any_batch=True,
        architecture=architecture,
        weights="trained on digits",
        labels=trained_digits().labels,
        preprocessing=trained_digits().preprocessing,
        versions={},
        check={},
    )


def needs(name: str) -> None:
    """Skip where the packages of a format are not installed."""
    kind = format_called(name)
    missing = formats.missing_modules((*kind.WRITES_WITH, *(() if kind.RUNS_NOT_HERE else kind.RUNS_WITH)))
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")


def test_no_runtime_sends_word_of_its_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's telemetry cannot be imported, though it is installed with it."""
    (tmp_path / "openvino_telemetry.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    format_called("openvino")
    with pytest.raises(ImportError):
        importlib.import_module("openvino_telemetry")


def images() -> Tensor:
    return trained_digits().preprocessing.applied(digits().val.images[:40])


# Converters give warnings about their own code.
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_torchs_logits_on_real_images(tmp_path: Path, name: str) -> None:
    """The file runs in its own runtime, agrees on every class, and its manifest is complete."""
    needs(name)
    network = trained_digits().build()
    path, written = export_file(network, manifest(name), tmp_path, batches=[images()], of="validation images")
    assert load_manifest(path) == written
    assert written.preprocessing == trained_digits().preprocessing
    assert "torch" in written.versions
    if cannot_run(name):
        assert written.check == {"not_run": cannot_run(name)}
        return
    assert written.check["top1_agreement"] == 1
    assert written.check["images"] == 40
    logits = open_exported(path).run(images().numpy())
    assert torch.allclose(torch.from_numpy(logits), network(images()), atol=1e-3)
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_not_what_it_says_is_refused(tmp_path: Path, name: str) -> None:
    """Random bytes under the right name are an error in words, in every runtime."""
    needs(name)
    if cannot_run(name):
        pytest.skip(cannot_run(name))
    path = tmp_path / f"net{format_called(name).SUFFIX}"
    path.write_bytes(b"no model at all, but some bytes")
    with pytest.raises(RunFailedError, match="net"):
        open_file(name, path)


def test_an_export_that_differs_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that computes something else is refused, and the earlier file stays with its manifest."""
    path, _ = export_file(trained_digits().build(), manifest("onnx"), tmp_path)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    write = onnx_format.write

    def wrong(network: nn.Module, example: Tensor, path: Path) -> None:
        with torch.no_grad():
            next(network.parameters())[0].mul_(-1)
        write(network, example, path)
        with torch.no_grad():
            next(network.parameters())[0].mul_(-1)

    monkeypatch.setattr(onnx_format, "write", wrong)
    with pytest.raises(RunFailedError, match="do not deploy it"):
        export_file(trained_digits().build(), manifest("onnx"), tmp_path)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before
    load_manifest(path)


def no_hard_swish(network: nn.Module, example: Tensor, path: Path) -> None:
    if any(isinstance(module, nn.Hardswish) for module in network.modules()):
        raise RuntimeError("there is no hard_swish here\n" * 50)
    path.write_bytes(b"")


def test_an_operator_that_a_format_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of block is tried once; refused ones are listed with their numbers and the converter's words."""
    monkeypatch.setattr(onnx_format, "write", no_hard_swish)
    monkeypatch.setattr(onnx_format, "RUNS_NOT_HERE", "not in this test")
    tried: list[str] = []
    refused = refusals(DIGITS, ["onnx"], on_trial=lambda _, block: tried.append(block.op))
    assert [(refusal.block.op, refusal.blocks) for refusal in refused] == [
        ("conv", (0,)),
        ("mbconv", (2,)),
        ("conv", (3,)),
    ]
    assert len(tried) == len(DIGITS.blocks)
    with pytest.raises(NasError, match=r"ONNX cannot express mbconv .*hswish.*\(blocks 2\): .*there is no hard_swish"):
        check_expressible(DIGITS, ["onnx"])


def test_blocks_of_one_kind_are_tried_once() -> None:
    """Sizes make no difference to what a format can express, and ONNX can express all of these."""
    twice = replace(DIGITS, blocks=(*DIGITS.blocks[:2], DIGITS.blocks[1], *DIGITS.blocks[2:]))
    tried: list[str] = []
    assert not refusals(twice, ["onnx"], on_trial=lambda _, block: tried.append(block.op))
    assert len(tried) == len(DIGITS.blocks)


def test_formats_are_called_by_their_names() -> None:
    """A list, all of them, and an error that lists them."""
    assert formats_in("onnx, litert,onnx") == ("onnx", "litert")
    assert formats_in("all") == FORMATS
    assert len({format_called(name).SUFFIX for name in FORMATS}) == len(FORMATS)
    with pytest.raises(NasError, match=r"unknown format 'tflight'\. Known: litert"):
        formats_in("onnx,tflight")


def test_a_missing_converter_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every missing package is named at once, with the command that installs it."""
    monkeypatch.setattr(util, "find_spec", lambda name: None if name != "onnx" else object())
    with pytest.raises(NasError, match=r"(?s)LiteRT needs litert_torch: pip install 'hwnas\[litert\]'.*openvino"):
        check_installed(["litert", "openvino"])


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML runs there")
def test_core_ml_says_that_it_cannot_run_here() -> None:
    """And not that a package is to be installed."""
    assert cannot_run("coreml") == "Core ML files run on Apple's systems alone"


def test_a_package_of_core_ml_cannot_be_predicted_with_here(tmp_path: Path) -> None:
    """Opening one elsewhere than on Apple's systems says why, before anything is loaded."""
    if not cannot_run("coreml"):
        pytest.skip("Core ML runs here")
    place = tmp_path / "place"
    (place / "net.mlpackage" / "Data").mkdir(parents=True)
    (place / "net.mlpackage" / "Data" / "weights").write_bytes(b"w")
    from nas.deploy.export.manifest import save_with_manifest

    path = tmp_path / "net.mlpackage"
    save_with_manifest(place, path, manifest("coreml"))
    assert list(load_manifest(path).files) == ["net.mlpackage/Data/weights"]
    with pytest.raises(NasError, match="cannot be run here"):
        open_exported(path)


def test_a_manifest_of_another_format_is_refused(tmp_path: Path) -> None:
    """An ONNX file whose manifest says LiteRT is opened by neither."""
    path, _ = export_file(trained_digits().build(), manifest("onnx"), tmp_path)
    data = json.loads((tmp_path / "net.onnx.json").read_text())
    del data["sha256"]
    (tmp_path / "net.onnx.json").write_text(json.dumps({**data, "format": "litert"}))
    with pytest.raises(NasError, match=r"net\.onnx is not of the format 'litert'"):
        open_exported(path)


def test_agreement_is_stated_with_its_limit() -> None:
    """Equal logits agree fully; the agreement has the number of the images, and their name."""
    network = trained_digits().build()
    with torch.no_grad():
        agreement = check_agreement(
            lambda x: network(torch.from_numpy(x)).numpy(), network, [images()], name="n", of="x"
        )
    assert (agreement.difference, agreement.top1_agreement, agreement.images, agreement.of) == (0.0, 1.0, 40, "x")
