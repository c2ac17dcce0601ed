"""What version 0.1.0 made is still read and gone on with: runs, scores, checkpoints, tables, measurements, exports."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nas.accuracy.data.load import load_dataset, load_test_split
from nas.accuracy.evaluators.score_cache import ScoreCache
from nas.accuracy.evaluators.short_training import Evaluation, ShortTraining
from nas.accuracy.training.checkpoint import load_checkpoint
from nas.accuracy.training.scores import score
from nas.accuracy.training.sealed_file import read_sealed
from nas.accuracy.training.train import begin_training
from nas.config import load_document
from nas.deploy import __main__ as deploy
from nas.deploy.export.manifest import load_manifest
from nas.deploy.inference.model import open_exported
from nas.deploy.inference.predict import images_in, predict
from nas.deploy.trained import load_trained
from nas.latency import __main__ as latency
from nas.latency.measuring import runner
from nas.latency.measuring.measure import build_table
from nas.latency.measuring.plan import load_plan
from nas.latency.measuring.samples import read_results
from nas.latency.measuring.targets import ThisMachine
from nas.latency.table import load_table, read_table, save_table
from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.report.files import ParetoFront, load_pareto, write_trials
from nas.search import __main__ as search
from nas.search.experiment import resolve_experiment
from nas.search.prepare import Prepared, prepare
from nas.search.run.directory import RunDirectory
from nas.search.run.kept import load_weights
from nas.search.run.load import load_result

HERE = Path(__file__).parent
# A training is another one with another torch, so everything here was recorded with this one.
TORCH = torch.torch_version.TorchVersion("2.13.0+cpu")

COMMON = ["--quiet", "--space", "tiny", "--device", "made_up", "max_images=60", "proxy.resolution=8"]
COMMON += ["proxy.max_stride=4", "training.device=cpu", "training.precision=float32"]
SEARCH = [*COMMON, "--epochs", "3", "--stopping", "halving", "--run", "search", "references=[mobilenet_v3_small]"]
OF_FORMAT_2 = [*COMMON, "--epochs", "1", "--run", "search_of_format_2", "references=[]"]
KILLED = [*COMMON, "--epochs", "9", "--stopping", "halving", "--run", "search_killed", "references=[]"]
FINISH = ["finish", "finished", "--weights", "own", "--data", "digits", "--recipe", "plain", "--epochs", "3"]
FINISH += ["--set", "device=cpu", "precision=float32", "--out", "finish_killed"]
REFINE = ["refine", "search", "--pick", "trial_0", "--device", "made_up", "--data", "digits", "--resolution", "8"]
REFINE += ["--max-stride", "4", "--share", "0.6", "--step", "0.1", "--short-steps", "2", "--shortlist", "2"]
REFINE += ["--out", "refine_killed"]
MEASURE = ["measure", "--space", "smallest", "--device", "measured", "--reference", "--fit", "3", "--held-out", "3"]
MEASURE += ["--passes", "3", "--rounds", "3", "--work", "measurement", "--out", "measured_again"]

RUNS = ["search", "search_of_format_2", "search_killed"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of everything here, as the current folder."""
    copy = tmp_path / "made_before"
    shutil.copytree(HERE, copy, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    monkeypatch.chdir(copy)
    monkeypatch.setattr(torch, "__version__", TORCH)
    return copy


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The fingerprints of all networks that are trained from now on."""
    fingerprints: set[str] = set()

    def recording(method: Callable[..., Evaluation]) -> Callable[..., Evaluation]:
        def recorded(self: ShortTraining, architecture: Architecture, *rest: Any, **named: Any) -> Evaluation:
            fingerprints.add(architecture.fingerprint)
            return method(self, architecture, *rest, **named)

        return recorded

    for method in (ShortTraining.evaluate, ShortTraining.advance):
        monkeypatch.setattr(ShortTraining, method.__name__, recording(method))
    return fingerprints


def prepared(run: str) -> Prepared:
    return prepare(resolve_experiment(load_document(Path(run) / "experiment.yaml"), {}))


def rows_of(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("run", RUNS)
def test_a_run_is_read_as_its_files_say(run: str) -> None:
    """Every trial is what trials.csv says, digit by digit, and the front what pareto.json says."""
    result = load_result(Path(run))
    write_trials(Path("trials.csv"), result.trials)
    assert Path("trials.csv").read_bytes() == (Path(run) / "trials.csv").read_bytes()
    if run == "search_killed":  # before there was a report
        assert [trial.number for trial in result.front] == [1, 0]
        return
    assert ParetoFront.of(result) == load_pareto(Path(run) / "pareto.json")


@pytest.mark.parametrize("run", RUNS)
def test_the_weights_of_the_front_are_read(run: str) -> None:
    """They fit the proxies that were trained."""
    evaluator = prepared(run).evaluator
    for trial in load_result(Path(run)).front:
        weights = load_weights(RunDirectory(Path(run)), trial.number)
        assert weights is not None
        build_network(evaluator.proxy_of(trial.network.architecture)).load_state_dict(dict(weights))


def test_a_run_goes_on_and_trains_nothing_twice(trained: set[str]) -> None:
    """The same command with one more trial adds that one, and what the front then lacks in repeats."""
    before = load_result(Path("search"))
    assert (len(before.trials), len(before.stopped), len(before.references)) == (9, 5, 1)
    assert search.main([*SEARCH, "--trials", "10", "--repeats", "2"]) == 0
    after = load_result(Path("search"))
    assert after.trials[:9] == before.trials
    assert len(after.trials) == 10
    assert after.references == before.references
    assert before.repeats.items() <= after.repeats.items()
    new = after.trials[9].network.architecture.fingerprint
    assert new not in {trial.network.architecture.fingerprint for trial in before.trials}
    assert trained == {new}


def test_a_run_of_format_2_goes_on(trained: set[str]) -> None:
    """It is then one of today's format."""
    before = load_result(Path("search_of_format_2"))
    assert json.loads(Path("search_of_format_2/run.json").read_text(encoding="utf-8"))["format"] == 2
    assert search.main([*OF_FORMAT_2, "--trials", "5"]) == 0
    after = load_result(Path("search_of_format_2"))
    assert after.trials[:4] == before.trials
    assert trained == {after.trials[4].network.architecture.fingerprint}
    assert json.loads(Path("search_of_format_2/run.json").read_text(encoding="utf-8"))["format"] > 2


def test_a_search_that_was_killed_between_rungs_goes_on_from_its_checkpoint(trained: set[str]) -> None:
    """The checkpoint holds what the rung is compared by, and is deleted once the trial is kept."""
    before = load_result(Path("search_killed"))
    evaluator, number = prepared("search_killed").evaluator, len(before.trials)
    assert search.main([*KILLED, "--trials", str(number + 1)]) == 0
    after = load_result(Path("search_killed"))
    assert after.trials[:number] == before.trials
    trial = after.trials[number]
    assert trained == {trial.network.architecture.fingerprint}
    assert "trained again from the start" not in trial.reason
    assert not Path(f"search_killed/checkpoints/unfinished_{number}").exists()

    assert isinstance(evaluator, ShortTraining)
    settings = evaluator.training
    state = begin_training(build_network(evaluator.proxy_of(trial.network.architecture), seed=0), settings)
    identity = evaluator.identity(trial.network.architecture, settings.epochs, 0)
    load_checkpoint(HERE / f"search_killed/checkpoints/unfinished_{number}", state, identity)
    assert state.epochs_done == 1
    assert state.partial_top1 == {1: trial.rungs[1]}


def test_the_scores_of_earlier_runs_are_found_in_the_cache(trained: set[str]) -> None:
    """Under the same digests, and a run that asks for them trains nothing."""
    run, evaluator = load_result(Path("search")), prepared("search").evaluator
    assert isinstance(evaluator, ShortTraining)
    with sqlite3.connect("scores.sqlite") as connection:
        recorded = {
            (digest, epochs): json.loads(training)
            for digest, epochs, training in connection.execute("SELECT digest, epochs, training FROM scores")
        }
    connection.close()
    cache = ScoreCache(Path("scores.sqlite"))
    for trial in (*run.completed, *run.stopped):
        training = evaluator.identity(trial.network.architecture, 3, 0)
        assert trial.network.score is not None
        assert recorded[training.digest, trial.network.score.epochs] == training.to_json()
        assert cache.get(training, trial.network.score.epochs) == trial.network.score
    again = [word if word != "search" else "another" for word in SEARCH]
    assert search.main([*again, "--trials", "4", "--repeats", "2", "--score-cache", "scores.sqlite"]) == 0
    assert not trained
    trials = load_result(Path("another")).trials
    assert [trial.network.score for trial in trials] == [trial.network.score for trial in run.trials[:4]]


def test_a_trained_network_is_read() -> None:
    """It sees in the test images what it saw when it was written."""
    network = load_trained(Path("finished"))
    dataset = load_dataset("digits", image_size=8)
    scores = score(network.build(), load_test_split("digits", image_size=8), dataset)
    written = network.record["test"]
    assert scores.images == written["images"]
    assert scores.loss == pytest.approx(written["loss"], rel=1e-4)
    assert scores.top1 == pytest.approx(written["top1"], abs=0.5)  # one image: rounding may differ elsewhere
    assert network.labels == dataset.classes
    assert load_trained(Path("finished/last")).architecture == network.architecture


def test_a_full_training_goes_on() -> None:
    """The epoch that was done stays, to the digit of the seconds that it took."""
    (first,) = rows_of("finish_killed/history.csv")
    assert deploy.main(FINISH) == 0
    epochs = rows_of("finish_killed/history.csv")
    assert epochs[0] == first
    assert [row["epoch"] for row in epochs] == ["1", "2", "3"]
    assert load_trained(Path("finish_killed")).record["epochs"] == 3


def test_narrowing_goes_on() -> None:
    """From the points that the checkpoint has, to the end; a checkpoint of another path would be refused."""
    points = json.loads(read_sealed(Path("refine_killed/path.pt"), "NetAdapt path")["points"])
    assert [point["change"] for point in points] == ["", "expansion of block 2: 64 to 48 channels"]
    assert deploy.main(REFINE) == 0
    path = json.loads(Path("refine_killed/path.json").read_text(encoding="utf-8"))["path"]
    assert path[:2] == points
    assert len(path) > 2
    assert path[-1]["latency_ms"] <= 0.6 * path[0]["latency_ms"]
    assert load_trained(Path("refine_killed")).architecture.to_json() == path[-1]["architecture"]


def test_an_exported_file_predicts() -> None:
    """What the network that it was made of predicts."""
    network = load_trained(Path("finished"))
    assert load_manifest(Path("export/finished.onnx")).labels == network.labels
    images = load_test_split("digits", image_size=8).images[:20]
    Path("images").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(f"images/{number:02}.png")
    predictions = predict(open_exported(Path("export/finished.onnx")), images_in([Path("images")]))
    with torch.no_grad():
        labels = [network.labels[index] for index in network.build()(network.preprocessing.applied(images)).argmax(1)]
    assert [prediction.classes[0][0] for prediction in predictions] == labels


@pytest.mark.parametrize("name", ["made_up", "measured"])
def test_a_latency_table_is_read_and_written_as_it_was(name: str) -> None:
    """Rows, conditions, calibration, and the verdict of its validation with all its words."""
    table = load_table(name)
    save_table(table, Path("written"))
    for ending in ("csv", "yaml"):
        written, there = (Path(place, f"{name}.{ending}") for place in ("written", "latency_tables"))
        assert written.read_text(encoding="utf-8").split() == there.read_text(encoding="utf-8").split()
    if name == "measured":
        validation = table.conditions.validation
        assert validation["verdict"].startswith("FAILED: the mean error is 5.8%, more than 5%; two measurements of one")
        assert validation["held out"]["networks"] == validation["noise"]["networks"] // 2 == 3


def test_the_samples_of_a_measurement_give_the_table_that_they_gave() -> None:
    """All but the date, which is that of writing."""
    plan = load_plan(Path("measurement/plan.json"))
    kit = runner.load_manifest(Path("measurement/kit"))["kit"]
    results = read_results(Path("measurement/results_whole.jsonl"), kit)
    there, again = load_table("measured"), build_table("measured", plan, results, {})
    assert again.conditions.model_copy(update={"date": there.conditions.date}) == there.conditions
    save_table(again, Path("written"))
    assert Path("written/measured.csv").read_bytes() == Path("latency_tables/measured.csv").read_bytes()


def test_a_measurement_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here for the machine that it was begun on: samples of two machines are not mixed. What was sampled stays."""
    results = Path("measurement/results.jsonl")
    before = results.read_bytes()
    machine = json.loads(before.splitlines()[0])["machine"]
    monkeypatch.setattr(runner, "machine_facts", lambda: machine)
    monkeypatch.setattr(time, "sleep", lambda _: None)  # a busy machine is not waited for

    def run_in_this_process(self: ThisMachine, kit: Path, identity: str, results: Path) -> None:
        runner.measure_kit(kit, results, lambda *_: None)

    monkeypatch.setattr(ThisMachine, "run", run_in_this_process)
    assert latency.main(MEASURE) in (0, 1)  # 1: a table of six small networks need not pass
    assert results.read_bytes().startswith(before)
    assert len(results.read_bytes().splitlines()) > len(before.splitlines())
    rows = read_table(Path("measured_again/measured.yaml")).rows
    assert rows.keys() == load_table("measured").rows.keys()
    assert np.isfinite([row.latency_ms for row in rows.values()]).all()
