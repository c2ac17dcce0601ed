"""A search trains what is new and allowed, keeps all of it, and goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from nas.accuracy.evaluators.evaluator import Evaluation
from nas.errors import NasError, RunFailedError
from nas.files import write_json
from nas.latency.table import LatencyTable, Row, load_table, save_table
from nas.networks.architecture import Architecture
from nas.networks.deployed import deployed, has_branches
from nas.networks.operators import estimate_costs, units
from nas.networks.references import reference
from nas.networks.space.search_space import load_space
from nas.search.run.directory import RunDirectory
from nas.search.run.kept import load_weights, save_weights
from nas.search.run.load import load_result
from nas.search.run.storage import open_study
from nas.search.trial import Trial
from tests.search.conftest import FakeEvaluator, Searcher


class WithWeights(FakeEvaluator):
    """One number stands for all weights."""

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        evaluation = super().evaluate(architecture, budget, seed)
        return Evaluation(evaluation.score, {"w": torch.tensor([evaluation.score.top1])})


def fingerprints(evaluator: FakeEvaluator) -> list[str]:
    return [architecture.fingerprint for architecture in evaluator.asked]


def test_trains_as_many_networks_as_asked(searcher: Searcher) -> None:
    evaluator = FakeEvaluator()
    outcome = searcher(evaluator, trials=12)
    assert outcome.ending == "trials"
    assert len(outcome.result.completed) == len(evaluator.asked) == 12


def test_no_network_is_trained_twice(searcher: Searcher) -> None:
    evaluator = FakeEvaluator()
    searcher(evaluator, trials=60)
    assert len(set(fingerprints(evaluator))) == len(evaluator.asked) == 60


@pytest.mark.parametrize("sampler", ["front", "nsga2", "nsga3", "tpe", "gp", "random"])
def test_no_second_of_training_goes_to_a_network_over_a_limit(searcher: Searcher, sampler: str) -> None:
    evaluator = FakeEvaluator()
    result = searcher(evaluator, trials=20, sampler=sampler, limits__latency_ms=1.5, limits__params="9k").result
    assert len(result.completed) == 20
    for trial in result.completed:
        assert trial.network.latency.latency_ms <= 1.5
        assert trial.network.costs.params <= 9_000
    trained = {trial.network.architecture.fingerprint for trial in result.completed}
    assert trained == set(fingerprints(evaluator))
    for trial in result.trials:
        if trial.status == "infeasible":
            assert trial.network.score is None
            assert "is above" in trial.reason


def test_candidates_with_branches_cost_what_they_cost_when_deployed(searcher: Searcher) -> None:
    """The table has rows for what a device runs, and limits are on that; what is trained has the branches."""
    evaluator = FakeEvaluator()
    result = searcher(
        evaluator, space="branched", trials=20, sampler="random", limits__params="4k", references=["mobileone_s0"]
    ).result
    assert len(result.completed) == len(evaluator.asked) == 20
    assert sum(has_branches(architecture) for architecture in evaluator.asked) > 10
    table = load_table("made_up")
    assert not any("_n1_" in key or "_n2_" in key or "_n4_" in key for key in table.rows)
    for trial in result.completed:
        running = deployed(trial.network.architecture)
        assert trial.network.costs == estimate_costs(running)
        assert trial.network.latency == table.estimate(running)
        assert trial.network.costs.params <= 4_000
    assert any(estimate_costs(trial.network.architecture).params > 4_000 for trial in result.completed)
    by_deployed = Counter(deployed(architecture).fingerprint for architecture in evaluator.asked)
    assert max(by_deployed.values()) > 1, "other branches are another network to train"
    assert result.setting.deployed.startswith("the candidate itself, each block's branches one convolution: 32 px")


def test_a_reference_with_branches_is_covered_by_rows_of_its_deployed_form(searcher: Searcher) -> None:
    """No table has rows for what is only trained."""
    table, network = load_table("made_up"), reference("mobileone_s0")
    rows = {unit.key: Row(1.0, source="modelled") for unit in units(deployed(network))}
    prepared = searcher.prepared(FakeEvaluator(), references=["mobileone_s0"])
    assert prepared.left_out == {"mobileone_s0": "made_up"}
    save_table(LatencyTable("made_up", table.conditions, {**table.rows, **rows}), Path("latency_tables"))
    prepared = searcher.prepared(FakeEvaluator(), references=["mobileone_s0"])
    assert not prepared.left_out
    assert prepared.references[0].latency.latency_ms == len(network.blocks)
    assert prepared.references[0].costs.params == 2_078_504


def test_limits_that_nothing_meets_are_refused_before_training(searcher: Searcher) -> None:
    with pytest.raises(
        NasError, match=r"no network of the space small was found that meets the limits.*latency_ms .* is above 0\.2"
    ):
        searcher(limits__latency_ms=0.2)
    assert not searcher.run.path.exists()


def test_a_space_with_nothing_new_left_ends_the_search(searcher: Searcher) -> None:
    outcome = searcher(trials=500, limits__latency_ms=0.9)
    assert outcome.ending == "exhausted"
    trained = [trial.network.architecture for trial in outcome.result.completed]
    assert 1 < len(trained) == len(set(trained)) < 500


def test_the_same_seed_gives_the_same_trials(workplace: Path) -> None:
    first = Searcher(RunDirectory(workplace / "a"))(trials=15).result
    second = Searcher(RunDirectory(workplace / "b"))(trials=15).result
    other = Searcher(RunDirectory(workplace / "c"))(trials=15, seed=1).result
    drawn = [[t.network.architecture for t in r.trials] for r in (first, second, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_front_sampler_says_what_it_expects(searcher: Searcher) -> None:
    """Of each trial that its model proposed, and the record keeps it."""
    result = searcher(trials=12, sampler="front").result
    assert [trial.predicted is None for trial in result.trials] == [True] * 6 + [False] * 6
    mean, std = result.trials[-1].predicted or (math.nan, math.nan)
    assert std > 0
    # What is to be learned is smooth: a model that had learned nothing would be tens of points off.
    assert abs(mean - result.trials[-1].network.top1) < 15
    assert [Trial.from_json(trial.to_json()) for trial in result.trials] == list(result.trials)


@pytest.mark.parametrize("sampler", ["front", "nsga2", "tpe", "gp", "random"])
def test_a_search_in_two_parts_is_the_search_in_one(workplace: Path, sampler: str) -> None:
    whole = Searcher(RunDirectory(workplace / "whole"))(trials=20, sampler=sampler).result
    parts = Searcher(RunDirectory(workplace / "parts"))
    parts(trials=9, sampler=sampler)
    resumed = FakeEvaluator()
    result = parts(resumed, trials=20, sampler=sampler).result
    assert [t.network for t in result.trials] == [t.network for t in whole.trials]
    assert [t.status for t in result.trials] == [t.status for t in whole.trials]
    assert len(resumed.asked) == 11


def test_ctrl_c_keeps_what_was_trained_and_the_next_search_goes_on(searcher: Searcher) -> None:
    outcome = searcher(FakeEvaluator(interrupts_at=5), trials=8)
    assert outcome.ending == "interrupted"
    assert len(outcome.result.completed) == 5
    again = FakeEvaluator()
    result = searcher(again, trials=8).result
    assert len(result.completed) == 8
    assert len(again.asked) == 3
    assert result.trials[:5] == outcome.result.trials[:5]


@pytest.mark.parametrize("stopped_at", [1, 3, 5, 8, 11])
def test_a_search_stopped_within_a_tight_limit_goes_on_as_if_it_had_not(workplace: Path, stopped_at: int) -> None:
    limits = {"trials": 16, "limits__latency_ms": 0.9}
    whole = Searcher(RunDirectory(workplace / "whole"))(**limits).result
    parts = Searcher(RunDirectory(workplace / "parts"))
    assert parts(FakeEvaluator(interrupts_at=stopped_at), **limits).ending == "interrupted"
    result = parts(**limits).result
    assert [(t.status, t.network) for t in result.trials] == [(t.status, t.network) for t in whole.trials]


def test_an_error_of_torch_is_a_failed_trial(searcher: Searcher) -> None:
    class Broken(FakeEvaluator):
        def evaluate(self, architecture, budget, seed):  # type: ignore[no-untyped-def]
            if len(self.asked) == 1:
                self.asked.append(architecture)
                raise RuntimeError("could not create a primitive\nand more")
            return super().evaluate(architecture, budget, seed)

    result = searcher(Broken(), trials=4).result
    assert result.trials[1].status == "failed"
    assert result.trials[1].reason == "RuntimeError: could not create a primitive"
    assert len(result.completed) == 3


def test_a_failed_training_is_kept_with_its_reason_and_the_search_goes_on(searcher: Searcher) -> None:
    result = searcher(FakeEvaluator(fails=lambda call: call % 3 == 0), trials=9).result
    failed = [trial for trial in result.trials if trial.status == "failed"]
    assert [trial.reason for trial in failed] == [f"loss became nan in call {call}" for call in (0, 3, 6)]
    assert len(result.completed) == 6
    assert load_result(searcher.run.path).trials == result.trials


def test_training_that_always_fails_ends_the_search(searcher: Searcher) -> None:
    evaluator = FakeEvaluator(fails=lambda _: True)
    outcome = searcher(evaluator, trials=50)
    assert outcome.ending == "failing"
    assert [trial.status for trial in outcome.result.trials] == ["failed"] * 5
    assert len(evaluator.asked) == 5


def test_minutes_end_a_search(searcher: Searcher) -> None:
    evaluator = FakeEvaluator()
    assert searcher(evaluator, trials=10_000, minutes=1e-9).ending == "minutes"
    assert not evaluator.asked


def test_a_run_of_another_experiment_is_refused_and_keeps_everything(searcher: Searcher) -> None:
    before = searcher(trials=5).result
    with pytest.raises(
        NasError, match=r"belongs to another experiment: seed was 0 and is now 7; .*epochs was 3 and is"
    ):
        searcher(seed=7, training__epochs=2)
    assert load_result(searcher.run.path).trials == before.trials


def test_a_changed_space_or_table_is_another_experiment(searcher: Searcher, workplace: Path) -> None:
    searcher(trials=3)
    change_row(workplace, "small")
    with pytest.raises(NasError, match=r"tables\.made_up\.rows\.space was '.*' and is now"):
        searcher(trials=4)


def change_row(workplace: Path, space: str) -> None:
    """Another latency for a unit of the space alone, in the table made_up."""
    other = {"small": "branched", "branched": "small"}[space]
    key = next(unit.key for unit in load_space(space).units() if unit not in load_space(other).units())
    table = load_table("made_up")
    rows = {**table.rows, key: Row(9.5, source="modelled")}
    save_table(LatencyTable("made_up", table.conditions, rows), workplace / "latency_tables")


def test_a_table_that_has_grown_is_the_same(searcher: Searcher, workplace: Path) -> None:
    """Neither rows that the run does not use nor the order of the file matter."""
    before = searcher(trials=3).result
    change_row(workplace, "branched")
    table = load_table("made_up")
    more = {unit.key: Row(1.0, source="modelled") for unit in units(deployed(reference("mobileone_s0")))}
    rows = dict(reversed({**more, **table.rows}.items()))
    save_table(LatencyTable("made_up", table.conditions, rows), workplace / "latency_tables")
    assert searcher(trials=4).result.trials[:3] == before.trials


def test_a_reference_that_the_table_covers_now_belongs_to_the_run(searcher: Searcher, workplace: Path) -> None:
    """It was left out; from then on its rows count too."""
    searcher(trials=1, references=["mobileone_s0"])
    table, used = load_table("made_up"), units(deployed(reference("mobileone_s0")))
    for latency_ms, goes_on in ((1.0, True), (2.0, False)):
        rows = {unit.key: Row(latency_ms, source="modelled") for unit in used}
        save_table(LatencyTable("made_up", table.conditions, {**rows, **table.rows}), workplace / "latency_tables")
        if goes_on:
            assert len(searcher(trials=2, references=["mobileone_s0"]).result.references) == 1
        else:
            with pytest.raises(NasError, match=r"tables\.made_up\.rows\.mobileone_s0 was"):
                searcher(trials=3, references=["mobileone_s0"])


def as_format_2(run: RunDirectory) -> None:
    """What run.json held before: one digest of all rows of a table, as they stood in the file."""
    rows = repr([(key, row.latency_ms, row.source) for key, row in load_table("made_up").rows.items()])
    identity = json.loads(run.identity.read_text())
    identity["tables"]["made_up"]["rows"] = hashlib.sha256(rows.encode()).hexdigest()[:16]
    run.identity.write_text(json.dumps({**identity, "format": 2}))


def test_a_run_of_format_2_goes_on_with_the_table_that_it_had(searcher: Searcher, workplace: Path) -> None:
    """Then it is one of this format; where any row has changed it says why it does not."""
    before = searcher(trials=2).result
    as_format_2(searcher.run)
    assert load_result(searcher.run.path).trials == before.trials
    assert searcher(trials=3).result.trials[:2] == before.trials
    change_row(workplace, "branched")
    searcher(trials=3)
    as_format_2(searcher.run)
    change_row(workplace, "small")
    with pytest.raises(NasError, match=r"tables\.made_up\.rows was '.*\(An earlier version began it: it goes on only"):
        searcher(trials=4)


def test_a_folder_that_is_no_run_is_left_alone(searcher: Searcher) -> None:
    searcher.run.path.mkdir(parents=True)
    (searcher.run.path / "thesis.tex").write_text("precious")
    with pytest.raises(NasError, match=r"is not empty \(it holds thesis\.tex\)"):
        searcher()
    assert [path.name for path in searcher.run.path.iterdir()] == ["thesis.tex"]


def test_a_journal_that_is_cut_off_is_refused_unchanged_and_its_remedy_works(searcher: Searcher) -> None:
    result = searcher(trials=6).result
    journal = searcher.run.journal
    cut = journal.read_bytes()[:-40]
    journal.write_bytes(cut)
    with pytest.raises(NasError, match=r"study\.journal is damaged: line \d+ is cut off .*head -n") as error:
        searcher(trials=8)
    assert journal.read_bytes() == cut
    remedy = str(error.value).rpartition("run: ")[2]
    subprocess.run(["bash", "-c", remedy], check=True)
    assert load_result(searcher.run.path).trials == result.trials[:5]
    assert len(searcher(trials=8).result.completed) == 8


def test_a_journal_with_a_damaged_line_is_refused(searcher: Searcher) -> None:
    searcher(trials=3)
    lines = searcher.run.journal.read_bytes().splitlines()
    lines[2] = lines[2][:10]
    searcher.run.journal.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(NasError, match="line 3 is not a record"):
        searcher(trials=4)


def test_a_lock_that_a_killed_search_left_does_not_hold_up_the_next(searcher: Searcher) -> None:
    searcher(trials=3)
    lock = searcher.run.journal.with_name(searcher.run.journal.name + ".lock")
    lock.symlink_to(searcher.run.journal)
    started = time.monotonic()
    assert len(searcher(trials=4).result.completed) == 4
    assert time.monotonic() - started < 20


def test_two_searches_cannot_share_a_run(searcher: Searcher) -> None:
    from nas.search.run.directory import claimed

    with claimed(searcher.run), pytest.raises(NasError, match="is in use by another command"):
        searcher()


def test_any_optuna_storage_will_do(searcher: Searcher, workplace: Path) -> None:
    url = f"sqlite:///{workplace / 'study.db'}"
    searcher(trials=4, storage=url)
    evaluator = FakeEvaluator()
    assert len(searcher(evaluator, trials=6, storage=url).result.completed) == 6
    assert len(evaluator.asked) == 2
    assert not searcher.run.journal.exists()


def test_two_runs_in_one_storage_keep_to_themselves(workplace: Path) -> None:
    url = "sqlite:///shared.db"
    Searcher(RunDirectory(workplace / "a" / "one"))(trials=3, storage=url)
    evaluator = FakeEvaluator()
    assert (
        len(Searcher(RunDirectory(workplace / "b" / "one"))(evaluator, trials=4, seed=9, storage=url).result.trials)
        == 4
    )
    assert len(evaluator.asked) == 4


def test_a_run_is_read_from_any_folder(searcher: Searcher, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = searcher(trials=3, storage="sqlite:///here.db").result
    (workplace / "elsewhere").mkdir()
    monkeypatch.chdir(workplace / "elsewhere")
    assert load_result(searcher.run.path).trials == result.trials
    assert not list((workplace / "elsewhere").iterdir())


def test_an_sqlite_file_that_is_gone_is_missed(searcher: Searcher, workplace: Path) -> None:
    """It is refused like a journal, by who goes on and by who reads, and nothing is trained anew."""
    url = f"sqlite:///{workplace / 'study.db'}"
    searcher(trials=2, storage=url)
    (workplace / "study.db").unlink()
    with pytest.raises(NasError, match=r"the trials of runs/one are gone: there is no study\.db\. Restore it"):
        load_result(searcher.run.path)
    evaluator = FakeEvaluator()
    for use in (lambda: searcher(evaluator, trials=3, storage=url), lambda: load_result(searcher.run.path)):
        with pytest.raises(NasError, match=r"the trials of runs/one are gone: there is no study nas-\w+ in sqlite"):
            use()
    assert not evaluator.asked


def test_a_journal_that_is_damaged_from_the_start_has_nothing_to_go_on_from(searcher: Searcher) -> None:
    searcher(trials=1)
    searcher.run.journal.write_bytes(b"{}\n" + searcher.run.journal.read_bytes())
    with pytest.raises(
        NasError, match=r"line 1 is not a record and none before it is whole\. Restore it, or start anew"
    ):
        searcher(trials=2)


def test_a_journal_whose_records_have_another_shape_is_explained(searcher: Searcher) -> None:
    searcher(trials=1)
    text = searcher.run.journal.read_text()
    searcher.run.journal.write_text(text.replace('"architecture"', '"architektur"'))
    with pytest.raises(
        NasError, match=r"trial 0 in .* must be a record that .*KeyError: 'architecture'\)\. Restore it"
    ):
        searcher(trials=2)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("references.json", text) for text in ("[{}]", "null", "[1]", "{")),
        *(("repeats.json", text) for text in ("[]", "null", '{"a": 1}', '{"a": [{}]}')),
        *(("setting.json", text) for text in ("[]", "{}", "null")),
    ],
)
def test_files_of_another_shape_are_named(searcher: Searcher, name: str, text: str) -> None:
    """By who goes on, where it reads them, and by who reads alone."""
    searcher(trials=1)
    (searcher.run.path / name).write_text(text)
    with pytest.raises(NasError, match=rf"runs/one/{name} .*Restore it, or start anew with --run"):
        load_result(searcher.run.path)
    if name != "setting.json":
        with pytest.raises(NasError, match=rf"runs/one/{name} .*Restore it, or start anew with --run"):
            searcher(trials=2)


@pytest.mark.parametrize("key", ["experiment", "space", "tables", "data"])
def test_a_damaged_identity_is_explained(searcher: Searcher, key: str) -> None:
    searcher(trials=1)
    identity = json.loads(searcher.run.identity.read_text())
    searcher.run.identity.write_text(json.dumps({**identity, key: []}))
    for use in (lambda: searcher(trials=2), lambda: load_result(searcher.run.path)):
        with pytest.raises(NasError, match=r"or its run\.json is damaged"):
            use()


@pytest.mark.parametrize("emptied", [True, False])
def test_a_journal_that_is_gone_is_missed(searcher: Searcher, emptied: bool) -> None:
    searcher(trials=3)
    searcher.run.journal.write_bytes(b"") if emptied else searcher.run.journal.unlink()
    with pytest.raises(NasError, match="gone"):
        searcher(trials=4)
    with pytest.raises(NasError, match="gone"):
        load_result(searcher.run.path)


def test_reading_a_run_leaves_the_lock_of_who_writes_it(searcher: Searcher) -> None:
    searcher(trials=3)
    lock = searcher.run.journal.with_name(searcher.run.journal.name + ".lock")
    lock.symlink_to(searcher.run.journal)
    load_result(searcher.run.path)
    assert lock.is_symlink()


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_run_cannot_be_where_a_file_is(workplace: Path, place: str) -> None:
    (workplace / "file").write_text("")
    with pytest.raises(NasError, match="cannot be the directory of a run"):
        Searcher(RunDirectory(workplace / place))()


def test_a_run_that_died_before_it_began_can_begin(searcher: Searcher) -> None:
    searcher.run.path.mkdir(parents=True)
    searcher.run.experiment.write_text("space: small\n")
    assert len(searcher(trials=2).result.completed) == 2


def test_a_damaged_checkpoint_is_as_good_as_none(searcher: Searcher) -> None:
    searcher(trials=1)
    save_weights(searcher.run, 0, {"w": torch.zeros(100)})
    path = searcher.run.checkpoint(0)
    path.write_bytes(path.read_bytes()[:200])
    assert load_weights(searcher.run, 0) is None


@pytest.mark.parametrize("content", [[1, 2], {"w": 3}, None])
def test_a_file_of_no_tensors_is_as_good_as_none(searcher: Searcher, content: object) -> None:
    searcher(trials=1)
    searcher.run.checkpoints.mkdir(exist_ok=True)
    torch.save(content, searcher.run.checkpoint(0))
    assert load_weights(searcher.run, 0) is None


def test_weights_read_back_and_a_flipped_byte_is_noticed(searcher: Searcher) -> None:
    """Those that an earlier version kept, as torch writes them, are read too."""
    weights = {"w": torch.arange(100.0)}
    save_weights(searcher.run, 0, weights)
    path = searcher.run.checkpoint(0)
    assert (load_weights(searcher.run, 0) or {})["w"].equal(weights["w"])
    data = bytearray(path.read_bytes())
    data[data.index(weights["w"].numpy().tobytes()) + 41] ^= 1
    path.write_bytes(data)
    assert load_weights(searcher.run, 0) is None
    torch.save(weights, path)
    assert (load_weights(searcher.run, 0) or {})["w"].equal(weights["w"])


def test_where_weights_cannot_be_kept_the_training_still_counts(searcher: Searcher) -> None:
    """Each trial that joins the front says so, and nothing is trained again."""
    searcher(trials=1)
    searcher.run.checkpoints.write_text("a file")
    evaluator = WithWeights()
    result = searcher(evaluator, trials=6).result
    assert len(result.completed) == 6
    assert len(evaluator.asked) == 5
    said = "its weights are not kept: cannot write runs/one/checkpoints/trial_"
    assert all(trial.reason.startswith(said) for trial in result.front if trial.number)
    assert any(trial.number for trial in result.front)
    assert load_result(searcher.run.path).trials == result.trials


@pytest.mark.parametrize("name", ["run.json", "experiment.yaml", "setting.json"])
def test_what_cannot_be_written_is_named(searcher: Searcher, name: str) -> None:
    searcher(trials=1)
    path = searcher.run.path / name
    text = path.read_text()
    path.with_name(name + ".part").mkdir()
    with pytest.raises(
        RunFailedError, match=rf"cannot write runs/one/{name}: Is a directory\. The same command goes on"
    ):
        searcher(trials=2)
    assert path.read_text() == text


def test_a_disk_that_is_full_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write_json(path, [1])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunFailedError, match=r"cannot write .*run\.json: No space left on device\."):
        write_json(path, [2])
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]
    assert json.loads(path.read_text()) == [1]


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(searcher: Searcher) -> None:
    with pytest.raises(NasError, match="float16"):
        searcher(training__precision="float16", training__device="cpu")
    assert not searcher.run.path.exists()


def test_a_storage_that_cannot_be_opened_is_named(searcher: Searcher) -> None:
    with pytest.raises(NasError, match="cannot use the storage nonsense://x"):
        searcher(storage="nonsense://x")
    assert not searcher.run.path.exists()


def test_optuna_reads_the_journal_with_its_own_tools(searcher: Searcher) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    result = searcher(trials=10).result
    storage = JournalStorage(JournalFileBackend(str(searcher.run.journal)))
    study = optuna.load_study(study_name=None, storage=storage)
    best = {(trial.values[0], trial.values[1]) for trial in study.best_trials}
    assert best == {(trial.network.top1, trial.network.latency.latency_ms) for trial in result.front}
    assert study.trials[0].params["stage1.block1.kernel"] in (3, 5)


def test_references_are_trained_once_and_costed_by_the_same_table(
    searcher: Searcher, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    space = load_space("small")
    monkeypatch.setattr("nas.search.prepare.reference", lambda _: space.decode(space.largest_parameters()))
    evaluator = FakeEvaluator()
    first = searcher(evaluator, trials=3, references=["known"]).result
    assert [network.name for network in first.references] == ["known"]
    assert len(evaluator.asked) == 4
    largest = space.decode(space.largest_parameters())
    assert sum(architecture == largest for architecture in evaluator.asked) == 1
    again = FakeEvaluator()
    assert searcher(again, trials=4, references=["known"]).result.references == first.references
    assert len(again.asked) == 1


def test_one_proxy_that_stands_for_two_networks_is_trained_once(searcher: Searcher) -> None:
    class OneProxy(FakeEvaluator):
        def proxy_of(self, architecture):  # type: ignore[no-untyped-def]
            data = architecture.to_json() | {"resolution": 32}
            return type(architecture).from_json(data)

    evaluator = OneProxy()
    result = searcher(evaluator, trials=60).result
    proxies = [evaluator.proxy_of(architecture).fingerprint for architecture in evaluator.asked]
    assert len(proxies) == len(set(proxies)) < 60
    shared = [trial for trial in result.completed if "same proxy as" in trial.reason]
    assert len(shared) == 60 - len(proxies)


def test_the_weights_of_the_front_alone_are_kept(searcher: Searcher) -> None:
    result = searcher(WithWeights(), trials=20).result
    kept = {path.name for path in (searcher.run.path / "checkpoints").iterdir()}
    assert kept == {f"trial_{trial.number}.pt" for trial in result.front}


def test_a_result_is_read_back_from_the_directory_alone(searcher: Searcher) -> None:
    result = searcher(trials=6, budgets_ms=[1.0, 2.0]).result
    assert load_result(searcher.run.path) == result


def test_what_is_no_run_cannot_be_read(workplace: Path) -> None:
    with pytest.raises(NasError, match="is not the directory of a run"):
        load_result(workplace)


def test_the_journal_of_another_program_is_refused(searcher: Searcher) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    searcher(trials=1)
    searcher.run.journal.unlink()
    storage = JournalStorage(JournalFileBackend(str(searcher.run.journal)))
    name = searcher.run.study_name
    study = optuna.create_study(storage=storage, study_name=name, directions=["maximize", "minimize"])
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 1.0), n_trials=1)
    with pytest.raises(NasError, match="was not written by this program"):
        open_study(searcher.run, None, ("top1", "latency_ms"))


@pytest.mark.slow
def test_kill_9_loses_no_finished_trial_and_repeats_none(workplace: Path) -> None:
    command = [sys.executable, "-m", "nas.search", "--space", "small", "--device", "made_up", "--epochs", "1"]
    command += ["--trials", "8", "--run", "killed", "population=4", "max_images=60", "references=[]"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=workplace, env=environment, stderr=subprocess.DEVNULL)
    journal = workplace / "killed" / "study.journal"
    deadline = time.monotonic() + 120
    while not (journal.exists() and journal.read_bytes().count(b'"record"') >= 3):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = load_result(workplace / "killed").trials
    assert 3 <= len(before) < 8
    finished = subprocess.run([*command, "--json"], cwd=workplace, env=environment, capture_output=True, check=True)
    after = load_result(workplace / "killed").trials
    assert after[: len(before)] == before
    trained = [trial.network.architecture for trial in after if trial.status == "complete"]
    assert len(trained) == len(set(trained)) == 8
    assert json.loads(finished.stdout)["front"]


EVERYTHING = [
    "top1",
    "latency_ms",
    "latency_ms@other",
    "energy_mj@other",
    "fps",
    "params",
    "macs",
    "peak_activation_bytes",
]


def test_any_objectives_are_searched_and_read_back(searcher: Searcher) -> None:
    """Values, front and Optuna's study agree on what each network has, also after a pause."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    searcher(trials=6, objectives=EVERYTHING)
    result = searcher(trials=12, objectives=EVERYTHING).result
    assert load_result(searcher.run.path) == result
    here, there = load_table("made_up"), load_table("other")
    for trial in result.completed:
        network = trial.network
        latencies = [table.estimate(network.architecture).latency_ms for table in (here, there)]
        assert network.values["latency_ms"] == latencies[0]
        assert network.values["latency_ms@other"] == latencies[1]
        assert network.values["fps"] == pytest.approx(1000 / latencies[0])
        assert network.values["energy_mj@other"] == pytest.approx(2.0 * latencies[1])
        assert "energy_mj" not in network.values
    storage = JournalStorage(JournalFileBackend(str(searcher.run.journal)))
    study = optuna.load_study(study_name=None, storage=storage)
    assert study.metric_names == EVERYTHING
    assert [d.name for d in study.directions] == [
        "MAXIMIZE" if name in ("top1", "fps") else "MINIMIZE" for name in EVERYTHING
    ]
    assert {trial.number for trial in study.best_trials} == {trial.number for trial in result.front}
    for member in result.front:
        assert study.trials[member.number].values == [member.network.value(name) for name in EVERYTHING]


