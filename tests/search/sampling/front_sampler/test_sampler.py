"""The sampler that learns one objective and knows the others, in Optuna studies."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, MultiObjectiveSamplerTestCase, RelativeSamplerTestCase
from optuna.trial import TrialState

from nas.errors import NasError
from nas.search.sampling.front_sampler.learner import fitted_at
from nas.search.sampling.front_sampler.problem import Problem, on_params
from nas.search.sampling.front_sampler.proposal import SpaceExhaustedError
from nas.search.sampling.front_sampler.sampler import FrontSampler
from nas.search.trial import PREDICTED

Array = NDArray[Any]
SPACE: dict[str, BaseDistribution] = {
    "a": CategoricalDistribution(("x", "y", "z")),
    "b": IntDistribution(0, 4),
    "c": FloatDistribution(0.0, 1.0, step=0.25),
}


def cost(rows: Array) -> Array:
    """What is known: the sum of the choices' numbers, after a column for what is not."""
    return np.column_stack([np.full(len(rows), np.nan), 1.0 + rows.sum(axis=1)])


def score(trial: optuna.Trial) -> tuple[float, float]:
    """Grows with the cost, unevenly."""
    a = trial.suggest_categorical("a", ("x", "y", "z"))
    b, c = trial.suggest_int("b", 0, 4), trial.suggest_float("c", 0.0, 1.0, step=0.25)
    return 50 + {"x": 0, "y": 12, "z": 14}[a] + 5 * math.sqrt(b) + 4 * c, 1.0 + "xyz".index(a) + b + 4 * c


def study_of(problem: Problem, seed: int = 0, **options: Any) -> optuna.Study:
    return optuna.create_study(directions=["maximize", "minimize"], sampler=FrontSampler(problem, seed=seed, **options))


def params_of(study: optuna.Study) -> list[dict[str, Any]]:
    return [trial.params for trial in study.trials]


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


