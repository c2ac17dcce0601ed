"""Tests of `python -m nas.deploy compress`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nas.deploy.__main__ import main
from nas.deploy.export.manifest import load_manifest
from nas.deploy.trained import save_trained
from tests.deploy.digits_network import trained_digits


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a network trained on digits."""
    folder = tmp_path_factory.mktemp("trained") / "net"
    save_trained(folder, trained_digits())
    return folder


def compress(network: Path, *words: str) -> int:
    return main(["compress", str(network), "--data", "digits", "--runs", "3", *words])


def test_a_network_becomes_int8_with_its_facts(
    network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file stands with a manifest that says how it was made and what it lost; predict and benchmark take it."""
    assert compress(network, "--out", str(tmp_path), "--images", "64", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    path = tmp_path / "net-int8-static.onnx"
    assert printed["file"] == str(path)
    written = load_manifest(path)
    assert written.precision == "int8-static"
    assert written.labels == trained_digits().labels
    assert written.history["compress"]["calibration_images"] == 64
    assert (written.history["compress"]["percentile"], written.history["compress"]["exclude"]) == (None, [])
    assert written.history["compress"]["after"]["top1"] == printed["after"]["top1"]
    assert printed["drop"] == printed["before"]["top1"] - printed["after"]["top1"] <= 1
    assert main(["benchmark", str(path), "--runs", "2", "--json"]) == 0


def test_an_exported_file_is_compressed_too(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From ONNX to float16; and what is compressed already is not compressed again."""
    assert main(["export", str(network), "--out", str(tmp_path)]) == 0
    assert compress(tmp_path / "net.onnx", "--method", "float16", "--out", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "wrote" in out
    assert "top-1 +0.00 points" in out
    assert compress(tmp_path / "net.onnx", "--pick", "knee", "--out", str(tmp_path)) == 2
    assert "net.onnx is an exported file: leave out --pick" in capsys.readouterr().err
    assert load_manifest(tmp_path / "net-float16.onnx").precision == "float16"
    assert compress(tmp_path / "net-float16.onnx", "--out", str(tmp_path)) == 2
    assert "must be an ONNX file of float32, but is onnx of float16" in capsys.readouterr().err


def test_a_bad_result_is_refused_unless_allowed(
    network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ranges that cut off a fifth of all values ruin the network: nothing is written, but with --allow."""
    bad = ("--calibration", "percentile", "--percentile", "51", "--out", str(tmp_path))
    assert compress(network, *bad) == 1
    assert "nothing was written" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert compress(network, *bad, "--allow") == 0
    assert (tmp_path / "net-int8-static.onnx").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "0"], "--images must be at least 1"),
        (["--calibration", "percentile", "--percentile", "20"], "--percentile must be above 50"),
        (["--most-drop", "-1"], "--most-drop must be from 0 to 100 points"),
        (["--exclude", "conv_9,Foo"], "nodes to exclude must be in the graph, but it has no conv_9, Foo. Nearest: "),
        (["--method", "float16", "--exclude", "x"], "--exclude: only with --method int8-static or int8-qat"),
        (
            ["--method", "int8-dynamic", "--calibration", "entropy", "--images", "9"],
            "--calibration, --images: only with",
        ),
        (["--percentile", "99.9"], "--percentile: only with --calibration percentile"),
    ],
)
def test_mistakes_are_said(network: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before any image is read."""
    assert compress(network, *words) == 2
    assert message in capsys.readouterr().err


def test_a_network_that_was_never_trained_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no accuracy that it could lose."""
    assert main(["compress", "mobilenet_v3_small", "--data", "digits"]) == 2
    assert "has no trained weights" in capsys.readouterr().err


def qat(network: Path, *words: str) -> int:
    pytest.importorskip("torchao")
    return compress(network, "--method", "int8-qat", "--images", "64", *words)


def test_a_network_is_trained_for_int8(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The manifest says how it was trained; and the outputs are those of int8-static."""
    words = ("--steps", "15", "--learning-rate", "0.02", "--train-images", "400", "--seed", "3", "--json")
    assert qat(network, *words, "--out", str(tmp_path)) == 0
    printed = json.loads(capsys.readouterr().out)
    path = tmp_path / "net-int8-qat.onnx"
    assert printed["file"] == str(path)
    assert printed["operators"]["convolutions_and_products_in_float"] == 0
    history = load_manifest(path).history["compress"]
    assert history["calibration_images"] == 64
    facts = {"images": 400, "steps": 15, "batch_size": 64, "learning_rate": 0.02, "seed": 3}
    assert facts.items() <= history["training"].items()
    assert history["after"]["top1"] == printed["after"]["top1"]
    assert main(["benchmark", str(path), "--runs", "2", "--json"]) == 0


def test_an_exported_file_is_trained_for_int8_too(network: Path, tmp_path: Path) -> None:
    """Its weights are those of the network; epochs are counted in whole batches."""
    assert main(["export", str(network), "--out", str(tmp_path)]) == 0
    words = ("--epochs", "1", "--train-images", "200", "--allow", "--out", str(tmp_path))
    assert qat(tmp_path / "net.onnx", *words) == 0
    assert load_manifest(tmp_path / "net-int8-qat.onnx").history["compress"]["training"]["steps"] == 200 // 64


def test_training_that_ruins_the_network_leaves_nothing(
    network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A far too high learning rate: refused as any other bad result, and no file or part of one is there."""
    assert qat(network, "--steps", "10", "--learning-rate", "100", "--out", str(tmp_path)) == 1
    assert "top-1 fell by" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--train-images", "0"], "--train-images must be at least 1"),
        (["--batch-size", "1"], "--batch-size must be a whole number from 2 to 65536"),
        (["--learning-rate", "0"], "--learning-rate must be above 0"),
        (["--learning-rate", "nan"], "--learning-rate must be above 0"),
        (["--seed", "-1"], "--seed must be a whole number"),
    ],
)
def test_mistakes_of_training_are_said(
    network: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before any image is read."""
    assert qat(network, *words) == 2
    assert message in capsys.readouterr().err


def test_options_without_effect_are_refused(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What does not train has no epochs."""
    assert compress(network, "--epochs", "3", "--batch-size", "8") == 2
    assert "--epochs, --batch-size: only with --method int8-qat" in capsys.readouterr().err


def test_a_folder_without_training_images_is_refused(
    network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As everywhere else."""
    (tmp_path / "train").mkdir()
    assert main(["compress", str(network), "--method", "int8-qat", "--data", f"folder:{tmp_path}"]) == 2
    assert str(tmp_path.name) in capsys.readouterr().err
