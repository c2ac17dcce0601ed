"""Train a network on the outputs of another one as well as on the labels (knowledge distillation).

The student learns the teacher's probabilities of all classes, softened by a temperature (arXiv:1503.02531, section 2).
The teacher sees the same images as the student, after the same crops, mixing and erasing (arXiv:2106.05237).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from nas.errors import NasError

# From float32 images (n, 3, h, w), normalised as for the student, to logits (n, classes).
TeacherLogits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Teacher:
    """A teacher and its weight in the loss: alpha · teacher's loss + (1 − alpha) · labels' loss.

    `name` identifies the teacher, so that a training is not resumed with another one. Raises NasError for a temperature
    that is not above 0 and an alpha outside 0 to 1.
    """

    name: str
    logits: TeacherLogits
    temperature: float = 4.0
    alpha: float = 0.9

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise NasError(f"the temperature of a distillation must be a number above 0, but got {self.temperature}")
        if not 0 <= self.alpha <= 1:
            raise NasError(f"the alpha of a distillation must be 0 to 1, but got {self.alpha}")

    def loss(self, student_logits: Tensor, images: Tensor, label_loss: Tensor) -> Tensor:
        """The weighted sum of the teacher's loss and `label_loss`. `images` are the student's, normalised."""
        with torch.no_grad():
            teacher_logits = self.logits(images).to(student_logits)
        teacher_loss = distillation_loss(student_logits, teacher_logits, self.temperature)
        return self.alpha * teacher_loss + (1 - self.alpha) * label_loss


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T² · KL(teacher || student) of the probabilities softened by the temperature T, mean over the batch.

    The factor T² makes the size of the gradients independent of the temperature (arXiv:1503.02531, section 2).
    """
    student = functional.log_softmax(student_logits / temperature, dim=1)
    teacher = functional.log_softmax(teacher_logits / temperature, dim=1)
    return functional.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2
