"""Tests of `python -m nas.deploy scale`."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nas.accuracy.evaluators.evaluator import Evaluation
from nas.accuracy.evaluators.short_training import ShortTraining
from nas.accuracy.score import Score
from nas.accuracy.training.failures import TrainingFailedError
from nas.deploy.__main__ import COMMANDS, main
from nas.latency.modelling.extend import with_modelled
from nas.latency.table import load_table
from nas.networks.architecture import Architecture, Block
from nas.networks.deployed import deployed
from nas.networks.operators import estimate_costs, units
from nas.networks.references import find_network, reference
from nas.networks.scaling import EFFICIENTNET_SCALING, CompoundScaling, compound_scale

NAME = "mobilenet_v3_small"


def scale(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """What the command prints as JSON."""
    assert main(["scale", *words, "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


def train_instantly(monkeypatch: pytest.MonkeyPatch, *, fails: bool = False) -> list[tuple[Architecture, int, int]]:
    """Larger images win, at once; returns what was asked."""
    asked: list[tuple[Architecture, int, int]] = []

    def evaluate(self: ShortTraining, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        asked.append((architecture, budget, seed))
        if fails or len(asked) == 1:
            raise TrainingFailedError("loss became nan")
        top1 = 100 * architecture.resolution / self.largest_resolution
        return Evaluation(Score(top1, budget, seed, 0.1, "digits", 16, 10, 10))

    monkeypatch.setattr(ShortTraining, "evaluate", evaluate)
    return asked


def test_without_images_it_says_that_accuracy_did_not_choose(capsys: pytest.CaptureFixture[str]) -> None:
    """EfficientNet's proportions, doubled by phi = 1; a table for people."""
    assert main(["scale", NAME, "--multiples", "0.5,1,2,4"]) == 0
    out = capsys.readouterr().out
    latency_ms = load_table("pixel_lut").estimate(reference(NAME)).latency_ms
    assert out.startswith(f"{NAME} on pixel_lut (Google Pixel 1): {latency_ms:.2f} ms, ")
    assert "not chosen by accuracy: EfficientNet's proportions" in out
    members = [line.split() for line in out[out.index("multiple") :].splitlines()[1:]]
    assert [row[0] for row in members] == ["0.5", "1", "2", "4"]
    assert [row[-1] for row in members][1:] == ["100%"] * 3


def test_the_family_is_within_its_targets(capsys: pytest.CaptureFixture[str]) -> None:
    """Latency, costs and resolution are the architecture's own, and the latency is at most the multiple."""
    data = scale(capsys, NAME, "--multiples", "0.5,1,2,4")
    assert data["scaling_by"] == "efficientnet"
    scaling = CompoundScaling(**data["scaling"])
    table = load_table("pixel_lut")
    for member, multiple in zip(data["family"], (0.5, 1, 2, 4), strict=True):
        network = Architecture.from_json(member["architecture"])
        assert network == compound_scale(reference(NAME), scaling, member["phi"])
        latency = with_modelled(table, units(network)).estimate(network).latency_ms
        assert member["latency_ms"] == latency <= multiple * data["base"]["latency_ms"]
        assert (member["params"], member["macs"]) == (estimate_costs(network).params, estimate_costs(network).macs)
        assert (member["name"], member["resolution"]) == (f"{NAME}_x{multiple:g}", network.resolution)
        assert sum(member["latency_by_source_ms"].values()) == pytest.approx(latency)
    assert data["family"][1]["fingerprint"] == reference(NAME).fingerprint
    # No grid, which would decide nothing.
    assert data["candidates"] == []


