"""write_report writes every file it promises, and writing again keeps what is still right."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from PIL import Image
from torch import Tensor

from nas.deploy.export import agreement
from nas.deploy.export.picks import ExportedPick
from nas.errors import ConfigError, NasError, RunFailedError
from nas.latency.table import LatencyEstimate
from nas.networks.architecture import Architecture, Block
from nas.networks.build import build_network
from nas.networks.operators import estimate_costs
from nas.networks.references import find_network
from nas.report.__main__ import main
from nas.report.files import append_trial, load_pareto
from nas.report.picture import save_picture
from nas.report.write import write_report
from nas.search.costing import CostedNetwork
from nas.search.results.portfolio import picks_of
from nas.search.results.result import SearchResult
from nas.search.trial import Trial
from tests.report.searches import portfolio, references, score, search, setting, small_architecture, trial


def small(number: int, top1: float, latency_ms: float, *, width: int = 8) -> Trial:
    """A completed trial of a network so small that exporting it takes no time."""
    architecture = small_architecture(width)
    latency = LatencyEstimate(latency_ms, {"modelled": latency_ms})
    network = CostedNetwork(f"trial {number}", architecture, latency, estimate_costs(architecture), score(top1, number))
    return Trial(number, "complete", network, "", 1.0)


def three() -> SearchResult:
    """A front of three, with the knee in the middle and within the larger budget."""
    trials = (small(0, 40.0, 10.0), small(1, 80.0, 20.0, width=16), small(2, 85.0, 50.0, width=24))
    return SearchResult(setting(budgets_ms=(15.0, 30.0)), trials)


def trained(one: Trial) -> Mapping[str, Tensor]:
    """Weights of a proxy with three classes."""
    blocks = one.network.architecture.blocks
    proxy = Architecture(16, 3, (*blocks[:-1], replace(blocks[-1], out_channels=3)))
    return build_network(proxy, seed=11).state_dict()


def picked(folder: Path, slug: str) -> ExportedPick:
    return ExportedPick.from_json(json.loads((folder / "picks" / f"{slug}.json").read_text()))


def test_everything_promised_is_written(tmp_path: Path) -> None:
    """The returned paths are all the files there are, and each opens as the kind of file that it is."""
    result = three()
    written = write_report(result, tmp_path / "new" / "run", weights=trained)
    folder = tmp_path / "new" / "run"
    assert sorted(written) == sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix() for path in written}
    slugs = {"knee", "within_15ms", "within_30ms"}
    assert names == {"trials.csv", "pareto.json", "pareto.png", "report.html"} | {
        f"picks/{slug}.{kind}" for slug in slugs for kind in ("json", "onnx")
    }
    assert load_pareto(folder / "pareto.json").front == result.front
    with Image.open(folder / "pareto.png") as picture:
        assert picture.size == (1200, 750)
        assert len(picture.convert("RGB").getcolors(2**24) or []) > 10
    for pick in picks_of(result):
        exported = picked(folder, pick.slug)
        assert exported.pick == pick
        assert exported.export is not None
        assert exported.export.check.top1_agreement == 1
        assert exported.export.weights == (
            "features short-trained on digits at 16 pixels for 8 epochs; "
            "the classifier is untrained: 4 classes instead of 3"
        )
        onnx.checker.check_model(onnx.load(folder / "picks" / exported.export.file))


def test_without_completed_trials_there_is_a_report_and_no_pick(tmp_path: Path) -> None:
    """A search in which every trial failed still has a report."""
    result = SearchResult(setting(), (trial(0, "failed", "NaN"),), references())
    names = sorted(path.name for path in write_report(result, tmp_path))
    assert names == ["pareto.json", "pareto.png", "report.html", "trials.csv"]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where the folder of picks belongs, and a folder where a file belongs."""
    (tmp_path / "picks").write_text("")
    with pytest.raises(RunFailedError, match=r"cannot write .*picks: File exists"):
        write_report(three(), tmp_path, weights=trained)
    (tmp_path / "picks").unlink()
    (tmp_path / "picks" / "knee.json").mkdir(parents=True)
    with pytest.raises(RunFailedError, match=r"cannot write .*knee\.json: Is a directory"):
        write_report(three(), tmp_path, weights=trained)
    (tmp_path / "trials").mkdir()
    with pytest.raises(RunFailedError, match=r"cannot write .*trials: Is a directory"):
        append_trial(tmp_path / "trials", small(0, 40.0, 10.0))


def test_a_pick_that_a_reference_beats_says_so_in_its_file(tmp_path: Path) -> None:
    """It reads back equal; a file of an earlier version, which had no such key, is read too."""
    better = replace(small(9, 82.0, 15.0).network, name="known")
    result = replace(three(), references=(better,))
    write_report(result, tmp_path, weights=trained)
    data = json.loads((tmp_path / "picks" / "knee.json").read_text())
    assert data["better_references"] == ["known"]
    assert [ExportedPick.from_json(data).pick] == [pick for pick in picks_of(result) if pick.slug == "knee"]
    del data["better_references"]
    assert ExportedPick.from_json(data).pick.better == ()


