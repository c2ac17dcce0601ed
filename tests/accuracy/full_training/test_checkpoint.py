"""A full training resumes from its own checkpoint and from no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.accuracy.full_training.distillation import Teacher
from nas.accuracy.full_training.fine_tuning import Tuning
from nas.accuracy.full_training.train import train_to_the_end
from nas.accuracy.training.sealed_file import DamagedFileError
from nas.errors import NasError
from tests.accuracy.helpers import BARE, random_dataset, small_network


def test_damaged_checkpoints_are_refused_and_left_alone(tmp_path: Path) -> None:
    """Cut off, with a flipped bit, or something else: nothing is overwritten."""
    place = tmp_path / "c.pt"
    train_to_the_end(small_network(), random_dataset(), BARE, seed=0, checkpoint=place)
    whole = place.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (whole[:-9], bytes(flipped), b"", b"something else"):
        place.write_bytes(content)
        with pytest.raises(DamagedFileError, match=r"damaged.*left as it is.*Give another folder"):
            train_to_the_end(small_network(), random_dataset(), BARE, seed=0, checkpoint=place)
        assert place.read_bytes() == content


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, r"seed \(0 instead of 1\)"),
        ({"recipe": BARE.model_copy(update={"mixup": 0.5})}, r"recipe \(mixup: 0.0 instead of 0.5\)"),
        ({"network": small_network(5)}, "network and first weights"),
        ({"network": small_network(stride=1)}, "network and first weights"),
        ({"dataset": random_dataset(44)}, r"data \(digest: .*, train_images: 40 instead of 44"),
        ({"tuning": Tuning(layer_decay=0.5)}, "tuning"),
        ({"teacher": Teacher("t", lambda images: images.mean((2, 3))[:, :2])}, "teacher"),
    ],
)
def test_checkpoints_of_other_trainings_are_refused(change: dict[str, object], said: str, tmp_path: Path) -> None:
    """What differs is named."""
    place = tmp_path / "c.pt"
    train_to_the_end(small_network(), random_dataset(), BARE, seed=0, checkpoint=place)
    before = place.read_bytes()
    given = {"network": small_network(), "dataset": random_dataset(), "recipe": BARE, "seed": 0, **change}
    with pytest.raises(NasError, match=f"of another training: it differs in {said}"):
        train_to_the_end(**given, checkpoint=place)  # type: ignore[arg-type]
    assert place.read_bytes() == before
