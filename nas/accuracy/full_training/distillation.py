"""How does a network learn from another one?

Knowledge distillation (arXiv:1503.02531, section 2): next to the labels, the student learns the probabilities that the
teacher gives to all classes, softened by a temperature. The teacher sees the very images that the student sees, cut,
mixed and erased alike (arXiv:2106.05237).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from nas.errors import NasError

# float32 (n, 3, h, w), normalised as the student's images are, to logits (n, classes).
TeacherLogits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Teacher:
    """Who is learnt from, and how much: `alpha` is the teacher's part of the loss, the labels have the rest.

    `name` says which teacher it is, so that a training is not gone on with under another. Raises NasError for a
    temperature that is not above 0 and an alpha that is not 0 to 1.
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
        """The labels' loss and the teacher's, weighed. `images` are the student's, normalised."""
        with torch.no_grad():
            teacher_logits = self.logits(images).to(student_logits)
        taught = distillation_loss(student_logits, teacher_logits, self.temperature)
        return self.alpha * taught + (1 - self.alpha) * label_loss


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """The divergence KL(teacher || student) of the softened probabilities, mean over the batch, times T².

    The square keeps the size of the gradients whatever the temperature is (arXiv:1503.02531, section 2).
    """
    student = functional.log_softmax(student_logits / temperature, dim=1)
    teacher = functional.log_softmax(teacher_logits / temperature, dim=1)
    return functional.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2
