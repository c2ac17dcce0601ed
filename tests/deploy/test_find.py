"""Tests of finding the network that NETWORK and --pick mean."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas.accuracy.score import Score
from nas.deploy.find import find_network
from nas.deploy.trained import save_trained
from nas.errors import NasError
from nas.files import write_json
from nas.latency.modelling.extend import with_modelled
from nas.latency.table import load_table
from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.networks.operators import units
from nas.networks.references import reference
from nas.search.costing import cost
from nas.search.results.result import SearchResult, Setting
from nas.search.run.directory import RunDirectory
from nas.search.run.kept import save_weights
from nas.search.trial import Trial
from tests.deploy.digits_network import DIGITS

NAMES = ("mobilenet_v3_small_075", "mobilenet_v3_small", "mobilenet_v3_large_075", "mobilenet_v3_large")


def trial(number: int, architecture: Architecture) -> Trial:
    """One that scored the better the later it is."""
    table = with_modelled(load_table("pixel_lut"), units(architecture))
    network = cost(f"trial {number}", architecture, table)
    score = Score(60 + 8.0 * number, 1, number, 1.0, "digits", 16, 1200, 300)
    return Trial(number, "complete", type(network)(**{**vars(network), "score": score}), "", 1.0)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of four networks, of which the last one's weights were kept."""
    trials = tuple(trial(number, reference(name)) for number, name in enumerate(NAMES))
    setting = Setting(
        space="mbv3",
        space_size=1,
        device="pixel_lut",
        device_conditions={},
        dataset="digits",
        trained="",
        deployed="",
        limits={},
        budgets={"latency_ms": (45.0,)},
        reference_point=(0.0, 200.0),
        experiment={},
    )
    monkeypatch.setattr("nas.search.run.load.load_result", lambda _: SearchResult(setting, trials))
    folder = RunDirectory(tmp_path / "run")
    folder.path.mkdir()
    write_json(folder.identity, {})
    save_weights(folder, 3, build_network(reference(NAMES[3])).state_dict())
    return folder.path


@pytest.mark.parametrize(
    ("pick", "name", "number"),
    [
        ("within_45ms", "run-within_45ms", 2),
        ("45ms", "run-within_45ms", 2),
        ("24ms", "run-within_24ms", 1),
        ("3", "run-trial_3", 3),
        ("trial_0", "run-trial_0", 0),
    ],
)
def test_a_pick_is_a_name_a_latency_or_a_number(run: Path, pick: str, name: str, number: int) -> None:
    """A latency means the most accurate network that keeps it (they take 14, 16, 41 and 53 ms)."""
    latencies = [trial(n, reference(NAMES[n])).network.latency.latency_ms for n in range(4)]
    assert latencies[1] < 24 < latencies[2] < 45 < latencies[3]
    network = find_network(str(run), pick=pick)
    assert (network.name, network.architecture) == (name, reference(NAMES[number]))
    assert (network.weights is None) == (number != 3)
    assert (network.labels, network.preprocessing, network.fully_trained) == (None, None, False)


def test_the_knee_is_picked_where_nothing_is_said(run: Path) -> None:
    """A network of the run, whatever it is; its weights are said to be short-trained."""
    assert find_network(str(run)).name == "run-knee"
    trained = find_network(str(run), pick="trial_3")
    assert trained.weights is not None
    network, sentence = trained.deployed()
    assert sentence == "all weights short-trained on digits at 16 pixels for 1 epoch"
    assert torch.equal(network.state_dict()["0.0.weight"], trained.weights["0.0.weight"])


@pytest.mark.parametrize(
    ("pick", "message"),
    [("1ms", "no network of this run is within 1ms"), ("best", "--pick must be knee"), ("99", "--pick must be knee")],
)
def test_other_picks_are_refused(run: Path, pick: str, message: str) -> None:
    """The error lists the picks."""
    with pytest.raises(NasError, match=message):
        find_network(str(run), pick=pick)


@pytest.mark.parametrize(("text", "what"), [("none/knee", "is not there"), ("notes.txt", "is a file of another kind")])
def test_paths_are_not_taken_for_published_names(
    text: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is missing is said to be."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(NasError, match=f"a network must be a trained network's folder.* but {text} {what}"):
        find_network(text)


def test_a_trained_network_in_a_folder_is_no_run(tmp_path: Path) -> None:
    """A pick of it is a mistake, and without one it is found."""
    from tests.deploy.digits_network import trained_digits

    save_trained(tmp_path, trained_digits())
    assert find_network(str(tmp_path)).architecture == DIGITS
    with pytest.raises(NasError, match="is not the directory of one"):
        find_network(str(tmp_path), pick="knee")
