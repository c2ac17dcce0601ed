"""A folder of images becomes a data set; one of another structure, or with broken images, is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.accuracy.data.load import Dataset, load_dataset, load_test_split
from nas.errors import NasError
from tests.accuracy.helpers import write_folder, write_image


def load(root: Path, size: int = 8, **options: int) -> Dataset:
    return load_dataset(f"folder:{root}", image_size=size, **options)


def test_val_is_used_and_test_is_not_read(tmp_path: Path) -> None:
    """With val/, its images are the validation images; a broken test/ does not matter."""
    write_folder(tmp_path, {"train": 3, "val": 2})
    (tmp_path / "test" / "cat").mkdir(parents=True)
    (tmp_path / "test" / "cat" / "x.png").write_bytes(b"broken")
    dataset = load(tmp_path)
    assert (len(dataset.train), len(dataset.val), dataset.classes) == (6, 4, ("cat", "dog"))
    assert dataset.train.images.shape == (6, 3, 8, 8)
    assert dataset.train.images[:, 1, 0, 0].tolist() == [100 * label for label in dataset.train.labels.tolist()]


def test_without_val_a_part_of_train_is_held_out(tmp_path: Path) -> None:
    """With test/ only, a fifth of each class of train/ is held out for validation."""
    write_folder(tmp_path, {"train": 10, "test": 1})
    dataset = load(tmp_path)
    numbers = [
        {*zip(s.images[:, 0, 0, 0].tolist(), s.labels.tolist(), strict=True)} for s in (dataset.train, dataset.val)
    ]
    assert [len(split) for split in numbers] == [16, 4]
    assert not numbers[0] & numbers[1]
    assert dataset.val.labels.tolist() == [0, 0, 1, 1]
    assert torch.equal(load(tmp_path).val.images, dataset.val.images)


def test_test_split_is_read_when_asked_for(tmp_path: Path) -> None:
    """test/ has its own loader."""
    write_folder(tmp_path, {"train": 2, "test": 3})
    assert len(load_test_split(f"folder:{tmp_path}", image_size=8)) == 6


def test_max_images_is_drawn_from_each_class(tmp_path: Path) -> None:
    """Four of twelve training images: two of each class."""
    write_folder(tmp_path, {"train": 6, "val": 1})
    assert load(tmp_path, max_images=4).train.labels.tolist() == [0, 0, 1, 1]


def test_the_centre_square_is_kept(tmp_path: Path) -> None:
    """Of a wide image the middle square is kept."""
    write_folder(tmp_path, {"train": 1, "val": 1})
    wide = Image.new("RGB", (30, 10), (255, 0, 0))
    wide.paste((0, 0, 255), (10, 0, 20, 10))
    wide.save(tmp_path / "train" / "cat" / "0.png")
    image = load(tmp_path, size=10).train.images[0]
    assert image[:, :, 1:-1].float().mean((1, 2)).tolist() == [0, 0, 255]


def test_images_are_turned_upright(tmp_path: Path) -> None:
    """EXIF orientation 6: the stored image must be turned right by 90 degrees."""
    write_folder(tmp_path, {"train": 1, "val": 1})
    image = Image.new("RGB", (8, 8), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 4, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "train" / "cat" / "0.png", exif=exif)
    upright = load(tmp_path).train.images[0]
    assert upright[:, :4].min() == 255
    assert upright[:, 4:].max() == 0


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    """Grey, palette, transparent and print colours all have three channels afterwards."""
    write_folder(tmp_path, {"train": 1, "val": 1})
    (tmp_path / "train" / "cat" / "0.png").unlink()
    Image.new("RGB", (9, 9), (255, 255, 255)).convert(mode).save(tmp_path / "train" / "cat" / "0.tiff")
    assert load(tmp_path).train.images[0].min() >= 250


@pytest.mark.parametrize(
    ("dtype", "ending"), [("uint16", "png"), ("uint16", "tiff"), (">u2", "tiff"), ("int32", "tiff")]
)
def test_grey_of_16_bits_is_scaled(tmp_path: Path, dtype: str, ending: str) -> None:
    """Half of white stays half of white."""
    write_folder(tmp_path, {"train": 1, "val": 1})
    (tmp_path / "train" / "cat" / "0.png").unlink()
    halves = np.full((8, 8), 32768, dtype=dtype)
    halves[:, 4:] = 65535
    Image.fromarray(halves).save(tmp_path / "train" / "cat" / f"0.{ending}")
    image = load(tmp_path).train.images[0]
    assert image[:, :, :4].unique().tolist() == [128]
    assert image[:, :, 4:].unique().tolist() == [255]


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.full((8, 8), 0.5, dtype="float32"), "mode F: floating-point pixels"),
        (np.full((8, 8), 70_000, dtype="int32"), "mode I: pixels must be 0 to 65535, but are 70000 to 70000"),
        (np.full((8, 8), -1, dtype="int32"), "mode I: pixels must be 0 to 65535, but are -1 to -1"),
    ],
)
def test_grey_without_a_known_white_is_refused(tmp_path: Path, pixels: np.ndarray, reason: str) -> None:
    """The image is named, and why."""
    write_folder(tmp_path, {"train": 1, "val": 1})
    Image.fromarray(pixels).save(tmp_path / "train" / "cat" / "1.tiff")
    with pytest.raises(NasError, match=rf"1\.tiff \({reason}"):
        load(tmp_path)


def test_hidden_folders_are_passed_over(tmp_path: Path) -> None:
    """Thumbnails below a class folder are no images; a hidden folder above it does not matter."""
    root = write_folder(tmp_path / ".data", {"train": 1, "val": 1})
    write_image(root / "train" / "cat" / ".thumbs" / "deep" / "1.png", (1, 2, 3))
    assert load(root).train.labels.tolist() == [0, 1]


@pytest.mark.parametrize("size", [(20_000, 2), (2, 20_000)])
def test_a_narrow_image_is_cropped_before_it_is_resized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    """Nothing larger than the result is made of it."""
    write_folder(tmp_path, {"train": 1, "val": 1})
    write_image(tmp_path / "train" / "cat" / "0.png", (9, 8, 7), size)
    resize = Image.Image.resize
    made = []

    def seen(image: Image.Image, to: tuple[int, int], *arguments: object, **options: object) -> Image.Image:
        made.append(to)
        return resize(image, to, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "resize", seen)
    assert load(tmp_path, size=64).train.images[0, :, 0, 0].tolist() == [9, 8, 7]
    assert set(made) == {(64, 64)}


def test_images_below_class_folders_and_upper_case_endings_count(tmp_path: Path) -> None:
    """Class folders may have folders of their own."""
    write_folder(tmp_path, {"train": 1, "val": 1})
    write_image(tmp_path / "train" / "cat" / "deep" / "er" / "1.PNG", (1, 2, 3))
    assert load(tmp_path).train.labels.tolist() == [0, 0, 1]


def test_missing_folder(tmp_path: Path) -> None:
    """The message says so."""
    with pytest.raises(NasError, match=r"there is no folder .*nowhere"):
        load(tmp_path / "nowhere")


def test_no_train(tmp_path: Path) -> None:
    """What is there instead is listed."""
    write_folder(tmp_path, {"val": 1, "pictures": 1})
    with pytest.raises(NasError, match=r"must hold train/ .* but holds pictures/, val/"):
        load(tmp_path)


def test_neither_val_nor_test(tmp_path: Path) -> None:
    """Scores need images that are not trained on."""
    write_folder(tmp_path, {"train": 2})
    with pytest.raises(NasError, match="must hold val/ or test/ beside train/, but has neither"):
        load(tmp_path)


def test_one_class(tmp_path: Path) -> None:
    """A single class cannot be classified."""
    write_folder(tmp_path, {"train": 2, "val": 2}, classes=("cat",))
    with pytest.raises(NasError, match=r"at least two class folders .*, but holds one, cat"):
        load(tmp_path)


def test_no_images(tmp_path: Path) -> None:
    """Folders without an image."""
    write_folder(tmp_path, {"train": 1, "val": 1})
    for path in (tmp_path / "train").rglob("*.png"):
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(NasError, match=r"train must hold images, but there are none. Known endings: .*\.jpg"):
        load(tmp_path)


def test_empty_class(tmp_path: Path) -> None:
    """One class folder without an image is named."""
    write_folder(tmp_path, {"train": 1, "val": 1})
    shutil.rmtree(tmp_path / "val" / "dog")
    (tmp_path / "val" / "dog").mkdir()
    with pytest.raises(NasError, match="val must hold images, but there are none in dog"):
        load(tmp_path)


def test_other_classes_in_val(tmp_path: Path) -> None:
    """Classes that are missing and classes that are new are both named."""
    write_folder(tmp_path, {"train": 1})
    write_folder(tmp_path, {"val": 1}, classes=("cat", "cow", "hen"))
    with pytest.raises(NasError, match="val must have the class folders of train/, but lacks dog and has cow, hen"):
        load(tmp_path)


def test_other_classes_in_test(tmp_path: Path) -> None:
    """The same holds for test/ when it is read."""
    write_folder(tmp_path, {"train": 1, "val": 1})
    write_folder(tmp_path, {"test": 1}, classes=("cat",))
    with pytest.raises(NasError, match="test must have the class folders of train/, but lacks dog"):
        load_test_split(f"folder:{tmp_path}", image_size=8)


def test_too_small_to_hold_out(tmp_path: Path) -> None:
    """One image of a class cannot be both trained on and scored with."""
    write_folder(tmp_path, {"train": 3, "test": 1})
    for number in (1, 2):
        (tmp_path / "train" / "dog" / f"{number}.png").unlink()
    with pytest.raises(NasError, match=r"at least 2 images of each class.*fewer of dog"):
        load(tmp_path)


@pytest.mark.parametrize("broken", [1, 10, 13])
def test_unreadable_images_are_named(tmp_path: Path, broken: int) -> None:
    """Up to ten by name and the rest by count; truncated files too."""
    write_folder(tmp_path, {"train": 15, "val": 1})
    for number in range(broken):
        path = tmp_path / "train" / "cat" / f"{number}.png"
        path.write_bytes(path.read_bytes()[:50] if number % 2 else b"not an image")
    with pytest.raises(NasError, match=f"{broken} of 32 images cannot be read") as raised:
        load(tmp_path)
    assert str(raised.value).count(".png (") == min(broken, 10)
    assert ("and 3 more" in str(raised.value)) == (broken == 13)


def test_truncated_jpeg_is_refused(tmp_path: Path) -> None:
    """Half of a photograph is not shown to the network as a grey-bottomed whole."""
    write_folder(tmp_path, {"train": 1, "val": 1})
    path = tmp_path / "train" / "cat" / "1.jpg"
    Image.effect_noise((64, 64), 80).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(NasError, match=r"1\.jpg"):
        load(tmp_path)
