"""trials.csv and pareto.json hold what the search found, and read back equal."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas.errors import NasError
from nas.report.files import ParetoFront, append_trial, load_pareto, save_pareto, write_trials
from nas.search.results.frames import trial_columns
from nas.search.results.result import SearchResult
from nas.search.trial import Trial
from tests.report.searches import portfolio, search, setting, trial


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def awkward() -> list[Trial]:
    """One trial of each kind, with a reason that CSV has to quote."""
    return [
        trial(0),
        trial(1, "infeasible", 'latency_ms 70, "far"\nabove 60'),
        trial(2, "duplicate", "the same network as trial 0", seed=0),
        trial(3, "failed", "NaN <b>loss</b>, épuisé"),
    ]


def test_appended_rows_are_the_written_file(tmp_path: Path) -> None:
    """A file that grew trial by trial is, byte for byte, the one that is written at once."""
    trials = awkward()
    for one in trials:
        append_trial(tmp_path / "appended.csv", one)
    write_trials(tmp_path / "written.csv", trials)
    assert (tmp_path / "appended.csv").read_bytes() == (tmp_path / "written.csv").read_bytes()
    # Appending goes on where writing ended.
    append_trial(tmp_path / "written.csv", trial(4))
    assert [row["number"] for row in rows(tmp_path / "written.csv")] == ["0", "1", "2", "3", "4"]


def test_a_row_says_what_the_trial_was(tmp_path: Path) -> None:
    """Costs, score and sources agree with the trial; what does not exist is empty."""
    trials = awkward()
    write_trials(tmp_path / "trials.csv", trials)
    complete, infeasible, *_ = rows(tmp_path / "trials.csv")
    network = trials[0].network
    assert tuple(complete) == trial_columns()
    assert float(complete["top1"]) == pytest.approx(network.top1, rel=1e-5)
    assert float(complete["latency_ms"]) == pytest.approx(network.latency.latency_ms, rel=1e-5)
    parts = [float(complete[f"{source}_ms"]) for source in ("published", "modelled", "measured")]
    assert parts == pytest.approx(
        [network.latency.by_source[s] for s in ("published", "modelled", "measured")], rel=1e-5
    )
    assert int(complete["macs"]) == network.costs.macs
    assert complete["fingerprint"] == network.architecture.fingerprint
    assert complete["description"].startswith(f"{network.architecture.resolution}px")
    assert (infeasible["top1"], infeasible["epochs"], infeasible["seed"]) == ("", "", "")
    assert infeasible["reason"] == 'latency_ms 70, "far" above 60'


@pytest.mark.parametrize("lost", [1, 40, 200])
def test_a_row_torn_by_a_killed_process_is_cut_off(tmp_path: Path, lost: int) -> None:
    """After a kill in the middle of a row, the next row begins on a line of its own."""
    path = tmp_path / "trials.csv"
    write_trials(path, [trial(0), trial(1)])
    path.write_bytes(path.read_bytes()[:-lost])
    append_trial(path, trial(2))
    write_trials(tmp_path / "expected.csv", [trial(0), trial(2)])
    assert path.read_bytes() == (tmp_path / "expected.csv").read_bytes()


def test_a_torn_header_is_written_again(tmp_path: Path) -> None:
    """A file that was cut within its first line starts anew."""
    (tmp_path / "trials.csv").write_text("number,sta")
    append_trial(tmp_path / "trials.csv", trial(0))
    assert [row["number"] for row in rows(tmp_path / "trials.csv")] == ["0"]


def test_a_file_with_other_columns_is_refused_and_kept(tmp_path: Path) -> None:
    """Rows are never put under columns that mean something else."""
    path = tmp_path / "trials.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(NasError, match="but is a,b"):
        append_trial(path, trial(0))
    assert path.read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize("trials", [0, 1, 30])
def test_the_front_reads_back_equal(tmp_path: Path, trials: int) -> None:
    """Setting, members, references and hypervolume survive JSON."""
    result = search(trials)
    save_pareto(tmp_path / "pareto.json", result)
    loaded = load_pareto(tmp_path / "pareto.json")
    assert loaded == ParetoFront.of(result)
    assert loaded.front == result.front
    assert loaded.hypervolume == pytest.approx((result.hypervolumes() or [0.0])[-1])


def test_the_front_of_a_search_without_references_reads_back_equal(tmp_path: Path) -> None:
    """A setting alone is enough."""
    result = SearchResult(setting(budgets_ms=()), (trial(3, "failed", "NaN"),))
    save_pareto(tmp_path / "pareto.json", result)
    assert load_pareto(tmp_path / "pareto.json") == ParetoFront(result.setting, (), (), 0.0)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"setting": {"space": "x"}}'])
def test_a_damaged_front_is_one_clear_error(tmp_path: Path, content: str) -> None:
    """No traceback for a file that is not a front."""
    (tmp_path / "pareto.json").write_text(content)
    with pytest.raises(NasError, match=r"pareto\.json"):
        load_pareto(tmp_path / "pareto.json")


def test_a_front_of_an_impossible_network_is_refused(tmp_path: Path) -> None:
    """A file that was edited by hand is checked when it is read."""
    path = tmp_path / "pareto.json"
    save_pareto(path, SearchResult(setting(), (trial(0),)))
    data = json.loads(path.read_text())
    data["front"][0]["network"]["architecture"]["blocks"][0]["kernel_size"] = 4
    path.write_text(json.dumps(data))
    with pytest.raises(NasError, match="kernel_size must be odd"):
        load_pareto(path)


def test_replacing_leaves_no_other_file(tmp_path: Path) -> None:
    """Nothing but the file itself stays behind."""
    result = search(3)
    save_pareto(tmp_path / "pareto.json", result)
    save_pareto(tmp_path / "pareto.json", replace(result, trials=()))
    write_trials(tmp_path / "trials.csv", result.trials)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pareto.json", "trials.csv"]


def test_further_values_have_columns_and_read_back(tmp_path: Path) -> None:
    """Appended or written at once, each value has a column of its own name; the front reads back equal."""
    result = portfolio(5)
    further = result.setting.further
    write_trials(tmp_path / "written.csv", result.trials, further)
    write_trials(tmp_path / "appended.csv", [], further)
    for one in result.trials:
        append_trial(tmp_path / "appended.csv", one, further)
    assert (tmp_path / "appended.csv").read_bytes() == (tmp_path / "written.csv").read_bytes()
    for row, one in zip(rows(tmp_path / "written.csv"), result.trials, strict=True):
        assert {name: float(row[name]) for name in further} == {
            name: pytest.approx(one.network.values[name], rel=1e-5) for name in further
        }
    save_pareto(tmp_path / "pareto.json", result)
    assert load_pareto(tmp_path / "pareto.json") == ParetoFront.of(result)