class TestContract(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    """Optuna's own contract, in spaces that the sampler was not made for."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: FrontSampler(Problem(SPACE, cost))


def test_a_parameter_that_was_fixed_stays_fixed() -> None:
    """Optuna's PartialFixedSampler around it asks for the others alone, which are then drawn at random."""
    study = study_of(Problem(SPACE, cost))
    study.optimize(score, n_trials=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.sampler = optuna.samplers.PartialFixedSampler({"b": 3}, study.sampler)
    study.optimize(score, n_trials=3)
    assert [params["b"] for params in params_of(study)[-3:]] == [3, 3, 3]


def test_finds_the_front_of_a_space_that_it_sees_a_third_of() -> None:
    """All of the best front's hypervolume but 1 % within 25 of 75 members."""
    from nas.search.pareto import hypervolume

    def volume(values: list[tuple[float, float]]) -> float:
        return hypervolume([(-top, spent) for top, spent in values], (-50.0, 12.0))

    everything = [
        score(optuna.trial.FixedTrial({"a": a, "b": b, "c": c}))  # type: ignore[arg-type]
        for a in "xyz"
        for b in range(5)
        for c in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    study = study_of(Problem(SPACE, cost, reference=(50.0, 12.0)))
    study.optimize(score, n_trials=25)
    found = [(t.values[0], t.values[1]) for t in study.trials]
    assert volume(found) >= 0.99 * volume(everything)


def test_same_seed_and_trials_give_the_same_proposals_whoever_lives_on() -> None:
    """A sampler made anew for each trial proposes what one that lives on does, and another seed something else."""
    problem = Problem(SPACE, cost)
    kept = study_of(problem)
    kept.optimize(score, n_trials=12)
    anew = study_of(problem)
    for _ in range(12):
        anew.sampler = FrontSampler(problem)
        anew.optimize(score, n_trials=1)
    other = study_of(problem, seed=1)
    other.optimize(score, n_trials=12)
    assert params_of(kept) == params_of(anew) != params_of(other)


def test_hyperparameters_that_are_kept_change_no_proposal() -> None:
    """After so many trials they are fitted to the first of them alone: whoever comes later fits the same."""
    assert [fitted_at(count) for count in (0, 1, 40, 43, 44, 47, 48)] == [0, 1, 40, 40, 44, 44, 48]
    problem = Problem(SPACE, cost)
    kept = study_of(problem)
    kept.optimize(score, n_trials=47)
    anew = study_of(problem)
    anew.add_trials(kept.trials[:45])
    anew.optimize(score, n_trials=2)
    assert params_of(kept) == params_of(anew)


def test_running_trials_are_never_proposed_again() -> None:
    """Many workers that ask before any has finished get members that differ, before and after there is a model."""
    study = study_of(Problem(SPACE, cost))
    first = [study.ask(SPACE) for _ in range(12)]
    for trial in first[:8]:
        study.tell(trial, score(optuna.trial.FixedTrial(trial.params)))
    second = [study.ask(SPACE) for _ in range(12)]
    members = {tuple(trial.params.values()) for trial in first + second}
    assert len(members) == 24


def test_a_proposal_is_taken_before_its_parameters_are_stored() -> None:
    """Between `ask` and the first `suggest` of another worker its proposal is known by its attribute."""
    study = study_of(Problem(SPACE, cost))
    trials = [study.ask() for _ in range(8)]
    members = {tuple(trial.relative_params.values()) for trial in trials}
    assert len(members) == 8


def test_infeasible_members_are_never_proposed() -> None:
    """Neither at the start nor by the model, nor as a start point."""
    problem = Problem(SPACE, cost, violation=lambda rows: rows.sum(axis=1) - 4.0, start=[{"a": "z", "b": 4, "c": 1.0}])
    study = study_of(problem)
    study.optimize(score, n_trials=20)
    assert max(trial.values[1] for trial in study.trials) <= 5.0


def test_start_points_come_first() -> None:
    """In their order."""
    start = [{"a": "y", "b": 2, "c": 0.5}, {"a": "x", "b": 0, "c": 0.0}]
    study = study_of(Problem(SPACE, cost, start=start))
    study.optimize(score, n_trials=4)
    assert params_of(study)[:2] == start


def test_says_what_it_expects_in_the_objectives_unit() -> None:
    """Later proposals carry a mean and a standard deviation, which hold what came in most cases."""
    study = study_of(Problem(SPACE, cost))
    study.optimize(score, n_trials=30)
    told = [(t.system_attrs[PREDICTED], t.values[0]) for t in study.trials if PREDICTED in t.system_attrs]
    assert len(told) == 24
    errors = [abs(foretold["mean"] - value) for foretold, value in told]
    assert np.median(errors) < 2.0
    assert all(foretold["std"] >= 0 for foretold, _ in told)


def test_a_few_terrible_values_do_not_ruin_the_predictions() -> None:
    """With collapsed trainings and an infinite value among them, predictions of the others stay as good."""

    def collapsing(trial: optuna.Trial) -> tuple[float, float]:
        top, spent = score(trial)
        return {4: (-math.inf, spent), 7: (0.1, spent), 11: (0.1, spent)}.get(trial.number, (top, spent))

    study = study_of(Problem(SPACE, cost))
    study.optimize(collapsing, n_trials=40)
    later = [t for t in study.trials if t.number >= 20]
    errors = [abs(t.system_attrs[PREDICTED]["mean"] - t.values[0]) for t in later]
    assert np.median(errors) < 3.0


def test_an_early_stopped_trial_counts_with_its_budget() -> None:
    """Stopped trials teach, are not proposed again, and a low score at a tenth of the budget is no full score."""

    def stopping(trial: optuna.Trial) -> tuple[float, float]:
        top, spent = score(trial)
        if trial.number % 2:
            trial.set_user_attr("partial", {"value": top - 30, "budget": 0.1})
            raise optuna.TrialPruned
        return top, spent

    study = study_of(Problem(SPACE, cost))
    study.optimize(stopping, n_trials=40)
    assert len({tuple(params.values()) for params in params_of(study)}) == 40
    # A model that took them for full scores would foretell values between 50 - 30 and 80.
    full = [t for t in study.trials if t.state == TrialState.COMPLETE and t.number >= 20]
    errors = [abs(t.system_attrs[PREDICTED]["mean"] - t.values[0]) for t in full]
    assert np.median(errors) < 4.0


def test_an_exhausted_space_is_said_to_be() -> None:
    """Every member is proposed once, then there is an error that says what to do."""
    small: dict[str, BaseDistribution] = {"a": CategoricalDistribution((1, 2, 3)), "b": IntDistribution(0, 1)}
    study = study_of(Problem(small, cost))
    for _ in range(6):
        trial = study.ask(small)
        study.tell(trial, (float(trial.params["a"]), 1.0 + trial.params["b"]))
    assert len({tuple(params.values()) for params in params_of(study)}) == 6
    with pytest.raises(SpaceExhaustedError, match=r"exhausted.*fewer trials"):
        study.ask(small)


def test_constraints_that_nothing_meets_are_said_before_anything_is_evaluated() -> None:
    """With the nearest member."""
    study = study_of(Problem(SPACE, cost, violation=lambda rows: rows.sum(axis=1) + 1.0))
    with pytest.raises(NasError, match=r"no member.*beyond them by 1 .*'b': 0"):
        study.ask(SPACE)


def test_equivalent_spellings_are_one_member() -> None:
    """What `canonical` makes one is proposed once."""

    def canonical(rows: Array) -> Array:
        spelt = rows.copy()
        spelt[rows[:, 0] == 0, 1] = 0
        return spelt

    study = study_of(Problem(SPACE, cost, canonical=canonical))
    study.optimize(score, n_trials=30)
    assert all(params["b"] == 0 for params in params_of(study) if params["a"] == "x")


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_any_number_of_objectives(count: int) -> None:
    """One learned, the others known, in any place and direction."""
    learned = count - 1

    def known(rows: Array) -> Array:
        found = np.stack([rows.sum(axis=1) + k * rows[:, 1] for k in range(count)], axis=1).astype(float)
        found[:, learned] = np.nan
        return found

    problem = Problem(SPACE, known, learned=learned)
    directions = [*["minimize"] * (count - 1), "maximize"]
    study = optuna.create_study(directions=directions, sampler=FrontSampler(problem))
    for _ in range(15):
        trial = study.ask(SPACE)
        row = np.array([problem.grid.row(trial.params)])
        top = score(optuna.trial.FixedTrial(trial.params))[0]
        study.tell(trial, [*known(row)[0, :learned], top])
    assert len({tuple(params.values()) for params in params_of(study)}) == 15


def test_bad_problems_are_refused_with_what_must_hold() -> None:
    """Before the first proposal."""
    for problem, words in (
        (Problem(SPACE, cost, learned=2), "learned must be"),
        (Problem(SPACE), "needs `known`"),
        (Problem(SPACE, cost, reference=(1.0,)), "must have 2 values"),
        (Problem(SPACE, lambda rows: np.zeros((len(rows), 5))), "must give"),
    ):
        with pytest.raises(NasError, match=words):
            study_of(problem).ask(SPACE)


def test_functions_of_dictionaries_are_asked_once_for_each_member() -> None:
    """And give what they give for rows."""
    asked: list[dict[str, Any]] = []

    def known(params: Any) -> list[tuple[float, float]]:
        asked.extend(params)
        return [(math.nan, float(one["b"])) for one in params]

    of_rows = on_params(SPACE, known)
    rows = np.array([[0, 1, 2], [1, 3, 0], [0, 1, 2]])
    assert of_rows(rows)[:, 1].tolist() == of_rows(rows)[:, 1].tolist() == [1.0, 3.0, 1.0]
    assert len(asked) == 2