def test_the_front_is_of_the_objectives_alone(searcher: Searcher) -> None:
    """Of top-1 and parameters: no other trained network is smaller and at least as accurate."""
    result = searcher(trials=20, objectives="top1,params", population=4).result
    for member in result.front:
        for other in result.completed:
            if other.network.costs.params < member.network.costs.params:
                assert other.network.top1 < member.network.top1


def test_limits_on_other_devices_hold_for_all_that_is_trained(searcher: Searcher) -> None:
    limits = {"limits__fps": 700, "limits__latency_ms@other": 3.2, "limits__energy_mj@other": 6.3}
    result = searcher(trials=15, objectives="top1,latency_ms,latency_ms@other", **limits).result
    assert result.completed
    for trial in result.completed:
        assert trial.network.values["fps"] >= 700
        assert trial.network.values["latency_ms@other"] <= 3.2
        assert trial.network.values["energy_mj@other"] <= 6.3
    reasons = {trial.reason for trial in result.trials if trial.status == "infeasible"}
    assert any("fps" in reason and "is below 700" in reason for reason in reasons)
    assert result.setting.reference_point[2] == 3.2


def test_limits_that_contradict_each_other_are_refused_with_the_nearest(searcher: Searcher) -> None:
    with pytest.raises(NasError, match=r"no network of the space small was found .*fps .* is below 9000"):
        searcher(limits__fps=9000)
    with pytest.raises(NasError, match=r"latency_ms@other .* is above 1; energy_mj@other .* is above 2"):
        searcher(**{"limits__latency_ms@other": 1, "limits__energy_mj@other": 2})
    assert not searcher.run.path.exists()


