"""A student learns its teacher's probabilities."""

from __future__ import annotations

import math

import pytest
import torch

from nas.accuracy.full_training.distillation import Teacher, distillation_loss
from nas.errors import NasError

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]])


def test_the_loss_is_the_divergence_written_out() -> None:
    """Of two classes: p log(p / q) + (1 - p) log((1 - p) / (1 - q)), times T²."""
    student, teacher, t = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]]), 2.0
    q, p = (1 / (1 + math.exp(-x / t)) for x in (1.0, 3.0))
    wanted = t**2 * (p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)))
    assert float(distillation_loss(student, teacher, t)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 8.0])
def test_who_says_the_same_has_nothing_to_learn(temperature: float) -> None:
    """The loss is 0 for equal logits, also up to a constant, and above 0 for others."""
    assert float(distillation_loss(LOGITS, LOGITS + 5, temperature)) == pytest.approx(0, abs=1e-5)
    assert float(distillation_loss(LOGITS, LOGITS.flip(1), temperature)) > 0.1


def test_at_high_temperature_logits_are_matched() -> None:
    """The gradient goes towards (student - teacher) / classes (arXiv:1503.02531, section 2.1)."""
    student = LOGITS.clone().requires_grad_()
    teacher = torch.tensor([[1.0, -1.0, 0.0], [0.0, 1.0, 2.0]])
    distillation_loss(student, teacher, 1000.0).backward()
    zero_mean = (LOGITS - LOGITS.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    torch.testing.assert_close(student.grad, zero_mean / 3 / len(LOGITS), atol=2e-3, rtol=0)


def test_alpha_weighs_teacher_and_labels() -> None:
    """0: the labels alone; 1: the teacher alone."""
    images, labels_loss = torch.zeros(2, 3, 4, 4), torch.tensor(0.7)
    taught = distillation_loss(LOGITS, LOGITS.flip(1), 2.0)
    for alpha, wanted in ((0.0, 0.7), (1.0, float(taught)), (0.25, 0.25 * float(taught) + 0.75 * 0.7)):
        teacher = Teacher("t", lambda _: LOGITS.flip(1), temperature=2.0, alpha=alpha)
        assert float(teacher.loss(LOGITS, images, labels_loss)) == pytest.approx(wanted)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"temperature": math.nan}, {"alpha": 1.5}, {"alpha": -0.1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    """With what they may be."""
    with pytest.raises(NasError, match="must be"):
        Teacher("t", lambda images: images, **wrong)