def test_images_choose_the_scaling(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The candidate with the best top-1; one that fails is told and not chosen."""
    asked = train_instantly(monkeypatch)
    words = [NAME, "--data", "digits", "--candidates", "4", "--epochs", "2", "--seed", "7"]
    data = scale(capsys, *words)
    assert len(asked) == len(data["candidates"]) == 4
    assert {(budget, seed) for _, budget, seed in asked} == {(2, 7)}
    assert data["scaling_by"] == "top-1"
    assert "2 epochs on 1,096 images of digits" in data["trained"]
    assert data["candidates"][0]["top1"] is None
    assert all(1.8 <= candidate["ratio"] <= 2.2 for candidate in data["candidates"])
    best = max(data["candidates"][1:], key=lambda candidate: candidate["resolution"])
    assert data["scaling"] == best["scaling"]
    asked.clear()
    assert main(["scale", *words]) == 0
    caught = capsys.readouterr()
    assert "chosen by top-1 after 2 epochs" in caught.out
    assert "a higher gamma is also trained on larger images" in caught.out
    assert " failed\n" in caught.out
    assert caught.err.splitlines()[0].startswith("training 1 of 4: alpha ")


def test_networks_that_cannot_be_trained_choose_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1, not the first of the grid."""
    train_instantly(monkeypatch, fails=True)
    assert main(["scale", NAME, "--data", "digits", "--candidates", "2"]) == 1
    assert "error: no network of the grid could be trained" in capsys.readouterr().err


def test_it_trains_for_real(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A small network, an epoch, two candidates."""
    blocks = (
        Block("conv", 16, 3, 2, activation="relu"),
        Block("mbconv", 16, 3, 2, 32, activation="relu"),
        Block("mbconv", 24, 3, 2, 64, activation="relu"),
        Block("pool"),
        Block("linear", 10),
    )
    path = tmp_path / "small.json"
    path.write_text(json.dumps(Architecture(96, 10, blocks).to_json()), encoding="utf-8")
    data = scale(capsys, str(path), "--data", "digits", "--candidates", "2", "--epochs", "1", "--tolerance", "0.2")
    assert data["network"] == "small"
    assert all(0 <= candidate["top1"] <= 100 for candidate in data["candidates"])


def test_a_scaling_that_is_given_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """No grid is made."""
    data = scale(capsys, NAME, "--scaling", "1.2,1.1,1.15", "--multiples", "2")
    assert (data["scaling"], data["candidates"]) == ({"alpha": 1.2, "beta": 1.1, "gamma": 1.15}, [])
    (member,) = data["family"]
    assert Architecture.from_json(member["architecture"]) == compound_scale(
        reference(NAME), EFFICIENTNET_SCALING, member["phi"]
    )
    assert main(["scale", NAME, "--scaling", "1.2,1.1,1.15"]) == 0
    assert "given, not searched for" in capsys.readouterr().out


def test_the_head_can_keep_its_width(capsys: pytest.CaptureFixture[str]) -> None:
    """As MobileNetV3's authors have it."""
    for head, kept in (("keep", True), ("scale", False)):
        data = scale(capsys, NAME, "--head", head, "--multiples", "4")
        network = Architecture.from_json(data["family"][0]["architecture"])
        assert (network.blocks[-2].out_channels == 1024) == kept


def test_what_counts_is_the_network_that_is_deployed(capsys: pytest.CaptureFixture[str]) -> None:
    """Of branches side by side one convolution is left; the architectures are those to train, with branches."""
    data = scale(capsys, "mobileone_s0", "--scaling", "1.2,1.1,1.15", "--multiples", "2")
    base = deployed(reference("mobileone_s0"))
    assert data["base"]["params"] == estimate_costs(base).params < estimate_costs(reference("mobileone_s0")).params
    (member,) = data["family"]
    network = Architecture.from_json(member["architecture"])
    assert any(block.branches for block in network.blocks)
    assert member["macs"] == estimate_costs(deployed(network)).macs
    assert (
        member["latency_ms"]
        == with_modelled(load_table("pixel_lut"), units(deployed(network))).estimate(deployed(network)).latency_ms
    )


def test_channels_are_rounded_to_the_divisor(capsys: pytest.CaptureFixture[str]) -> None:
    """All are multiples of 4, and not all of 8."""
    data = scale(capsys, NAME, "--divisor", "4", "--multiples", "1.5")
    network = Architecture.from_json(data["family"][0]["architecture"])
    channels = [block.out_channels for block in network.blocks[:-1]]
    assert all(number % 4 == 0 for number in channels)
    assert any(number % 8 for number in channels)


def test_no_tolerance_is_needed_where_nothing_is_trained(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A network that no scaling of the grid doubles has a family all the same."""
    blocks = (Block("conv", 8, 3, 2, activation="relu"), Block("pool"), Block("linear", 10))
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(Architecture(32, 10, blocks).to_json()), encoding="utf-8")
    assert main(["scale", str(path), "--data", "digits", "--tolerance", "0"]) == 1
    assert "give or take a share of 0: the nearest," in capsys.readouterr().err
    assert len(scale(capsys, str(path))["family"]) == 3


@pytest.mark.parametrize("words", [["--data", "digits"], ["--scaling", "1.2,1.1,1.15"]])
def test_a_folder_that_cannot_be_written_is_said_at_once(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before anything is trained, in one line, with exit code 1."""
    asked = train_instantly(monkeypatch)
    (tmp_path / "taken").touch()
    assert main(["scale", NAME, *words, "--out", str(tmp_path / "taken" / "family")]) == 1
    caught = capsys.readouterr()
    assert caught.err.startswith("error: cannot write into ")
    assert (caught.err.count("\n"), caught.out, asked) == (1, "", [])


def test_files_are_networks_for_every_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One for each multiple, and each can be scaled in turn."""
    data = scale(capsys, NAME, "--multiples", "0.5,2", "--out", str(tmp_path / "family"))
    paths = sorted((tmp_path / "family").iterdir())
    assert [path.name for path in paths] == [f"{NAME}_x0.5.json", f"{NAME}_x2.json"]
    for path, member in zip(paths, data["family"], strict=True):
        assert find_network(str(path)).to_json() == member["architecture"]
    assert main(["scale", str(paths[1]), "--scaling", "1,1.1,1"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mobilenet_v9"], "unknown reference network 'mobilenet_v9'"),
        ([NAME, "--device", "pixle"], "unknown device 'pixle'"),
        ([NAME, "--multiples", "1,x"], "--multiples must be numbers with commas between them, but got '1,x'"),
        ([NAME, "--multiples", "0"], "a multiple of the base's latency must be a number above 0"),
        ([NAME, "--scaling", "1.2,1.1"], "--scaling must be three numbers"),
        ([NAME, "--scaling", "1.2,1.1,0.5"], "gamma must be a number of at least 1"),
        ([NAME, "--scaling", "1,1,1.1", "--data", "digits"], "--scaling and --data exclude one another"),
        ([NAME, "--data", "digit"], "unknown data set 'digit'"),
        ([NAME, "--data", "digits", "--epochs", "0"], "--epochs must be at least 1, but got 0"),
        ([NAME, "--data", "digits", "--candidates", "0"], "a grid must keep at least 1 candidate, but got 0"),
        ([NAME, "--data", "digits", "--tolerance", "nan"], "a grid's tolerance must be a number of at least 0"),
        ([NAME, "--data", "digits", "--tolerance", "-1"], "a grid's tolerance must be a number of at least 0"),
        ([NAME, "--data", "digits", "--seed", "-1"], "--seed must be a whole number from 0 to 2147483647, but got -1"),
        ([NAME, "--data", "digits", "--seed", "2147483648"], "--seed must be a whole number from 0"),
        ([NAME, "--epochs", "0"], "--epochs: only with --data"),
        ([NAME, "--seed", "0"], "--seed: only with --data"),
        (
            [NAME, "--scaling", "1,1,1.1", "--candidates", "2", "--tolerance", "1"],
            "--candidates, --tolerance: only with",
        ),
        ([NAME, "--divisor", "0"], "the divisor of channels must be at least 1, but got 0"),
        (
            [NAME, "--multiples", "1,1.0000001"],
            "multiples must differ in their first six digits, but got 1.0 and 1.0000",
        ),
        (["mbv3"], "mbv3 is a search space, not a network: search it"),
        (["nas/deploy"], "scale takes a published network's name or an architecture's .json file, but nas/deploy is"),
        (["my_spaces/mine.yaml"], "my_spaces/mine.yaml is a search space, not a network: search it"),
        (["mobilevit_xxs"], "the cost model of the latency table pixel_lut cannot tell"),
    ],
)
def test_bad_words_are_explained(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with exit code 2, and nothing is written."""
    assert main(["scale", *words, "--out", str(tmp_path / "out")]) == 2
    caught = capsys.readouterr()
    assert caught.err.startswith(f"error: {said}")
    assert caught.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_torch_is_for_training_alone() -> None:
    """Neither help nor a family without images waits for it."""
    code = "import sys; from nas.deploy.__main__ import COMMANDS, main; main(['scale', 'mobilenet_v3_small']); "
    code += "print(sorted({'torch', 'scipy', 'optuna', 'onnxruntime'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_overview_says_what_each_subcommand_says_of_itself(name: str) -> None:
    """The overview is written by hand, so that it loads none of them."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    importlib.import_module(f"nas.deploy.commands.{name}").add_command(commands)
    (choice,) = commands._choices_actions
    assert (choice.dest, choice.help) == (name, COMMANDS[name])