def test_energy_without_a_power_says_what_to_add(searcher: Searcher) -> None:
    for asked in ({"objectives": "top1,energy_mj"}, {"limits__energy_mj": 5}):
        with pytest.raises(NasError, match=r"the latency table made_up gives none\. Add to made_up\.yaml"):
            searcher(**asked)
    assert not searcher.run.path.exists()


def test_another_devices_table_must_have_the_space_too(searcher: Searcher) -> None:
    with pytest.raises(NasError, match="the latency table note10_lut has no row for"):
        searcher(objectives="top1,latency_ms@note10_lut")


def test_a_changed_power_is_another_experiment(searcher: Searcher, workplace: Path) -> None:
    """Energies that were recorded would not be those of the next trials."""
    searcher(trials=2, devices=["other"])
    path = workplace / "latency_tables" / "other.yaml"
    path.write_text(path.read_text().replace("active_w: 2.0", "active_w: 2.5"))
    with pytest.raises(NasError, match=r"tables\.other\.power_w was 2\.0 and is now 2\.5"):
        searcher(trials=3, devices=["other"])


def test_a_run_of_an_older_version_is_refused_by_its_number(searcher: Searcher) -> None:
    searcher(trials=1)
    identity = json.loads(searcher.run.identity.read_text())
    searcher.run.identity.write_text(json.dumps({**identity, "format": 1}))
    for use in (lambda: searcher(trials=2), lambda: load_result(searcher.run.path)):
        with pytest.raises(NasError, match=r"another version of this program \(its format is 1, this one's 3\)"):
            use()


def test_the_first_generation_is_spread_over_the_first_known_objective(searcher: Searcher) -> None:
    """From nearly the fewest parameters to nearly the most, in even steps."""
    result = searcher(trials=8, population=8, objectives="top1,params,latency_ms").result
    sizes = sorted(trial.network.costs.params for trial in result.trials[:8])
    space = load_space("small")
    ends = [estimate_costs(space.decode(p())).params for p in (space.smallest_parameters, space.largest_parameters)]
    assert sizes[0] < ends[0] + (ends[1] - ends[0]) / 4
    assert sizes[-1] > ends[1] - (ends[1] - ends[0]) / 4
