"""Tests of pruning, and of `python -m nas.deploy prune`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nas.accuracy.data.load import load_dataset
from nas.accuracy.training.settings import TrainingSettings
from nas.accuracy.training.tuning import tune
from nas.deploy.__main__ import main
from nas.deploy.pruning.narrowing import NarrowingStart
from nas.deploy.pruning.prune import (
    LEAST_SHARE,
    NetworkFacts,
    check_drop,
    compare_networks,
    count_macs,
    keep_zeros,
    pruned_architecture,
    sparse_weights,
    sparsity_of,
)
from nas.deploy.trained import TrainedNetwork, load_trained, save_trained
from nas.errors import NasError, RunFailedError
from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.networks.channels import channel_sets
from nas.networks.operators import estimate_costs
from nas.networks.references import reference
from tests.deploy.small_networks import SMALL, trained_small


@pytest.fixture(scope="module")
def trained() -> TrainedNetwork:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    network = trained_small(resolution=96)
    torch.set_num_threads(threads)
    return network


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large"])
@pytest.mark.parametrize("share", [0.8, 0.5])
def test_channels_go_until_the_budget_is_met(name: str, share: float) -> None:
    """And not far below it; no set gets wider or nearly empty, and squeeze layers follow their block."""
    architecture = reference(name)
    weights = build_network(architecture).state_dict()
    pruned = pruned_architecture(architecture, weights, count_macs, share * count_macs(architecture))
    assert 0.9 * share < count_macs(pruned) / count_macs(architecture) <= share
    assert estimate_costs(pruned).params < estimate_costs(architecture).params
    for before, after in zip(channel_sets(architecture).sets, channel_sets(pruned).sets, strict=True):
        assert LEAST_SHARE * before.channels <= after.channels <= before.channels


def test_what_matters_least_goes_first() -> None:
    """An expansion whose weights are small loses channels before its twin."""
    twin = replace(
        SMALL, blocks=(*SMALL.blocks[:2], *[replace(SMALL.blocks[2], se_channels=0, se_gate="")] * 2, *SMALL.blocks[3:])
    )
    weights = {name: tensor.clone() for name, tensor in build_network(twin).state_dict().items()}
    for name, tensor in weights.items():
        if name in ("3.layers.0.0.weight", "3.layers.1.0.weight"):
            tensor[::2] *= 1e-4
        if name == "3.layers.2.0.weight":
            tensor[:, ::2] *= 1e-4
    pruned = pruned_architecture(twin, weights, count_macs, 0.95 * count_macs(twin))
    assert pruned.blocks[3].hidden_channels < pruned.blocks[2].hidden_channels == 120


def test_budgets_out_of_reach_are_refused() -> None:
    """A target that would nearly empty a layer is refused."""
    with pytest.raises(RunFailedError, match=r"cannot be reached with a share of 0\.2 of each set"):
        pruned_architecture(SMALL, build_network(SMALL).state_dict(), count_macs, 0.01 * count_macs(SMALL))


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9])
def test_the_smallest_weights_become_zero(sparsity: float) -> None:
    """Exactly that share, over all layers together; other weights, biases and normalisations stay."""
    weights = build_network(SMALL).state_dict()
    sparse = sparse_weights(weights, sparsity)
    assert sparsity_of(sparse) == pytest.approx(sparsity, abs=1e-4)
    remaining = torch.cat([t[sparse[n] != 0].abs() for n, t in weights.items() if t.ndim >= 2])
    gone = torch.cat([t[sparse[n] == 0].abs() for n, t in weights.items() if t.ndim >= 2])
    assert gone.max() <= remaining.min()
    assert all(torch.equal(sparse[n], t) for n, t in weights.items() if t.ndim < 2)
    with pytest.raises(NasError, match="between 0 and 1"):
        sparse_weights(weights, 1.0)


def test_zeros_stay_while_training() -> None:
    """And the other weights learn."""
    network = build_network(SMALL)
    network.load_state_dict(sparse_weights(network.state_dict(), 0.7))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    settings = TrainingSettings(batch_size=32, device="cpu")
    digits = load_dataset("digits", image_size=16, max_images=100).at(16)
    tune(network, digits, settings, steps=3, seed=0, after_step=keep_zeros(network))
    assert sparsity_of(network.state_dict()) == pytest.approx(sparsity_of(before))
    weight, was = network.state_dict()["3.0.weight"], before["3.0.weight"]
    assert torch.equal(weight == 0, was == 0)
    assert not torch.equal(weight, was)


def test_facts_are_the_networks(trained: TrainedNetwork) -> None:
    """Sizes of real files, times of real runs; a sparse file packs better and is no smaller."""
    sparse = sparse_weights(trained.weights, 0.8)
    before, after, ratio = compare_networks(
        (trained.architecture, trained.weights, 90.0),
        (trained.architecture, sparse, 80.0),
        count_macs,
        runs=3,
        threads=1,
    )
    assert ratio is not None
    assert ratio > 0
    assert before.params == after.params == estimate_costs(trained.architecture).params
    assert abs(before.size_bytes - after.size_bytes) < 100
    assert after.packed_bytes < 0.6 * before.packed_bytes
    assert after.sparsity == pytest.approx(0.8, abs=1e-3)
    assert before.measured is not None
    assert len(before.measured.samples_ms) == 3
    json.dumps(before.to_json())


@pytest.mark.parametrize("after", [88.9, float("nan")])
def test_bad_results_are_refused(after: float) -> None:
    """A fall beyond the limit, and NaN."""
    facts = NetworkFacts(90.0, 1, 1, 1, 1, 0.0, 1.0, None)
    check_drop(facts, replace(facts, top1=89.5), 1.0)
    with pytest.raises(RunFailedError, match=r"top-1 fell by .* --allow"):
        check_drop(facts, replace(facts, top1=after), 1.0)


def test_the_command_says_what_was_lost_and_won(
    trained: TrainedNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Too much is refused and nothing written; allowed, it is a trained network that is smaller and faster."""
    save_trained(tmp_path / "small", trained)
    words = ["prune", str(tmp_path / "small"), "--data", "digits", "--out", str(tmp_path / "out"), "--runs", "3"]
    words += ["--resolution", "16", "--share", "0.6", "--of", "macs", "--rate", "0.01"]
    assert main([*words, "--most-drop", "0"]) == 1
    assert "nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*words, "--allow"]) == 0
    assert "measured latency: " in capsys.readouterr().out
    pruned, facts = load_trained(tmp_path / "out"), json.loads((tmp_path / "out" / "pruned.json").read_text())
    assert count_macs(pruned.architecture) == facts["after"]["macs"] <= 0.6 * facts["before"]["macs"]
    assert facts["after"]["size_bytes"] < facts["before"]["size_bytes"]
    assert facts["after"]["table_ms"] < facts["before"]["table_ms"]
    assert main([*words, "--allow"]) == 2
    assert "--out must be a new or an empty folder" in capsys.readouterr().err


