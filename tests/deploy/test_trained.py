"""Tests of writing and reading a trained network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nas.accuracy.data.augment import normalised
from nas.accuracy.data.load import load_dataset
from nas.deploy.trained import (
    NETWORK_FILE,
    WEIGHTS_FILE,
    Preprocessing,
    TrainedNetwork,
    is_trained,
    load_trained,
    save_trained,
)
from nas.errors import NasError, RunFailedError
from nas.networks.build import build_network
from tests.deploy.digits_network import DIGITS, SIDE

PREPROCESSING = Preprocessing(SIDE, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def fresh(seed: int = 0) -> TrainedNetwork:
    weights = build_network(DIGITS, seed=seed).state_dict()
    return TrainedNetwork(DIGITS, weights, tuple("0123456789"), PREPROCESSING, {"epochs": 3, "notes": ["ä"]})


def same(one: TrainedNetwork, other: TrainedNetwork) -> bool:
    facts = (one.architecture, one.labels, one.preprocessing, one.record)
    return (
        facts == (other.architecture, other.labels, other.preprocessing, other.record)
        and one.weights.keys() == other.weights.keys()
        and all(torch.equal(weight, other.weights[name]) for name, weight in one.weights.items())
    )


def test_a_network_reads_back_equal(tmp_path: Path) -> None:
    """Architecture, weights, labels, preprocessing and record survive, and nothing else is left in the folder."""
    save_trained(tmp_path / "new" / "net", fresh())
    assert same(load_trained(tmp_path / "new" / "net"), fresh())
    assert {path.name for path in (tmp_path / "new" / "net").iterdir()} == {NETWORK_FILE, WEIGHTS_FILE}
    assert is_trained(tmp_path / "new" / "net")
    assert not is_trained(tmp_path)


def test_what_is_loaded_computes_the_same(tmp_path: Path) -> None:
    """The built network has the weights, in evaluation mode."""
    save_trained(tmp_path, fresh(seed=3))
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    built = load_trained(tmp_path).build()
    assert not built.training
    assert torch.equal(built(images), build_network(DIGITS, seed=3).eval()(images))


def test_weights_in_any_memory_layout_are_saved(tmp_path: Path) -> None:
    """Training leaves channels-last weights, and tensors may share memory."""
    weights = build_network(DIGITS).to(memory_format=torch.channels_last).state_dict()
    weights["0.0.weight"] = torch.zeros(16, 3, 3, 3)[::2]
    save_trained(tmp_path, replace(fresh(), weights=weights))
    assert all(torch.equal(tensor, weights[name]) for name, tensor in load_trained(tmp_path).weights.items())


@pytest.mark.parametrize("file", [NETWORK_FILE, WEIGHTS_FILE])
@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_damaged_files_are_refused(tmp_path: Path, file: str, damage: str) -> None:
    """A file that is cut short, changed in a bit or gone is named, and no network comes of it."""
    save_trained(tmp_path, fresh())
    path = tmp_path / file
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2 if file == WEIGHTS_FILE else 0] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    with pytest.raises(NasError, match=file):
        load_trained(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("preprocessing", {**PREPROCESSING.to_json(), "mean": [0.1, 0.2, 0.4]}),
        ("labels", list("0123456798")),
        ("architecture", replace(DIGITS, blocks=(replace(DIGITS.blocks[0], stride=1), *DIGITS.blocks[1:])).to_json()),
    ],
)
def test_facts_that_were_changed_are_refused(tmp_path: Path, key: str, value: object) -> None:
    """All facts that predictions depend on are checked; a file of earlier versions, without their hash, is read."""
    save_trained(tmp_path, fresh())
    path = tmp_path / NETWORK_FILE
    data = json.loads(path.read_text())
    assert data[key] != value
    path.write_text(json.dumps({**data, key: value}))
    with pytest.raises(NasError, match=r"its sha256 is of something else.*network\.json"):
        load_trained(tmp_path)
    del data["sha256"]
    path.write_text(json.dumps(data))
    assert same(load_trained(tmp_path), fresh())


def test_a_save_that_was_killed_before_its_last_step_is_whole(tmp_path: Path) -> None:
    """Once network.json is the new one, the new weights are found under the name that they were written to."""
    save_trained(tmp_path, fresh(seed=0))
    old = (tmp_path / WEIGHTS_FILE).read_bytes()
    save_trained(tmp_path, fresh(seed=1))
    (tmp_path / WEIGHTS_FILE).rename(tmp_path / f"{WEIGHTS_FILE}.part")
    (tmp_path / WEIGHTS_FILE).write_bytes(old)
    assert same(load_trained(tmp_path), fresh(seed=1))


def test_a_full_disk_leaves_the_old_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When writing fails, the command fails, and what lay there still loads."""
    save_trained(tmp_path, fresh(seed=0))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunFailedError, match=r"cannot write the network into .*: No space left"):
        save_trained(tmp_path, fresh(seed=1))
    assert {path.name for path in tmp_path.iterdir()} == {NETWORK_FILE, WEIGHTS_FILE}
    assert same(load_trained(tmp_path), fresh(seed=0))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    """Names and shapes must be the architecture's, whatever the hash says."""
    weights = dict(fresh().weights)
    weights["0.0.weight"] = torch.zeros(9, 3, 3, 3)
    save_trained(tmp_path, replace(fresh(), weights=weights))
    with pytest.raises(NasError, match=r"1 tensors are missing, left over or of another shape, such as 0\.0\.weight"):
        load_trained(tmp_path)


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    """A later version's file is not half understood."""
    save_trained(tmp_path, fresh())
    data = json.loads((tmp_path / NETWORK_FILE).read_text())
    (tmp_path / NETWORK_FILE).write_text(json.dumps({**data, "format": 99}))
    with pytest.raises(NasError, match="must be of format 1, but is of 99"):
        load_trained(tmp_path)


def test_labels_and_resolution_must_be_the_networks() -> None:
    """A label is missing for a class, or images would come in another size: said at once."""
    with pytest.raises(NasError, match="10 classes must have as many labels, but has 2"):
        replace(fresh(), labels=("a", "b"))
    with pytest.raises(NasError, match="must give the network's 16 pixels"):
        replace(fresh(), preprocessing=replace(PREPROCESSING, resolution=32))


@pytest.mark.parametrize("std", [(0.0, 1.0, 1.0), (1.0, float("nan"), 1.0), (1.0, 1.0)])
def test_a_deviation_must_be_three_positive_numbers(std: tuple[float, ...]) -> None:
    """Dividing by nothing is refused before any image is."""
    with pytest.raises(NasError, match="std of a preprocessing must be three finite numbers above 0"):
        Preprocessing(SIDE, (0.0, 0.0, 0.0), std)  # type: ignore[arg-type]


def test_images_are_prepared_as_in_training() -> None:
    """What a deployed network is given is what it was trained on, to rounding."""
    dataset = load_dataset("digits", image_size=8)
    batch = dataset.val.images[:16]
    ours = Preprocessing.of(dataset, 8).applied(batch)
    assert torch.allclose(ours, normalised(batch, dataset.mean, dataset.std), atol=1e-5)
    assert Preprocessing.from_json(PREPROCESSING.to_json()) == PREPROCESSING
