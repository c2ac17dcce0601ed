"""The settings of a short training; a value without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nas.config import Settings

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]


class TrainingSettings(Settings):
    """Settings of a short training.

    `learning_rate` is the highest of the training, for a batch of 256 images; it is scaled in proportion to
    `batch_size` (arXiv:1706.02677, section 2.1). It rises linearly for `warmup_epochs`, or for half of the training
    where that is shorter. `weight_decay` leaves out biases and batch normalisation. `crop_padding` is a share of the
    image's side: 0.125 moves an image of 32 pixels by up to 4. `mirror: auto` mirrors images where that keeps their
    class. `precision: auto` is bfloat16 where the device computes it fast (AMX, recent GPUs), float16 on other GPUs,
    else float32.
    """

    epochs: int = Field(strict=True, default=3, ge=1, le=10_000)
    batch_size: int = Field(strict=True, default=32, ge=2, le=65_536)
    learning_rate: float = Field(strict=True, default=0.4, gt=0, le=100, allow_inf_nan=False)
    momentum: float = Field(strict=True, default=0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(strict=True, default=1e-4, ge=0, le=1)
    warmup_epochs: float = Field(strict=True, default=1.0, ge=0, le=1000)
    label_smoothing: float = Field(strict=True, default=0.1, ge=0, lt=1)
    crop_padding: float = Field(strict=True, default=0.125, ge=0, lt=0.5)
    mirror: Literal["auto", "always", "never"] = "auto"
    precision: Precision = "auto"
    device: Device = "auto"