def test_an_exporter_that_gives_up_does_not_lose_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picks say why they have no ONNX file, and the page is there."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("unsupported operator")

    monkeypatch.setattr("torch.onnx.export", fail)
    names = {path.name for path in write_report(three(), tmp_path, weights=trained)}
    assert "report.html" in names
    assert "unsupported operator" in picked(tmp_path, "knee").problem


def test_a_pick_says_what_its_file_must_be_given(tmp_path: Path) -> None:
    """Name, layout, channels and size are those of the file itself."""
    write_report(three(), tmp_path, weights=trained)
    stated = json.loads((tmp_path / "picks" / "knee.json").read_text())["input"]
    (image,) = onnx.load(tmp_path / "picks" / "knee.onnx").graph.input
    assert stated["name"] == image.name
    shape = [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim]
    assert shape == ["batch", 3, stated["resolution"], stated["resolution"]]
    assert (stated["layout"], stated["channel_order"], stated["pixel_range"]) == ("NCHW", "RGB", [0, 255])
    assert "minus the mean of the training images" in stated["normalisation"]


@pytest.mark.parametrize("trials", [0, 1, 2, 40])
def test_the_picture_is_drawn_for_any_number_of_trials(tmp_path: Path, trials: int) -> None:
    """Without a warning, however few or none there are."""
    result = search(trials)
    dollar = replace(result, references=tuple(replace(n, name="a$b$_{c") for n in result.references))
    endless = replace(result, setting=replace(result.setting, dataset="folder:" + 200 * "x", device=200 * "y"))
    for index, kind in enumerate((result, replace(result, references=()), dollar, endless)):
        save_picture(tmp_path / f"{index}.png", kind)
        with Image.open(tmp_path / f"{index}.png") as picture:
            assert picture.size == (1200, 750)


@pytest.mark.parametrize(("charts", "height"), [(1, 750), (2, 1230), (3, 1230), (4, 1710)])
def test_the_picture_has_a_row_for_every_two_further_objectives(tmp_path: Path, charts: int, height: int) -> None:
    objectives = ("top1", "latency_ms", "latency_ms@pixel_lut", "fps", "peak_activation_bytes")[: charts + 1]
    save_picture(tmp_path / "a.png", portfolio(12, objectives=objectives))
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (1200, height)


def test_a_pick_with_branches_is_exported_as_it_is_deployed(tmp_path: Path) -> None:
    """Its JSON has the architecture that was trained, which other commands read; the file has one convolution."""
    one = small(0, 40.0, 10.0)
    blocks = (Block("mobile_one", 8, 3, 2, activation="relu", branches=3), *one.network.architecture.blocks[1:])
    network = replace(one.network, architecture=Architecture(16, 4, blocks))
    write_report(SearchResult(setting(), (replace(one, network=network),)), tmp_path, weights=trained)
    exported = picked(tmp_path, "knee").export
    assert exported is not None
    assert exported.weights.startswith("features short-trained on digits")
    nodes = onnx.load(tmp_path / "picks" / "knee.onnx").graph.node
    assert [node.op_type for node in nodes if node.op_type in ("Conv", "Add")] == ["Conv"]
    assert find_network(str(tmp_path / "picks" / "knee.json")) == network.architecture


def test_writing_again_without_weights_keeps_the_trained_export(tmp_path: Path) -> None:
    """Writing the report again never replaces trained weights by untrained ones."""
    result = three()
    write_report(result, tmp_path, weights=trained)
    before = (tmp_path / "picks" / "knee.onnx").read_bytes()
    write_report(result, tmp_path)
    assert (tmp_path / "picks" / "knee.onnx").read_bytes() == before
    export = picked(tmp_path, "knee").export
    assert export is not None
    assert export.weights.startswith("features short-trained")


@pytest.mark.parametrize("damage", ["file", "json", "another network"])
def test_an_export_that_cannot_be_relied_on_is_made_again(tmp_path: Path, damage: str) -> None:
    """A file that is not the one the JSON speaks of, or of another network, is not kept."""
    result = three()
    write_report(result, tmp_path, weights=trained)
    if damage == "file":
        (tmp_path / "picks" / "knee.onnx").write_bytes(b"cut")
    elif damage == "json":
        (tmp_path / "picks" / "knee.json").write_text("{")
    else:
        result = replace(result, trials=(*result.trials, small(3, 84.0, 12.0, width=32)))
    write_report(result, tmp_path)
    export = picked(tmp_path, "knee").export
    assert export is not None
    assert export.weights.startswith("no trained weights")
    onnx.checker.check_model(onnx.load(tmp_path / "picks" / "knee.onnx"))


