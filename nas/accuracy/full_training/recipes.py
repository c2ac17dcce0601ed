"""Published training recipes by name, their settings, and the learning rate at each step.

Learning rates are stated for a batch of 256 images. A recipe works for a training of any length: papers state how much
the rate falls every few of some hundreds of epochs; a recipe here states the share of the rate that is left at the end.
Every setting can be changed by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from nas.accuracy.training.optimisation import REFERENCE_BATCH, scaled_learning_rate
from nas.accuracy.training.settings import Device, Precision
from nas.config import Settings, parse_value
from nas.errors import ConfigError, NasError, nearest_first, unknown_name

_Share = Field(strict=True, default=0.0, ge=0, lt=1)


class Recipe(Settings):
    """Settings of a full training.

    `batch_size` is the number of images of one step, over all processes and the `accumulate` parts that it is computed
    in; a step has all images where there are fewer. `learning_rate` is the highest of the training, for 256 images; it
    is scaled in proportion to the images of a step. It rises linearly for `warmup_epochs` (at most half of the
    training). Then it falls: `schedule: cosine` as half a cosine to 0, `exponential` smoothly to the share
    `final_share`, `step` to the same share in `decay_steps` equal steps. `weight_decay` leaves out biases and
    normalisations. `squared_decay` is the decay of RMSprop's mean of squared gradients.

    `ema_decay` above 0 scores and keeps a moving average of the weights, whose decay in the first steps is smaller:
    min(ema_decay, (1 + steps) / (10 + steps)). `crop: shift` moves an image by up to `crop_padding` of its side;
    `crop: resized` cuts out `crop_scale` to 1 of its area, which suits photographs (arXiv:1409.4842). `mirror: auto`
    mirrors images where that keeps their class. `rand_augment_layers` operations of `rand_augment_magnitude` (0 to 10)
    are applied to each image (arXiv:1909.13719). `erasing` is the probability that a rectangle is filled with noise
    (arXiv:1708.04896). `mixup` (arXiv:1710.09412) and `cutmix` (arXiv:1905.04899) are the parameters of their beta
    distributions; where both are above 0, each batch takes one of the two at random. `dropout` acts before the
    classifier. `drop_path` is the probability for the last residual block; it grows linearly from 0 over the depth
    (stochastic depth, arXiv:1603.09382).
    """

    epochs: int = Field(strict=True, default=100, ge=1, le=100_000)
    batch_size: int = Field(strict=True, default=128, ge=2, le=1_048_576)
    accumulate: int = Field(strict=True, default=1, ge=1, le=65_536)
    optimiser: Literal["sgd", "rmsprop", "adamw"] = "sgd"
    learning_rate: float = Field(strict=True, default=0.1, gt=0, le=100, allow_inf_nan=False)
    momentum: float = Field(strict=True, default=0.9, ge=0, lt=1)
    squared_decay: float = Field(strict=True, default=0.9, gt=0, lt=1)
    weight_decay: float = Field(strict=True, default=1e-5, ge=0, le=1)
    schedule: Literal["cosine", "exponential", "step"] = "cosine"
    final_share: float = Field(strict=True, default=0.01, gt=0, le=1)
    decay_steps: int = Field(strict=True, default=100, ge=1, le=100_000)
    warmup_epochs: float = Field(strict=True, default=5.0, ge=0, le=1000)
    label_smoothing: float = _Share
    ema_decay: float = _Share
    crop: Literal["shift", "resized"] = "shift"
    crop_padding: float = Field(strict=True, default=0.125, ge=0, lt=0.5)
    crop_scale: float = Field(strict=True, default=0.35, gt=0, le=1)
    mirror: Literal["auto", "always", "never"] = "auto"
    rand_augment_layers: int = Field(strict=True, default=0, ge=0, le=10)
    rand_augment_magnitude: float = Field(strict=True, default=9.0, ge=0, le=10)
    erasing: float = Field(strict=True, default=0.0, ge=0, le=1)
    mixup: float = Field(strict=True, default=0.0, ge=0, le=100)
    cutmix: float = Field(strict=True, default=0.0, ge=0, le=100)
    dropout: float = _Share
    drop_path: float = _Share
    precision: Precision = "auto"
    device: Device = "auto"


# MobileNetV3, arXiv:1905.02244, section 6.1.1: RMSProp with 0.9 momentum, rate 0.1 for batches of 4096, falling by 0.01
# every 3 epochs, dropout 0.8 (which keeps 0.8), weight decay 1e-5, EMA of 0.9999. MobileNetV2, arXiv:1801.04381,
# section 6.1: RMSProp with decay and momentum 0.9. assumption: the authors do not state the epochs; 0.99 every 3 of 600
# epochs leaves a share of 0.13, too high for the weights to settle, so the final share is EfficientNet's.
_MOBILENET = Recipe(
    optimiser="rmsprop",
    learning_rate=0.1 * REFERENCE_BATCH / 4096,
    weight_decay=1e-5,
    schedule="exponential",
    final_share=0.0118,
    dropout=0.2,
    ema_decay=0.9999,
)
# EfficientNet, arXiv:1905.11946, section 5.2: RMSProp with decay and momentum 0.9, weight decay 1e-5, rate 0.256 (for
# batches of 4096 in the authors' code), times 0.97 every 2.4 epochs of 350, stochastic depth 0.2, dropout 0.2 (B0).
# RandAugment replaces AutoAugment, as in the authors' later code.
_EFFICIENTNET = Recipe(
    optimiser="rmsprop",
    learning_rate=0.256 * REFERENCE_BATCH / 4096,
    weight_decay=1e-5,
    schedule="step",
    final_share=0.0118,  # 0.97 ** (350 / 2.4)
    decay_steps=146,
    label_smoothing=0.1,
    dropout=0.2,
    drop_path=0.2,
    rand_augment_layers=2,
    rand_augment_magnitude=9.0,
    ema_decay=0.9999,
)
# After "ResNet strikes back" (arXiv:2110.00476) and torchvision's newer recipes.
_MODERN = Recipe(
    optimiser="sgd",
    learning_rate=0.125,
    weight_decay=2e-5,
    label_smoothing=0.1,
    mixup=0.2,
    cutmix=1.0,
    rand_augment_layers=2,
    rand_augment_magnitude=7.0,
    erasing=0.1,
    drop_path=0.05,
    ema_decay=0.9998,
)

RECIPES: Mapping[str, Recipe] = {
    "mobilenet": _MOBILENET,
    "efficientnet": _EFFICIENTNET,
    "modern": _MODERN,
    "modern_adamw": _MODERN.model_copy(update={"optimiser": "adamw", "learning_rate": 0.001, "weight_decay": 0.05}),
    # Crops and mirrored images only: for unfamiliar data and short trainings.
    "plain": Recipe(learning_rate=0.4, weight_decay=1e-4, label_smoothing=0.1, warmup_epochs=1.0),
}


def find_recipe(name: str, changes: Mapping[str, Any]) -> Recipe:
    """The recipe called `name`, with `changes` to its settings.

    Raises NasError for an unknown name, ConfigError that lists every change that is not allowed.
    """
    if name not in RECIPES:
        raise NasError(unknown_name("recipe", name, RECIPES))
    try:
        return Recipe.model_validate(RECIPES[name].model_dump() | dict(changes))
    except ValidationError as error:
        raise ConfigError(
            [_problem(detail["loc"], detail["msg"], detail["input"]) for detail in error.errors()]
        ) from error


def parse_changes(texts: Sequence[str]) -> dict[str, Any]:
    """Parse settings such as "mixup=0.4". Raises NasError for text of another form."""
    changes: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise NasError(f"a setting of a recipe must be NAME=VALUE, such as mixup=0.4, but got {text!r}")
        try:
            changes[name] = parse_value(value)
        except yaml.YAMLError as error:
            raise NasError(f"the value of a setting must be a number or a word, but got {text!r}") from error
    return changes


def learning_rate_at(epochs_done: float, recipe: Recipe, *, images: int | None = None) -> float:
    """The learning rate after `epochs_done` epochs (which may be a fraction), for steps of `recipe.batch_size` images.

    With fewer training `images` than that, a step has all of them, and the rate is scaled to their number. A step uses
    the rate at its middle, so no step has a rate of 0.
    """
    batch_size = recipe.batch_size if images is None else min(recipe.batch_size, images)
    highest = scaled_learning_rate(recipe.learning_rate, batch_size)
    warmup = min(recipe.warmup_epochs, recipe.epochs / 2)
    if epochs_done < warmup:
        return highest * epochs_done / warmup
    share = (epochs_done - warmup) / (recipe.epochs - warmup)
    if recipe.schedule == "cosine":
        return highest * 0.5 * (1 + math.cos(math.pi * share))
    if recipe.schedule == "step":
        share = math.floor(share * recipe.decay_steps) / recipe.decay_steps
    return float(highest * recipe.final_share**share)


def _problem(place: Sequence[str | int], message: str, value: Any) -> str:
    name = ".".join(map(str, place))
    if name not in Recipe.model_fields:
        near = ", ".join(nearest_first(name, Recipe.model_fields)[:5])
        return f"unknown setting {name!r} of a recipe. Nearest: {near}."
    return f"{name} of a recipe: {message[0].lower()}{message[1:]}, but got {value!r}"
