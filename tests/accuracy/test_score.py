"""A score says how it was earned, and is compared with none that was earned otherwise."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from nas.accuracy.score import Score
from nas.errors import NasError

SCORE = Score(91.5, 2, 0, 3.25, "digits", 8, 1096, 401)
SYNFLOW = Score(1234.5, 0, 0, 0.0, "digits", 8, 0, 0, metric="score", rung="zero_cost")


def test_scores_of_different_budgets_are_not_comparable() -> None:
    """Epochs and images are the budget; seed and time are not."""
    assert SCORE.comparable(replace(SCORE, seed=3, seconds=9.0, value=5.0, resolution=6))
    others = (
        {"epochs": 3},
        {"budget": 9},
        {"rung": "supernet"},
        {"metric": "score"},
        {"train_images": 9},
        {"val_images": 9},
        {"dataset": "cifar10"},
    )
    for other in others:
        assert not SCORE.comparable(replace(SCORE, **other))


def test_a_partial_score_says_of_what() -> None:
    """Its share of the budget; a whole training is its own budget, and JSON of before there were rungs is whole."""
    partial = replace(SCORE, budget=8)
    assert (partial.budget_share, SCORE.budget_share) == (0.25, 1.0)
    assert Score.from_json(json.loads(json.dumps(partial.to_json()))) == partial
    before = SCORE.to_json()
    del before["budget"]
    assert Score.from_json(before) == SCORE
    with pytest.raises(NasError, match="a partial score must have a budget above its 2 epochs, but has 2"):
        replace(SCORE, budget=2)


@pytest.mark.parametrize(
    "wrong",
    [{"value": -1.0}, {"value": 101.0}, {"value": math.nan}, {"epochs": 0}, {"metric": "score", "value": math.inf}],
)
def test_impossible_scores_are_refused(wrong: dict[str, float]) -> None:
    """A score is a percentage that was earned."""
    with pytest.raises(NasError, match="must be"):
        replace(SCORE, **wrong)


def test_score_with_other_keys_is_refused() -> None:
    """Both what is missing and what is unknown are named."""
    data = SCORE.to_json() | {"colour": "blue"}
    del data["seed"]
    with pytest.raises(NasError, match=r"lacks \['seed'\] and has \['colour'\] besides"):
        Score.from_json(data)


def test_a_score_need_be_neither_a_percentage_nor_trained() -> None:
    """And is then never taken for a top-1."""
    assert Score.from_json(json.loads(json.dumps(SYNFLOW.to_json()))) == SYNFLOW
    assert not SYNFLOW.comparable(SCORE)
    with pytest.raises(ValueError, match="the metric score is no top-1"):
        _ = SYNFLOW.top1


def test_scores_of_earlier_versions_are_read() -> None:
    """They had neither metric nor rung, and a short training is still written so."""
    written = SCORE.to_json()
    assert written.keys() == {
        "top1",
        "epochs",
        "seed",
        "seconds",
        "dataset",
        "resolution",
        "train_images",
        "val_images",
        "budget",
    }
    assert next(iter(written)) == "top1"
    assert Score.from_json(written) == SCORE
    with pytest.raises(NasError, match=r"has \['top1'\] besides"):
        Score.from_json({**written, "value": 3.0})
