"""A replayed search counts the epochs that it would have trained, and only fronts that it would have known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nas.accuracy.data.load import load_dataset
from nas.accuracy.evaluators.score_cache import ScoreCache
from nas.accuracy.evaluators.short_training import ShortTraining
from nas.accuracy.training.settings import TrainingSettings
from nas.benchmarks.stopping import (
    Candidate,
    compare,
    cut_short,
    go_through,
    in_other_orders,
    main,
    record,
    save_picture,
    to_json,
)
from nas.networks.architecture import Architecture, Block
from nas.networks.proxy import ProxySettings
from nas.search.scoring.rungs import StoppingSettings

HALVING = StoppingSettings(method="halving")


def candidate(latency_ms: float, *top1: float) -> Candidate:
    return Candidate(latency_ms, dict(zip((1, 3, 9), top1, strict=True)))


CANDIDATES = [
    candidate(10, 50, 70, 90),
    candidate(10, 40, 60, 80),
    candidate(10, 30, 50, 70),
    candidate(10, 55, 65, 95),
    candidate(10, 60, 75, 99),
    candidate(10, 20, 80, 100),
]


def test_the_epochs_of_each_are_counted_to_where_it_was_stopped() -> None:
    """By hand: the first goes to the end, the next two stop at once, the fourth at the second rung; what would have
    been best was stopped, and the front does not know it.
    """
    search = go_through(CANDIDATES, HALVING, 9)
    assert search.epochs == (9, 1, 1, 3, 9, 1)
    assert search.total_epochs == 24
    assert search.front == (4,)
    whole = go_through(CANDIDATES, HALVING.model_copy(update={"method": "none"}), 9)
    assert (whole.epochs, whole.front) == ((9,) * 6, (5,))


def test_a_search_cut_short_trains_the_first_ones() -> None:
    """As many as the epochs are worth."""
    assert cut_short(CANDIDATES, 24, 9).epochs == (9, 9, 9, 0, 0, 0)


def test_shares_are_of_training_everything(tmp_path: Path) -> None:
    """By hand: 24 of 54 epochs, 89 of 90 points above chance; closer to the front the same loss weighs more."""
    comparison = compare(CANDIDATES, HALVING, 9, (-10.0, 20.0), seed=0)
    whole, halving, hyperband, _ = comparison.searches
    assert [search.name for search in comparison.searches] == ["none", "halving", "hyperband", "none, first 3"]
    assert comparison.epochs_share(halving) == pytest.approx(24 / 54)
    assert comparison.volume_share(halving) == pytest.approx(89 / 90)
    assert comparison.volume_share(halving, close=True) == 0.0
    assert comparison.volume_share(whole, close=True) == 1.0
    assert halving.total_epochs < hyperband.total_epochs < whole.total_epochs
    save_picture(tmp_path / "stopping.png", [comparison])
    assert (tmp_path / "stopping.png").read_bytes().startswith(b"\x89PNG")


def test_other_orders_are_of_the_same_candidates() -> None:
    """Training everything is the same in any order; what stopping costs and loses is not."""
    comparison = compare(CANDIDATES, HALVING, 9, (-10.0, 20.0), seed=0)
    orders = in_other_orders(comparison, HALVING, 9, 20)
    assert orders.shape == (20, 4, 3)
    assert orders[:, 0] == pytest.approx(np.ones((20, 3)))
    assert len(set(orders[:, 1, 0])) > 1
    facts = to_json([comparison], orders)
    assert [mean["search"] for mean in facts["other_orders"]] == ["none", "halving", "hyperband", "none, cut short"]
    assert facts["other_orders"][1]["least_hypervolume_share"] == orders[:, 1, 1].min()
    assert facts["as_drawn"][1]["epochs_share"] == pytest.approx(24 / 54)


def test_scores_are_recorded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every rung, the last as trained straight through; what was recorded is not trained again."""
    head = (Block("pool"), Block("linear", 10))
    network = Architecture(8, 10, (Block("conv", 8, kernel_size=3, stride=2, activation="relu"), *head))
    dataset = load_dataset("digits", image_size=8, max_images=100)
    evaluator = ShortTraining(dataset, TrainingSettings(device="cpu"), ProxySettings(resolution=8, max_stride=2), 8)
    cache = ScoreCache(tmp_path / "scores.sqlite", pytest.fail)
    top1 = record(evaluator, network, (1, 3), 0, cache)
    assert top1[3] == evaluator.evaluate(network, 3, 0).score.top1
    monkeypatch.setattr(ShortTraining, "advance", lambda *_, **__: pytest.fail("trained again"))
    assert record(evaluator, network, (1, 3), 0, cache) == top1


def test_the_command_writes_what_it_found(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From drawing to the files, which a second call finds the same; then the table instead of JSON."""
    size = {"max-images": 20, "batch-size": 20, "resolution": 8, "trials": 2, "seeds": 1, "epochs": 2, "eta": 2}
    words = [
        "--space",
        "small",
        "--device",
        "made_up",
        *(word for key, value in size.items() for word in (f"--{key}", str(value))),
    ]
    assert main([*words, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["as_drawn"][0]["epochs_share"] == 1.0
    out = workplace / "runs" / "stopping"
    assert sorted(path.name for path in out.iterdir()) == ["scores.sqlite", "stopping.json", "stopping.png"]
    assert printed == json.loads((out / "stopping.json").read_text())
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == printed
    assert main(words) == 0
    assert "written: runs/stopping/stopping.json" in capsys.readouterr().out
