"""Tests of classifying images with a file as torch does."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.deploy.__main__ import main
from nas.deploy.export.export import export_file
from nas.deploy.inference.model import open_exported, open_model
from nas.deploy.inference.predict import as_csv, as_json, images_in, predict, softmax
from nas.deploy.trained import save_trained
from nas.errors import NasError
from tests.deploy.digits_network import SIDE, digits, trained_digits
from tests.deploy.export.formats.test_formats import manifest

COUNT = 23


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits as image files, in two folders, at the network's resolution."""
    folder = tmp_path_factory.mktemp("photos")
    for index, image in enumerate(digits().val.images[:COUNT]):
        place = folder / ("a" if index % 2 else "b")
        place.mkdir(exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(place / f"{index:02d}.png")
    (folder / "a" / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as an ONNX file."""
    return export_file(trained_digits().build(), manifest("onnx"), tmp_path_factory.mktemp("files"))[0]


def torch_classes() -> dict[str, str]:
    """The class that torch gives each file, by the file's name."""
    with torch.no_grad():
        images = trained_digits().preprocessing.applied(digits().val.images[:COUNT])
        classes = trained_digits().build()(images).argmax(1).tolist()
    return {f"{index:02d}.png": str(label) for index, label in enumerate(classes)}


def test_a_file_sees_what_torch_sees(photos: Path, exported: Path) -> None:
    """Every image of the folders gets the label that torch gives to its pixels, whatever the size of batches."""
    images = images_in([photos])
    assert len(images) == COUNT
    seen = [predict(open_exported(exported), images, batch_size=size) for size in (1, 7, 100)]
    for predictions in seen:
        assert {Path(one.image).name: one.classes[0][0] for one in predictions} == torch_classes()
    assert [one.image for one in seen[0]] == [one.image for one in seen[1]] == [str(path) for path in images]


def test_a_trained_folder_predicts_too(photos: Path, tmp_path: Path) -> None:
    """Before any export, torch runs the network itself."""
    save_trained(tmp_path / "net", trained_digits())
    predictions = predict(open_model(str(tmp_path / "net")), images_in([photos]))
    assert {Path(one.image).name: one.classes[0][0] for one in predictions} == torch_classes()


def test_probabilities_are_the_softmax_best_first(photos: Path, exported: Path) -> None:
    """All classes add up to one, in falling order; a softmax of large logits does not overflow."""
    (one,) = predict(open_exported(exported), images_in([photos])[:1], top=99)
    shares = [share for _, share in one.classes]
    assert len(shares) == 10
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    assert softmax(np.array([[1000.0, 1000.0]], np.float32)).tolist() == [[0.5, 0.5]]


def test_json_and_csv_hold_the_same(photos: Path, exported: Path) -> None:
    """Programs and spreadsheets get each image's path, labels and probabilities."""
    predictions = predict(open_exported(exported), images_in([photos])[:3], top=2)
    rows = list(csv.DictReader(io.StringIO(as_csv(predictions))))
    for row, data, one in zip(rows, json.loads(as_json(predictions)), predictions, strict=True):
        assert row["image"] == data["image"] == one.image
        assert row["label_2"] == data["classes"][1]["label"] == one.classes[1][0]
        assert float(row["probability_1"]) == pytest.approx(data["classes"][0]["probability"], abs=1e-6)


def test_the_centre_square_of_a_photograph_counts(exported: Path, tmp_path: Path) -> None:
    """Files beside it make no difference."""
    wide = Image.new("RGB", (3 * SIDE, SIDE), (255, 0, 0))
    wide.paste(Image.fromarray(digits().val.images[0].permute(1, 2, 0).numpy()), (SIDE, 0))
    wide.save(tmp_path / "wide.png")
    (one,) = predict(open_exported(exported), [tmp_path / "wide.png"])
    assert one.classes[0][0] == torch_classes()["00.png"]


def test_a_broken_image_is_named(photos: Path, exported: Path, tmp_path: Path) -> None:
    """The error names the one file that cannot be read."""
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(NasError, match=r"(?s)1 of \d+ images cannot be read.*broken\.jpg"):
        predict(open_exported(exported), [*images_in([photos])[:2], tmp_path / "broken.jpg"])


def test_broken_images_of_all_batches_are_named_at_once(photos: Path, exported: Path, tmp_path: Path) -> None:
    """Not only those of the first batch that has one."""
    broken = [tmp_path / f"{number}.jpg" for number in range(3)]
    for path in broken:
        path.write_bytes(b"no image")
    good = images_in([photos])[:3]
    images = [path for pair in zip(good, broken, strict=True) for path in pair]
    with pytest.raises(NasError, match=r"(?s)3 of 6 images cannot be read.*0\.jpg.*1\.jpg.*2\.jpg"):
        predict(open_exported(exported), images, batch_size=2)


def test_what_lies_beside_a_trained_network_is_no_manifest(photos: Path, tmp_path: Path) -> None:
    """Most often it is the architecture that was finished, under the same name."""
    save_trained(tmp_path / "net_x0.5", trained_digits())
    (tmp_path / "net_x0.5.json").write_text(json.dumps(trained_digits().architecture.to_json()))
    assert open_model(str(tmp_path / "net_x0.5")).manifest.labels == trained_digits().labels


def test_nothing_is_picked_of_an_exported_file(exported: Path) -> None:
    """The option would have no effect."""
    with pytest.raises(NasError, match=r"net\.onnx is an exported file: leave out --pick"):
        open_model(str(exported), pick="knee")


def test_places_without_images_are_refused(tmp_path: Path) -> None:
    """An empty folder and a path that is not there are mistakes, not zero images."""
    with pytest.raises(NasError, match="there are no images in"):
        images_in([tmp_path])
    with pytest.raises(NasError, match="there is no image or folder"):
        images_in([tmp_path / "none.png"])


def test_a_model_without_preprocessing_is_refused(photos: Path, tmp_path: Path) -> None:
    """How images are prepared is not guessed."""
    unknown = replace(manifest("onnx"), preprocessing=None)
    path, _ = export_file(trained_digits().build(), unknown, tmp_path)
    with pytest.raises(NasError, match="is not recorded"):
        predict(open_exported(path), images_in([photos]))


def test_the_command_prints_each_image(photos: Path, exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table for people, JSON and CSV for programs."""
    assert main(["predict", str(exported), str(photos), "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["image", "1.", "2."]
    assert len(lines) == COUNT + 1
    assert main(["predict", str(exported), str(photos), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == COUNT
    assert main(["predict", str(exported), str(photos), "--csv"]) == 0
    assert capsys.readouterr().out.startswith("image,label_1,probability_1\n")


def test_the_command_refuses_a_changed_file(
    photos: Path, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pickle under the name of an exported file is never opened: its hash is another one."""
    path = tmp_path / exported.name
    path.write_bytes(b"cos\nsystem\n(S'touch pickled'\ntR.")
    (tmp_path / f"{exported.name}.json").write_bytes((exported.parent / f"{exported.name}.json").read_bytes())
    assert main(["predict", str(path), str(photos)]) == 2
    assert "another hash" in capsys.readouterr().err
    assert main(["predict", str(exported), str(photos), "--top", "0"]) == 2
    assert "--top must be at least 1" in capsys.readouterr().err