@pytest.mark.parametrize(("validation", "test", "code"), [(0.5, 40.0, 0), (40.0, 0.5, 1)])
def test_validation_images_decide(
    validation: float,
    test: float,
    code: int,
    trained: TrainedNetwork,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loss on test images is printed, but does not decide whether the network is kept."""
    save_trained(tmp_path / "small", trained)

    def top1(
        start: NarrowingStart, architecture: Architecture, weights: Mapping[str, torch.Tensor]
    ) -> dict[str, float]:
        assert list(start.splits) == ["validation", "test"]
        lost = float(sparsity_of(weights) > 0.1)
        return {"validation": 90 - lost * validation, "test": 90 - lost * test}

    monkeypatch.setattr(NarrowingStart, "top1", top1)
    words = ["prune", str(tmp_path / "small"), "--data", "digits", "--out", str(tmp_path / "out"), "--runs", "0"]
    assert main([*words, "--resolution", "16", "--sparsity", "0.5"]) == code
    caught = capsys.readouterr()
    if code:
        assert "top-1 fell by 40.00 points" in caught.err
    else:
        assert "top-1 is on the validation images; on the test images it is 90.00 and 50.00 %" in caught.out


def test_sparse_networks_are_said_to_be_no_faster(
    trained: TrainedNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the share that is 0."""
    save_trained(tmp_path / "small", trained)
    words = ["prune", str(tmp_path / "small"), "--data", "digits", "--out", str(tmp_path / "out"), "--runs", "0"]
    assert main([*words, "--resolution", "16", "--sparsity", "0.5", "--allow"]) == 0
    out = capsys.readouterr().out
    assert "% of the weights are 0: the file packs better, but runs no faster here" in out
    assert sparsity_of(load_trained(tmp_path / "out").weights) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--share", "1"], "--share must be between 0 and 1, but got 1"),
        (["--sparsity", "0"], "--sparsity must be between 0 and 1, but got 0"),
        (["--share", "0.5", "--most-drop", "-1"], "--most-drop must be from 0 to 100 points"),
        (["--share", "0.5", "--runs", "-1"], "--runs must be at least 0"),
        (["--share", "0.5", "--epochs", "0"], "--epochs must be a whole number from 1 to 10000, but got 0"),
        (["--share", "0.5", "--batch-size", "70000"], "--batch-size must be a whole number from 2 to 65536, but got"),
    ],
)
def test_bad_words_are_explained(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with exit code 2."""
    out = str(tmp_path / "out")
    assert main(["prune", "small", "--data", "digits", "--out", out, *words]) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")
