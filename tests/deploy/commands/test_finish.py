"""Tests of `python -m nas.deploy finish`, and of its teachers."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.accuracy.data.load import load_dataset, load_test_split
from nas.accuracy.training.scores import score
from nas.deploy.__main__ import main
from nas.deploy.finish.finish import finished_architecture
from nas.deploy.finish.teachers import load_teacher
from nas.deploy.trained import Preprocessing, TrainedNetwork, load_trained, save_trained
from nas.errors import NasError, RunFailedError
from nas.networks.onnx_graph import onnx_bytes
from nas.networks.references import reference
from tests.deploy.small_networks import SMALL, trained_small

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = ["--recipe", "plain", "--batch-size", "64", "--set", "device=cpu", "learning_rate=0.8"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The architecture's file."""
    path = tmp_path_factory.mktemp("networks") / "small.json"
    path.write_text(json.dumps(SMALL.to_json()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained network's folder."""
    folder = tmp_path_factory.mktemp("networks") / "trained"
    save_trained(folder, trained_small())
    return folder


def finish(network: Path, out: Path, *words: str, data: str = "digits") -> int:
    return main(["finish", str(network), "--data", data, "--out", str(out), *QUICK, *words])


def write_photographs(root: Path, splits: Sequence[str], classes: Sequence[str] = ("cat", "dog")) -> str:
    rng = np.random.default_rng(0)
    for split in splits:
        for label, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for number in range(8):
                pixels = rng.integers(60 * label, 60 * label + 120, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return f"folder:{root}"


def test_what_it_leaves_is_a_trained_network(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whose scores on test images are those that it says; with curves, history and confusion."""
    out = tmp_path / "out"
    assert finish(small, out, "--epochs", "3", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    network = load_trained(out)
    dataset = load_dataset("digits", image_size=16).at(16)
    test = load_test_split("digits", image_size=16).at(16)
    scores = score(network.build(), test, dataset)
    assert (said["top1"], said["top5"], said["images"]) == (scores.top1, scores.top5, len(test))
    assert scores.top1 > 50
    assert network.preprocessing == Preprocessing.of(dataset, 16)
    assert network.record["test"]["top1"] == scores.top1
    with (out / "confusion.csv").open() as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows[1:]] == list(network.labels)
    assert np.array([row[1:] for row in rows[1:]], dtype=int).tolist() == scores.confusion.tolist()
    history = json.loads((out / "history.json").read_text())
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3]
    assert len((out / "history.csv").read_text().splitlines()) == 4
    assert max(epoch["top1"] for epoch in history) == network.record["val"]["top1"]
    for picture in ("curves.png", "confusion.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    assert load_trained(out / "last").architecture == network.architecture == SMALL
    # Once more: nothing is left to train, and the result is the same.
    before = (out / "weights.safetensors").read_bytes()
    assert finish(small, out, "--epochs", "3", "--json") == 0
    assert json.loads(capsys.readouterr().out) == said
    assert (out / "weights.safetensors").read_bytes() == before


def test_trained_longer_it_beats_short_training(trained: Path, tmp_path: Path) -> None:
    """From its own weights: a fraction of an epoch's rate improves them."""
    dataset, test = load_dataset("digits", image_size=16).at(16), load_test_split("digits", image_size=16).at(16)
    before = score(load_trained(trained).build(), test, dataset).top1
    assert finish(trained, tmp_path / "out", "--epochs", "4") == 0
    assert score(load_trained(tmp_path / "out").build(), test, dataset).top1 > before


def test_a_damaged_checkpoint_is_refused(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1; no file of the folder is touched."""
    out = tmp_path / "out"
    assert finish(small, out, "--epochs", "1") == 0
    place = out / "checkpoint.pt"
    place.write_bytes(place.read_bytes()[:-1])
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert finish(small, out, "--epochs", "1") == 1
    assert "is damaged, or is not a final training, and is left as it is" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_another_training_is_not_overwritten(
    small: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither one of other settings nor a trained network without a checkpoint."""
    assert finish(small, tmp_path / "out", "--epochs", "1") == 0
    assert finish(small, tmp_path / "out", "--epochs", "2") == 2
    assert "is of another training: it differs in recipe (epochs: 1 instead of 2)" in capsys.readouterr().err
    assert finish(small, trained, "--epochs", "1") == 2
    assert "holds a trained network without its checkpoint" in capsys.readouterr().err


def test_photographs_without_a_test_split(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is tested, and it is said; with one, those images are."""
    data = write_photographs(tmp_path / "a", ("train", "val"))
    words = ["--epochs", "1", "--batch-size", "8"]
    assert finish(small, tmp_path / "out", *words, data=data) == 0
    assert "test: none, the data has no test images" in capsys.readouterr().out
    assert load_trained(tmp_path / "out").record["test"] is None
    assert load_trained(tmp_path / "out").labels == ("cat", "dog")
    data = write_photographs(tmp_path / "b", ("train", "val", "test"))
    assert finish(small, tmp_path / "out2", *words, data=data) == 0
    assert "on 16 images never seen" in capsys.readouterr().out


def test_the_rate_follows_the_images_that_there_are(small: Path, tmp_path: Path) -> None:
    """A step of fewer images than a batch is one of so many, by its rate too."""
    data = write_photographs(tmp_path / "a", ("train", "val"))
    weights = []
    for size in ("16", "1024"):
        assert finish(small, tmp_path / size, "--epochs", "2", "--batch-size", size, data=data) == 0
        weights.append((tmp_path / size / "last" / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_strides_belong_to_a_training(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They have no weights, and make another network: nothing of the folder is touched."""
    assert finish(small, tmp_path / "out", "--epochs", "1", "--max-stride", "4") == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert finish(small, tmp_path / "out", "--epochs", "1", "--max-stride", "2") == 2
    assert "is of another training: it differs in network" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_data_of_other_classes(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused for a network that knows its classes, unless it is to get a new classifier; features are kept then."""
    data = write_photographs(tmp_path / "a", ("train", "val"))
    words = ["--epochs", "1", "--batch-size", "8", "--resolution", "16"]
    assert finish(trained, tmp_path / "out", *words, data=data) == 2
    assert "must have the 10 classes that trained was trained for, but has 2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert finish(trained, tmp_path / "out", *words, "--new-classes", "--freeze-features", data=data) == 0
    before, after = load_trained(trained).weights, load_trained(tmp_path / "out" / "last").weights
    assert torch.equal(before["0.0.weight"], after["0.0.weight"])
    assert len(after["5.1.weight"]) == 2


def test_teachers_of_both_kinds_say_the_same(trained: Path, tmp_path: Path) -> None:
    """A network's folder and its ONNX file, given images that are normalised otherwise and of another size."""
    network = load_trained(trained)
    file = tmp_path / "teacher.onnx"
    file.write_bytes(onnx_bytes(network.build(), torch.zeros(1, 3, 16, 16), name="t", any_batch_size=True))
    dataset = load_dataset("digits", image_size=16)
    for student in (dataset.at(16), dataset.at(12)):
        ours, theirs = (load_teacher(path, student, temperature=4, alpha=1, device="cpu") for path in (trained, file))
        images = torch.randn(5, 3, student.resolution, student.resolution)
        with torch.no_grad():
            difference = (ours.logits(images) - theirs.logits(images)).abs().max()
        # Resized images have nearly the same moments, which the file without a manifest is taken to be trained with.
        assert difference < (1e-3 if student.resolution == 16 else 1.0)
    other = Preprocessing(16, (0.9, 0.9, 0.9), (2.0, 2.0, 2.0))
    save_trained(tmp_path / "other", TrainedNetwork(network.architecture, network.weights, network.labels, other, {}))
    student = dataset.at(16)
    pixels = torch.rand(4, 3, 16, 16)
    wanted = network.build()((pixels - 0.9) / 2.0)
    mean, std = student.mean.view(1, 3, 1, 1) / 255, student.std.view(1, 3, 1, 1) / 255
    teacher = load_teacher(tmp_path / "other", student, temperature=4, alpha=1, device="cpu")
    torch.testing.assert_close(teacher.logits((pixels - mean) / std), wanted, atol=1e-4, rtol=1e-3)


def test_distilled_from_a_teacher(small: Path, trained: Path, tmp_path: Path) -> None:
    """The teacher is kept in the record, with temperature and alpha."""
    words = ["--epochs", "1", "--teacher", str(trained), "--temperature", "2", "--alpha", "0.5"]
    assert finish(small, tmp_path / "out", *words) == 0
    teacher = load_trained(tmp_path / "out").record["teacher"]
    assert teacher["name"].startswith("trained ")
    assert (teacher["temperature"], teacher["alpha"]) == (2.0, 0.5)


def test_teachers_that_cannot_teach(trained: Path, tmp_path: Path) -> None:
    """Of other classes, or no network at all."""
    network = load_trained(trained)
    dataset = load_dataset("digits", image_size=16)
    renamed = TrainedNetwork(network.architecture, network.weights, tuple("abcdefghij"), network.preprocessing, {})
    save_trained(tmp_path / "renamed", renamed)
    with pytest.raises(NasError, match="a teacher must know the classes of digits"):
        load_teacher(tmp_path / "renamed", dataset, temperature=4, alpha=1, device="cpu")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(RunFailedError, match="ONNX Runtime cannot load"):
        load_teacher(tmp_path / "bad.onnx", dataset, temperature=4, alpha=1, device="cpu")
    (tmp_path / "text.pth").write_text("no network")
    with pytest.raises(NasError, match=r"must be a trained network's folder or an \.onnx file, but .*text\.pth is"):
        load_teacher(tmp_path / "text.pth", dataset, temperature=4, alpha=1, device="cpu")
    with pytest.raises(NasError, match="must hold a trained network"):
        load_teacher(tmp_path / "nothing", dataset, temperature=4, alpha=1, device="cpu")


def test_networks_for_small_images() -> None:
    """Another resolution and other classes; with a largest stride the earliest strides become 1."""
    base = reference("mobilenet_v3_small")
    plain = finished_architecture(base, 10, resolution=32)
    assert (plain.resolution, plain.classes) == (32, 10)
    assert plain.blocks[:-1] == base.blocks[:-1]
    assert finished_architecture(base, 1000) == base
    small = finished_architecture(base, 10, resolution=32, max_stride=8)
    strides = [block.stride for block in small.blocks]
    assert np.prod(strides) == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mobilenet_v9"], "unknown reference network 'mobilenet_v9'"),
        (["SMALL", "--recipe", "modren"], "unknown recipe 'modren'"),
        (["SMALL", "--set", "mixpu=1"], "unknown setting 'mixpu' of a recipe"),
        (["SMALL", "--set", "mixup"], "a setting of a recipe must be NAME=VALUE"),
        (["SMALL", "--epochs", "0"], "epochs of a recipe: input should be greater than or equal to 1"),
        (["SMALL", "--pick", "knee"], "--pick chooses a network of a run"),
        (["SMALL", "--weights", "own"], "--weights own: there are no weights of small"),
        (["SMALL", "--weights", "nowhere.pth"], "--weights must be fresh, own, or a file"),
        (["SMALL", "--alpha", "0.5"], "--alpha: only with --teacher"),
        (["SMALL", "--seed", "-1"], "--seed must be a whole number"),
        (["SMALL", "--resolution", "4"], "--resolution must be at least 8 pixels"),
        (["SMALL", "--layer-decay", "0"], "layer_decay must be above 0"),
        (["SMALL", "--batch-size", "64", "--accumulate", "3"], "batch_size must be 2 or more times accumulate"),
        (["SMALL", "--data", "digit"], "unknown data set 'digit'"),
    ],
)
def test_bad_words_are_explained(
    words: list[str], said: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with exit code 2, and nothing is written."""
    network = str(small) if words[0] == "SMALL" else words[0]
    out = tmp_path / "out"
    assert main(["finish", network, "--data", "digits", "--out", str(out), *words[1:]]) == 2
    caught = capsys.readouterr()
    assert caught.err.startswith(f"error: {said}")
    assert caught.err.count("\n") == 1
    assert not out.exists()
