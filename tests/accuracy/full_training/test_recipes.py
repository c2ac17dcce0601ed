"""Recipes are those of their papers, and wrong settings are explained."""

from __future__ import annotations

import math

import pytest

from nas.accuracy.full_training.recipes import RECIPES, Recipe, find_recipe, learning_rate_at, parse_changes
from nas.errors import ConfigError, NasError


def test_papers_learning_rates() -> None:
    """Stated there for batches of 4096 (arXiv:1905.02244, 6.1.1, and EfficientNet's code)."""
    for name, rate in (("mobilenet", 0.1), ("efficientnet", 0.256)):
        recipe = find_recipe(name, {"batch_size": 4096, "warmup_epochs": 0.0, "schedule": "exponential"})
        assert learning_rate_at(0, recipe) == pytest.approx(rate)
        assert (recipe.optimiser, recipe.momentum, recipe.weight_decay) == ("rmsprop", 0.9, 1e-5)


def test_efficientnets_steps() -> None:
    """Times 0.97 every 2.4 epochs of 350, in steps."""
    recipe = find_recipe("efficientnet", {"epochs": 350, "warmup_epochs": 0.0, "batch_size": 4096})
    rates = [learning_rate_at(2.4 * step + 0.1, recipe) for step in range(1, 140, 10)]
    assert rates == pytest.approx([0.256 * 0.97**step for step in range(1, 140, 10)], rel=0.02)
    assert learning_rate_at(2.45, recipe) == learning_rate_at(4.75, recipe)


def test_schedules_have_closed_forms() -> None:
    """A line up, then half a cosine, or a share that is left at the end; all start from the same highest rate."""
    cosine = Recipe(epochs=11, warmup_epochs=1.0, learning_rate=0.8, batch_size=64)
    assert [learning_rate_at(at, cosine) for at in (0.5, 1, 6, 11)] == pytest.approx([0.1, 0.2, 0.1, 0])
    falling = cosine.model_copy(update={"schedule": "exponential", "final_share": 0.01})
    assert [learning_rate_at(at, falling) for at in (0.5, 1, 6, 11)] == pytest.approx([0.1, 0.2, 0.02, 0.002])
    short = cosine.model_copy(update={"epochs": 2, "warmup_epochs": 50.0})
    assert learning_rate_at(1, short) == pytest.approx(0.2)
    assert math.isclose(learning_rate_at(2, short), 0, abs_tol=1e-12)


def test_the_rate_is_for_the_images_of_a_step() -> None:
    """Of which there may be fewer than a batch; where the batch fits, their number makes no difference."""
    recipe = Recipe(epochs=11, warmup_epochs=1.0, learning_rate=0.8, batch_size=1024)
    for images, rate in ((64, 0.2), (1024, 3.2), (50_000, 3.2)):
        assert learning_rate_at(1, recipe, images=images) == pytest.approx(rate)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_is_one(name: str) -> None:
    """And its settings survive JSON."""
    assert find_recipe(name, {}) == RECIPES[name]
    assert Recipe.model_validate(RECIPES[name].model_dump(mode="json")) == RECIPES[name]


def test_changes_are_read() -> None:
    """Numbers are numbers, words are words."""
    changes = parse_changes(["mixup=0.4", "epochs=7", "crop=resized", "learning_rate=5e-3"])
    recipe = find_recipe("modern", changes)
    assert (recipe.mixup, recipe.epochs, recipe.crop, recipe.learning_rate) == (0.4, 7, "resized", 0.005)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("modren", {}, "unknown recipe 'modren'. Known: modern,"),
        ("modern", {"mixpu": 1.0}, "unknown setting 'mixpu' of a recipe. Nearest: mixup,"),
        ("modern", {"epochs": 0}, "epochs of a recipe: input should be greater than or equal to 1, but got 0"),
        ("modern", {"mixup": "much"}, "mixup of a recipe: input should be a valid number, but got 'much'"),
    ],
)
def test_wrong_settings_are_explained(name: str, changes: dict[str, object], said: str) -> None:
    """In a line each."""
    with pytest.raises(NasError) as caught:
        find_recipe(name, changes)
    assert str(caught.value).startswith(said)


def test_every_wrong_setting_is_named_at_once() -> None:
    """Not the first alone."""
    with pytest.raises(ConfigError) as caught:
        find_recipe("plain", {"epochs": -1, "ema_decay": 2.0})
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("text", ["mixup", "=1", "mixup=", "a=[1"])
def test_settings_that_are_none(text: str) -> None:
    """A name, an equals sign, a value."""
    with pytest.raises(NasError, match="a setting"):
        parse_changes([text])
