"""Error bars and probabilities are those of the model, where the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nas.search.results import noise
from nas.search.results.noise import FEW, Repeated, certainties


def test_mean_and_deviation_are_those_of_the_scores() -> None:
    """With enough scores a member has its own."""
    scores = (80.0, 81.0, 82.0, 83.0, 84.0, 85.0)
    steady = Repeated((50.0,) * 6, (1.0,))
    first, second = certainties([Repeated(scores, (2.0,)), steady])
    assert (first.mean, first.pooled, first.scores) == (82.5, False, 6)
    assert first.std == pytest.approx(np.std(scores, ddof=1))
    assert (second.std, second.low, second.high) == (0.0, 50.0, 50.0)


def test_few_scores_share_their_deviation() -> None:
    """The pooled variance weighs each by its degrees of freedom; a single score takes it too."""
    members = [Repeated((80.0, 82.0), (1.0,)), Repeated((90.0, 93.0, 96.0), (2.0,)), Repeated((95.0,), (3.0,))]
    pooled = math.sqrt((2.0 + 18.0) / 3)
    assert [c.std for c in certainties(members)] == pytest.approx([pooled] * 3)
    assert all(c.pooled for c in certainties(members))
    assert FEW > 3


def test_the_error_bar_is_students_interval() -> None:
    """For one member, the posterior is Student's t: for 4 scores 3.182 standard errors on each side."""
    scores = (88.0, 90.0, 91.0, 91.0)
    (only,) = certainties([Repeated(scores, (1.0,))], seed=1)
    half = 3.182 * np.std(scores, ddof=1) / 2
    assert only.low == pytest.approx(90 - half, rel=0.01)
    assert only.high == pytest.approx(90 + half, rel=0.01)
    assert only.on_front == 1.0


def test_more_scores_make_it_surer() -> None:
    """The error bar of four times as many is about half as wide."""
    few = certainties([Repeated((89.0, 91.0) * 4, (1.0,))])[0]
    many = certainties([Repeated((89.0, 91.0) * 16, (1.0,))])[0]
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(2, rel=0.25)


def test_the_fastest_is_always_on_the_front() -> None:
    """Nothing that costs more can dominate it, however noisy."""
    fastest, slower = certainties([Repeated((50.0, 60.0), (1.0,)), Repeated((50.0, 60.0), (2.0,))])
    assert fastest.on_front == 1.0
    assert slower.on_front == pytest.approx(0.5, abs=0.05)


def test_clear_cases_are_certain() -> None:
    """Far apart in units of their noise, slower and better or slower and worse."""
    noise = (-0.1, 0.0, 0.1)
    members = [
        Repeated(tuple(80 + e for e in noise), (1.0,)),
        Repeated(tuple(90 + e for e in noise), (2.0,)),
        Repeated(tuple(70 + e for e in noise), (3.0,)),
    ]
    assert [c.on_front for c in certainties(members)] == pytest.approx([1.0, 1.0, 0.0], abs=0.01)


def test_networks_outside_the_front_count_too() -> None:
    """One that was scored once and may be better takes some of the probability."""
    member = Repeated((89.0, 90.0, 91.0), (2.0,))
    (alone,) = certainties([member])
    (beside,) = certainties([member], rest=[Repeated((89.5,), (1.0,))])
    assert alone.on_front == 1.0
    assert 0.4 < beside.on_front < 0.8
    assert certainties([member], rest=[Repeated((99.0,), (3.0,))])[0].on_front == 1.0


def test_of_several_objectives_one_less_is_enough() -> None:
    """A better and faster network does not dominate where it is larger."""
    small = Repeated((80.0, 81.0), (2.0, 1.0))
    large = Repeated((90.0, 91.0), (1.0, 5.0))
    assert [c.on_front for c in certainties([small, large])] == [1.0, 1.0]


def test_the_probability_is_right_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the truth is drawn, as many are on the front as was said: of all, and of those that were in doubt."""
    monkeypatch.setattr(noise, "DRAWS", 300)
    rng = np.random.default_rng(0)
    called, true = [], []
    for _ in range(600):
        accuracy = rng.normal(80, 2, size=2)
        scores = accuracy[:, None] + rng.normal(0, 1, size=(2, 4))
        members = [Repeated(tuple(map(float, row)), (float(i),)) for i, row in enumerate(scores)]
        called.append(certainties(members)[1].on_front)
        true.append(accuracy[1] > accuracy[0])
    said, found = np.array(called), np.array(true)
    assert found.mean() == pytest.approx(said.mean(), abs=0.03)
    doubtful = (said > 0.55) & (said < 0.95)
    assert found[doubtful].mean() == pytest.approx(said[doubtful].mean(), abs=0.08)


def test_the_same_seed_gives_the_same() -> None:
    """The draws are seeded."""
    members = [Repeated((89.0, 90.0), (1.0,)), Repeated((89.0, 91.0), (2.0,))]
    assert certainties(members, seed=3) == certainties(members, seed=3)
    assert certainties(members, seed=3) != certainties(members, seed=4)


def test_unknown_noise_is_refused() -> None:
    """One score each says nothing of how they scatter."""
    with pytest.raises(ValueError, match="at least two scores"):
        certainties([Repeated((90.0,), (1.0,)), Repeated((91.0,), (2.0,))])
    with pytest.raises(ValueError, match="must have a score"):
        certainties([Repeated((), (1.0,))])