def test_files_of_former_picks_are_removed(tmp_path: Path) -> None:
    """Those of an earlier budget go; files of other names stay."""
    result = three()
    write_report(result, tmp_path)
    (tmp_path / "picks" / "mine.onnx").write_text("mine")
    for old in ("worst_device", "within_all_1", "within_20ms_on_other", "at_30fps"):
        (tmp_path / "picks" / f"{old}.onnx").write_text("of another search")
    write_report(replace(result, setting=setting(budgets_ms=(60.0,))), tmp_path)
    names = {path.name for path in (tmp_path / "picks").iterdir()}
    assert names == {"knee.json", "knee.onnx", "within_60ms.json", "within_60ms.onnx", "mine.onnx"}


def test_an_export_that_fails_is_reported_and_the_report_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pick has no ONNX file, neither new nor old, and the page and the JSON say why."""
    result = three()
    write_report(result, tmp_path)
    monkeypatch.setattr(agreement, "MOST_TOLERANCE", -1.0)
    names = {path.name for path in write_report(result, tmp_path, weights=trained)}
    assert not [name for name in names if name.endswith(".onnx")]
    assert not list((tmp_path / "picks").glob("*.onnx"))
    exported = picked(tmp_path, "knee")
    assert exported.export is None
    assert "do not deploy" in exported.problem
    assert "do not deploy" in (tmp_path / "report.html").read_text()


def test_the_command_writes_the_report_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It takes the run's own weights and prints what it wrote, a line each."""
    result = three()
    loaded = []

    def load_weights(_run: object, number: int) -> Mapping[str, Tensor]:
        loaded.append(number)
        return trained(result.trials[number])

    monkeypatch.setattr("nas.search.run.load.load_result", lambda _path: result)
    monkeypatch.setattr("nas.search.run.kept.load_weights", load_weights)
    assert main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(Path(line).is_file() for line in lines)
    assert len(lines) == 10
    assert set(loaded) == {0, 1}


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is no run gets no traceback, and nothing is written into it."""
    assert main([str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_failure_has_its_own_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error's own exit code is passed on."""

    class OtherError(NasError):
        exit_code = 1

    def fail(path: Path) -> SearchResult:
        raise OtherError("no")

    monkeypatch.setattr("nas.search.run.load.load_result", fail)
    assert main(["somewhere"]) == 1


def test_ctrl_c_and_many_problems_end_as_in_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C is 130, and each problem has a line of its own that begins with `error: `."""

    def stop(path: Path) -> SearchResult:
        raise KeyboardInterrupt

    def fail(path: Path) -> SearchResult:
        raise ConfigError(["one", "two"])

    monkeypatch.setattr("nas.search.run.load.load_result", stop)
    assert main(["somewhere"]) == 130
    capsys.readouterr()
    monkeypatch.setattr("nas.search.run.load.load_result", fail)
    assert main(["somewhere"]) == 2
    assert capsys.readouterr().err == "error: one\nerror: two\n"


def test_help_names_a_run_as_a_search_does(capsys: pytest.CaptureFixture[str]) -> None:
    """Its example is the run of the default search: SPACE-DEVICE-DATA."""
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "python -m nas.report runs/mbv3-pixel_lut-digits\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mysql://ann:s3cret@host:3306/db", "mysql://ann:***@host:3306/db"),
        ("mysql+pymysql://ann:s3cr@t/s3cret@host/db", "mysql+pymysql://ann:***@host/db"),
        ("postgresql://host/db?user=ann&password=s3cret&x=1", "postgresql://host/db?user=ann&password=***&x=1"),
        ("postgresql://ann@host:5432/db", "postgresql://ann@host:5432/db"),
        ("sqlite:////home/ann/trials.db", "sqlite:////home/ann/trials.db"),
    ],
)
def test_the_storages_password_is_not_shown(tmp_path: Path, url: str, shown: str) -> None:
    """No written file holds it; the rest of the URL stays as it is."""
    one = setting()
    result = SearchResult(replace(one, experiment={**one.experiment, "storage": url}), (small(0, 40.0, 10.0),))
    written = write_report(result, tmp_path)
    assert not [path.name for path in written if b"s3cr" in path.read_bytes()]
    assert load_pareto(tmp_path / "pareto.json").setting.experiment["storage"] == shown
    assert f"storage: {shown}".replace("&", "&amp;") in (tmp_path / "report.html").read_text()


def test_rows_can_be_appended_without_loading_the_report() -> None:
    """A search that appends to trials.csv pays for neither Plotly nor matplotlib."""
    code = (
        "import sys, nas.report.files; "
        "sys.exit(any(name in sys.modules for name in ('plotly', 'matplotlib', 'jinja2', 'onnxruntime')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
