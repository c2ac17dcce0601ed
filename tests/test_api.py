"""The Python API does what the commands do, on the same files, and loads what it needs when it needs it."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import nas
from nas.search.__main__ import main as search_command
from nas.search.listener import SilentSearch
from nas.search.trial import Trial
from tests.search.conftest import workplace

__all__ = ["workplace"]

SETTINGS = {
    "data": "digits",
    "trials": 3,
    "max_images": 60,
    "references": (),
    "training": {"epochs": 1},
    "proxy": {"resolution": 8, "max_stride": 8},
    "quiet": True,
}


@pytest.fixture
def run(workplace: Path) -> nas.Run:
    """A small search that was run by the API."""
    return nas.search(nas.load_space("small"), nas.load_table("made_up"), run="runs/first", **SETTINGS)


def test_importing_the_package_loads_nothing() -> None:
    """Neither torch nor pandas, nor any room; and what the API offers is listed."""
    watched = "('nas', 'torch', 'pandas', 'optuna')"
    code = f"import sys, nas; print(sorted(m for m in sys.modules if m.split('.')[0] in {watched}))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "['nas']"
    assert set(nas.__all__) <= set(dir(nas))
    assert all(getattr(nas, name) is not None for name in nas.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'serach'"):
        _ = nas.serach  # type: ignore[attr-defined]


def test_costing_and_drawing_load_neither_torch_nor_optuna() -> None:
    code = (
        "import sys, nas; space, table = nas.load_space('mbv3'), nas.load_table('pixel_lut')\n"
        "nas.cost('mobilenet_v3_large', table); space.sample(5, table); table.frame\n"
        "print(sorted(m for m in ('torch', 'optuna', 'onnxruntime') if m in sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_a_network_is_costed_by_names_or_values() -> None:
    """Published ones by their names, tables likewise; of several tables each has its column."""
    table = nas.load_table("pixel_lut")
    by_value = nas.cost(nas.reference("mobilenet_v3_large"), table, name="mobilenet_v3_large")
    assert nas.cost("mobilenet_v3_large", "pixel_lut") == by_value
    assert by_value.costs.params == 5_483_032
    with pytest.raises(nas.NasError, match="at least one latency table"):
        nas.cost("mobilenet_v3_large")


def test_members_are_drawn_as_a_frame(workplace: Path) -> None:
    """With the costs that one network at a time has."""
    space, table, other = nas.load_space("small"), nas.load_table("made_up"), nas.load_table("other")
    frame = space.sample(20, table, other, seed=3)
    assert list(frame) == [
        "latency_ms",
        "latency_ms@other",
        "params",
        "macs",
        "peak_activation_bytes",
        "resolution",
        "network",
    ]
    for row in frame.to_dict("records"):
        costed = nas.cost(row["network"], table, other)
        assert row["latency_ms"] == pytest.approx(costed.latency.latency_ms)
        assert row["latency_ms@other"] == pytest.approx(costed.value("latency_ms@other"))
        assert (row["params"], row["macs"]) == (costed.costs.params, costed.costs.macs)
        assert row["peak_activation_bytes"] == costed.costs.peak_activation_bytes
        assert row["resolution"] == costed.architecture.resolution
    assert "latency_ms" not in space.sample(2)
    assert frame["network"].tolist() == space.sample(20, seed=3)["network"].tolist()


def test_the_rows_of_a_table_are_a_frame(workplace: Path) -> None:
    table = nas.load_table("made_up")
    assert table.frame.index.name == "unit"
    assert table.frame["latency_ms"].to_dict() == {key: row.latency_ms for key, row in table.rows.items()}


def test_a_search_is_that_of_the_command(run: nas.Run, workplace: Path) -> None:
    """The same trials, and the command recognises the run as its own."""
    words = ["--space", "small", "--device", "made_up", "--epochs", "1", "--quiet", "max_images=60", "references=[]"]
    words += ["proxy.resolution=8", "proxy.max_stride=8"]
    assert search_command([*words, "trials=3", "--run", "runs/second"]) == 0
    command = nas.load_run("runs/second")
    without_time = run.trials.drop(columns="seconds")
    assert without_time.equals(command.trials.drop(columns="seconds"))
    assert search_command([*words, "trials=4", "--run", "runs/first"]) == 0
    assert len(nas.load_run("runs/first").result.completed) == 4
    for file in ("report.html", "trials.csv", "pareto.json", "picks/knee.onnx"):
        assert (run.path / file).stat().st_size


def test_a_run_is_read_as_it_was_left(run: nas.Run) -> None:
    """With the columns of its CSV, and units in their names."""
    again = nas.load_run("runs/first")
    assert again.front.equals(run.front)
    assert again.trials.equals(run.trials)
    assert list(run.front) == ["top1", "latency_ms", "params", "macs", "peak_activation_bytes", "resolution", "network"]
    assert list(run.front.index) == [trial.number for trial in run.result.front]
    header = (run.path / "trials.csv").read_text(encoding="utf-8").splitlines()[0]
    assert ["number", *run.trials.columns] == [*header.split(","), "on_front"]
    assert run.trials["on_front"].sum() == len(run.front)
    assert repr(run).startswith("<run runs/first: 3 trials, 3 trained, ")
    assert run.ending == "trials"
    assert run.references.empty
    json.dumps(run.front.to_dict())


def test_networks_are_chosen_by_budgets(run: nas.Run) -> None:
    """The most accurate one within all of them; what is within none is said with what there is."""
    slowest = run.front.iloc[-1]
    assert run.best_within(latency_ms=slowest.latency_ms).top1 == run.trials["top1"].max()
    assert run.best_within({"params": 1e9}, latency_ms=1e9).value("params") > 0
    assert run.knee.trial == run.result.knee
    number = int(run.front.index[0])
    assert run[number].trial.number == number
    with pytest.raises(nas.NasError, match=r"no network of runs/first is within latency_ms 0\.001; the best of each"):
        run.best_within(latency_ms=0.001)
    with pytest.raises(nas.NasError, match=r"unknown quantity 'latncy_ms'\. Known: latency_ms"):
        run.best_within(latncy_ms=3)
    with pytest.raises(nas.NasError, match="budget of latency_ms must be a number above 0, but got nan"):
        run.best_within(latency_ms=math.nan)
    assert [pick.trial for pick in run] == list(run.result.completed)
    assert number in run
    assert 99 not in run
    with pytest.raises(nas.NasError, match="trial 99 of runs/first was not trained to its end"):
        run[99]


def test_a_chosen_network_is_finished_and_exported(run: nas.Run) -> None:
    """Into the folders that the commands use; the finished one has weights that are trained."""
    trained = nas.finish(run.knee, "digits", recipe="plain", resolution=8, max_stride=8, epochs=1, quiet=True)
    assert trained.path == Path("trained/first-knee")
    assert 0 <= trained.top1 <= 100
    assert repr(trained).startswith("<trained/first-knee: top-1 ")
    (file,) = nas.export(trained, "exported", formats=["onnx"], name="knee")
    assert file == Path("exported/knee.onnx")
    assert json.loads(Path(f"{file}.json").read_text())["weights"].startswith("trained on digits")
    (file,) = nas.export(run.knee, "exported")
    assert file == Path("exported/first-knee.onnx")
    with pytest.raises(nas.NasError, match="unknown format 'tflite'"):
        nas.export(run.knee, formats=["tflite"])


def test_another_listener_hears_of_the_search(workplace: Path) -> None:
    ended: list[int] = []

    class Counts(SilentSearch):
        def ended(self, trial: Trial, done: int, front: object) -> None:
            ended.append(trial.number)

    nas.search("small", "made_up", run="runs/heard", listener=Counts(), **SETTINGS)
    assert ended == [0, 1, 2]


def test_a_key_that_is_not_known_is_refused_before_anything_is_written(workplace: Path) -> None:
    with pytest.raises(nas.NasError, match="unknown key 'trails'"):
        nas.search("small", "made_up", trails=3)
    assert not (workplace / "runs").exists()


def test_spaces_and_tables_of_a_program_need_no_files(workplace: Path) -> None:
    """They are searched as they are; other processes could not read them."""
    space, table = replace(nas.load_space("small"), path=None), replace(nas.load_table("made_up"), path=None)
    (workplace / "search_spaces" / "small.yaml").unlink()
    (workplace / "latency_tables" / "made_up.yaml").unlink()
    assert len(nas.search(space, table, **SETTINGS).result.completed) == 3
    with pytest.raises(nas.NasError, match="take workers=1"):
        nas.search(space, table, run="runs/other", workers=2, **SETTINGS)


def test_what_is_something_else_is_said_in_one_line(workplace: Path) -> None:
    """Which argument it is, and what came instead; nothing is written."""
    space, table = nas.load_space("small"), nas.load_table("made_up")
    wrong = [
        (lambda: nas.search(table, space), "a search space first, but got the latency table made_up"),
        (lambda: nas.search("small", space), "latency tables behind the space, but got the search space small"),
        (lambda: nas.search("small", [table]), "latency tables behind the space, but got list"),
        (lambda: nas.search("small", "made_up", device="other"), "behind the space, not as device='other'"),
        (lambda: nas.cost(table, "made_up"), "an architecture, the name of a network or one of a run"),
        (lambda: nas.cost("mobilenet_v2", space), "a latency table, its name or its path is needed"),
        (lambda: nas.load_space(3), "found by its name or its path, but got int 3"),
        (lambda: nas.export(table), "a network is an architecture, one of a run"),
        (
            lambda: nas.finish("mobilenet_v3_small", "digits", recipe="plain", resolution=0),
            "resolution must be a whole",
        ),
    ]
    for call, said in wrong:
        with pytest.raises(nas.NasError, match=said):
            call()
    assert not (workplace / "runs").exists()
    assert not (workplace / "trained").exists()


def test_a_table_that_was_changed_is_not_taken_for_its_file(workplace: Path) -> None:
    """The run's directory would name the file."""
    table = nas.load_table("made_up")
    rows = {key: replace(row, latency_ms=2 * row.latency_ms) for key, row in table.rows.items()}
    with pytest.raises(nas.NasError, match=r"the latency table made_up is not what .*made_up\.yaml holds"):
        nas.search("small", replace(table, rows=rows), **SETTINGS)


def test_the_search_goes_to_other_processes_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(nas.search)) is nas.search
