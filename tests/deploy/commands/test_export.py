"""Tests of `python -m nas.deploy export`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nas.deploy.__main__ import main
from nas.deploy.export.formats import onnx as onnx_format
from nas.deploy.export.manifest import load_manifest
from nas.deploy.find import find_network
from nas.deploy.trained import save_trained
from nas.errors import NasError
from tests.deploy.digits_network import DIGITS, trained_digits
from tests.deploy.export.formats.test_formats import no_hard_swish


def test_a_trained_network_is_exported_with_all_that_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels and preprocessing come from its folder; it is compared on the images that are given."""
    save_trained(tmp_path / "net", trained_digits())
    words = ["export", str(tmp_path / "net"), "--data", "digits", "--out", str(tmp_path / "files"), "--json"]
    assert main(words) == 0
    (row,) = json.loads(capsys.readouterr().out)["files"]
    assert row["check"]["images"] == 64
    assert row["check"]["of"] == "validation images of digits"
    assert row["check"]["top1_agreement"] == 1
    written = load_manifest(Path(row["file"]))
    assert written.weights == "trained on digits at 16 pixels for 6 epochs"
    assert (written.labels, written.preprocessing) == (trained_digits().labels, trained_digits().preprocessing)


def test_an_architecture_is_exported_with_fresh_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said that nothing was trained, and what predict will miss."""
    (tmp_path / "net.json").write_text(json.dumps(DIGITS.to_json()))
    assert main(["export", str(tmp_path / "net.json"), "--out", str(tmp_path), "--name", "mine"]) == 0
    out = capsys.readouterr().out
    assert "all weights are fresh from initialisation" in out
    assert "not recorded: labels and preprocessing" in out
    assert load_manifest(tmp_path / "mine.onnx").labels is None


@pytest.mark.parametrize("name", ["a/b", "../esc", "", "-x"])
def test_other_names_are_refused_before_any_work(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is left behind."""
    out = tmp_path / "files"
    assert main(["export", "mobilenet_v3_small", "--out", str(out), f"--name={name}"]) == 2
    assert capsys.readouterr().err.startswith("error: --name must be a name")
    assert not out.exists()


def test_a_refused_operator_is_named_by_trial_and_by_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--trial finds it without converting the network; a failed export names the same blocks, and writes nothing."""
    monkeypatch.setattr(onnx_format, "write", no_hard_swish)
    monkeypatch.setattr(onnx_format, "RUNS_NOT_HERE", "not in this test")
    save_trained(tmp_path / "net", trained_digits())
    assert main(["export", str(tmp_path / "net"), "--trial"]) == 1
    named = "ONNX cannot express mbconv with activation hswish, stride 2, gate hsigmoid (blocks 2)"
    assert named in capsys.readouterr().out
    assert main(["export", str(tmp_path / "net"), "--out", str(tmp_path / "files")]) == 1
    assert named in capsys.readouterr().err
    assert not list((tmp_path / "files").iterdir())


def test_a_trial_that_passes_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And its exit code is that of success."""
    save_trained(tmp_path / "net", trained_digits())
    assert main(["export", str(tmp_path / "net"), "--trial"]) == 0
    assert "every kind of block of net can be expressed" in capsys.readouterr().out


def test_a_network_is_found_by_what_it_is_called(tmp_path: Path) -> None:
    """A folder, a published name, a file; a pick makes sense for runs alone, and an empty folder holds nothing."""
    save_trained(tmp_path / "net", trained_digits())
    trained = find_network(str(tmp_path / "net"))
    assert (trained.name, trained.architecture, trained.fully_trained) == ("net", DIGITS, True)
    published = find_network("mobilenet_v3_small")
    assert (published.weights, published.labels, published.preprocessing) == (None, None, None)
    with pytest.raises(NasError, match="--pick chooses a network of a run"):
        find_network("mobilenet_v3_small", pick="knee")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NasError, match="must hold a trained network"):
        find_network(str(tmp_path / "empty"))
