"""The command says in one line what is wrong, ends with 2, and leaves everything as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from PIL import Image

from nas.networks.deployed import deployed, has_branches
from nas.networks.operators import estimate_costs, primitives, units
from nas.networks.references import find_network
from nas.search.__main__ import main
from tests.search.conftest import SMALL_SPACE

# Words of a search that takes a second or two.
QUICK = ["--space", "small", "--device", "made_up", "--epochs", "1", "population=4", "max_images=60", "references=[]"]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command printed on stderr when it refused; nothing may have been written."""
    before = sorted(Path.cwd().rglob("*"))
    assert main(list(words)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert sorted(Path.cwd().rglob("*")) == before
    for line in printed.err.splitlines():
        assert line.startswith("error: ")
    return printed.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--space", "smal"], "unknown search space 'smal'. Known: small, "),
        (["--device", "pixel"], "unknown device 'pixel'. Known: pixel_lut, "),
        (["--space", "../../x"], "search space must be a name"),
        (["--device", "../../x"], "device must be a name"),
        (["--space", "no/such.yaml"], "there is no search space file 'no/such.yaml'"),
        (["--data", "digit"], "unknown data"),
        (["--data", "folder:nowhere"], "nowhere"),
        (["--trials", "0"], "trials must be greater than or equal to 1, but got 0 (command line, trials)"),
        (["--trials", "many"], "trials must be a whole number"),
        (["--minutes", "-1"], "minutes must be greater than 0"),
        (["--latency-max", "0"], "greater than 0"),
        (["--params-max", "5Q"], "'5Q'"),
        (["--sampler", "nsga"], "'nsga'"),
        (["trails=4"], "unknown key 'trails'. Known, nearest first: trials"),
        (["training.epoch=4"], "unknown key 'epoch'. Known, nearest first: epochs"),
        (["trials.x=4"], "trials"),
        (["quickstat"], "unknown experiment 'quickstat'. Known: quickstart"),
        (["quickstart", "cifar10"], "one experiment at a time, but got quickstart, cifar10"),
        (["=4"], "unknown key ''"),
        (["--objectives", "top1,latncy_ms"], "unknown name 'latncy_ms'. Known, nearest first: latency_ms, "),
        (["--objectives", "top1,latency_ms@othr"], "unknown device 'othr'. Known: other, "),
        (["--energy-max", "5"], "energy needs the power that the device draws, and the latency table made_up gives"),
        (["--fps-min", "0"], "greater than 0"),
        (["trials=2026-13-45"], "cannot read '2026-13-45' as the value of trials"),
        (["budgets_ms=[[1,2]]"], "budgets_ms[0] must be a number"),
        (["--minutes", "inf"], "minutes must be a finite number, but got inf (command line, minutes)"),
        (["--repeats", "1"], "repeats must be 0 or at least 2"),
        (["--params-max", "5MB"], "params must be a number such as 300000, 5M or 1.2G, but got '5MB'"),
        (["trainng.epochs=3"], "(command line, trainng)"),
        (["references=[mobilenet_v9]"], "unknown reference network 'mobilenet_v9'"),
    ],
)
def test_bad_words_are_explained(
    workplace: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert said in refused(capsys, *QUICK, *words)


def test_every_problem_of_an_experiment_is_said_at_once(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "mine.yaml").write_text("spase: small\ntrials: 0\ntraining:\n  epochs: 0\n  lr: 1\n")
    errors = refused(capsys, "mine.yaml").splitlines()
    assert len(errors) == 4
    for line, place in zip(sorted(errors), ["mine.yaml:1", "mine.yaml:2", "mine.yaml:4", "mine.yaml:5"], strict=False):
        assert any(place in error for error in errors), (line, place)


def test_malformed_yaml_is_named_with_its_line(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "mine.yaml").write_text("space: small\ntrials: [1\n")
    assert "mine.yaml:" in refused(capsys, "mine.yaml")


def test_a_table_without_some_units_names_them(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = workplace / "latency_tables" / "made_up.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:-1]))
    said = refused(capsys, *QUICK)
    assert "has no row for 1 unit" in said
    assert lines[-1].split(",")[0] in said


@pytest.mark.parametrize("latency", ["nan", "0", "-1", "inf", "fast"])
def test_a_table_with_an_impossible_latency_is_refused(
    workplace: Path, capsys: pytest.CaptureFixture[str], latency: str
) -> None:
    table = workplace / "latency_tables" / "made_up.csv"
    lines = table.read_text().splitlines()
    unit, _, *rest = lines[3].split(",")
    lines[3] = ",".join([unit, latency, *rest])
    table.write_text("\n".join(lines) + "\n")
    assert "made_up.csv:4" in refused(capsys, *QUICK)


def test_a_unit_that_stands_twice_is_refused(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = workplace / "latency_tables" / "made_up.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[1]]) + "\n")
    assert f"made_up.csv:{len(lines) + 1}" in refused(capsys, *QUICK)


def image_folder(folder: Path, classes: int, broken: bool = False) -> None:
    for split in ("train", "test"):
        for label in range(classes):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for index in range(6):
                Image.new("RGB", (12, 12), (40 * label, 20 * index, 90)).save(place / f"{index}.png")
    if broken:
        (folder / "train" / "class0" / "3.png").write_bytes(b"not a picture")


def test_folders_that_cannot_be_used_are_explained(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "none" / "train").mkdir(parents=True)
    (workplace / "none" / "test").mkdir(parents=True)
    image_folder(workplace / "single", 1)
    image_folder(workplace / "broken", 2, broken=True)
    assert "none" in refused(capsys, *QUICK, "--data", "folder:none")
    assert "class" in refused(capsys, *QUICK, "--data", "folder:single")
    assert str(Path("class0") / "3.png") in refused(capsys, *QUICK, "--data", "folder:broken")


def test_a_search_on_a_folder_of_images_leaves_everything_in_its_run(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image_folder(workplace / "photos", 2)
    words = ["--data", "folder:photos", "--trials", "2", "--budget-ms", "0.01,5", "training.batch_size=4"]
    assert main([*QUICK, *words]) == 0
    printed = capsys.readouterr()
    assert "latency of the front on made_up: 100.0% modelled (modelled is not measured)" in printed.out
    assert "the table is NOT VALIDATED" in printed.out
    assert "top-1 is of the candidate's proxy for 1 epoch" in printed.err
    assert "small: 1,600 networks; run: runs/small-made_up-photos" in printed.err
    assert "nothing within 0.01 ms; the fastest is trial " in printed.out
    run = workplace / "runs" / "small-made_up-photos"
    left = {str(path.relative_to(run)) for path in run.rglob("*")}
    assert {"report.html", "pareto.png", "pareto.json", "trials.csv", "picks/knee.json", "picks/knee.onnx"} <= left
    assert {path.name for path in workplace.iterdir()} == {"search_spaces", "latency_tables", "photos", "runs"}


def test_the_same_command_resumes_and_prints_json(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUICK, "--trials", "2", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert main([*QUICK, "--trials", "3", "--quiet", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["front"]
    rows = (workplace / "runs" / "small-made_up-digits" / "trials.csv").read_text().splitlines()
    assert sum(",complete," in row for row in rows) == 3


def test_a_run_of_another_experiment_is_refused(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUICK, "--trials", "2", "--quiet"]) == 0
    capsys.readouterr()
    said = refused(capsys, *QUICK, "--trials", "2", "--quiet", "--seed", "3")
    assert "belongs to another experiment: seed was 0 and is now 3" in said


def test_a_space_file_may_lie_anywhere(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "elsewhere").mkdir()
    (workplace / "elsewhere" / "own.yaml").write_text(SMALL_SPACE.replace("kernel: [3, 5]", "kernel: [4, 5]"))
    said = refused(capsys, *QUICK, "--space", "elsewhere/own.yaml")
    assert "elsewhere/own.yaml:6" in said
    assert "elsewhere/own.yaml:7" in said


def test_help_imports_neither_torch_nor_optuna() -> None:
    code = (
        "import sys; from nas.search.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'optuna', 'pandas', 'onnxruntime'} & set(sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--latency-max" in printed.stdout


def test_a_report_is_not_written_beside_a_search(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from nas.report.__main__ import main as report
    from nas.search.run.directory import RunDirectory, claimed

    assert main([*QUICK, "--trials", "2", "--quiet"]) == 0
    run = RunDirectory(workplace / "runs" / "small-made_up-digits")
    capsys.readouterr()
    with claimed(run):
        assert report([str(run.path)]) == 2
    assert "is in use by another command" in capsys.readouterr().err
    assert report([str(run.path)]) == 0
    assert "report.html" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["trials.csv", "pareto.png", "report.html"])
def test_a_file_that_cannot_be_written_is_named_by_both_commands(
    workplace: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """And once it can be, the same command goes on."""
    from nas.report.__main__ import main as report

    words = [*QUICK, "--trials", "1", "--quiet"]
    assert main(words) == 0
    run = workplace / "runs" / "small-made_up-digits"
    (run / name).unlink()
    (run / name).mkdir()
    capsys.readouterr()
    for failed in (main(words), report([str(run)])):
        assert failed == 1
    said = f"error: cannot write runs/small-made_up-digits/{name}: Is a directory. The same command goes on"
    assert capsys.readouterr().err.count(said) == 2
    (run / name).rmdir()
    assert report([str(run)]) == 0


def test_a_run_that_may_not_be_written_is_still_a_run(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from nas.report.__main__ import main as report

    assert main([*QUICK, "--trials", "1", "--quiet"]) == 0
    run = workplace / "runs" / "small-made_up-digits"
    (run / "lock").unlink()
    (run / "lock").mkdir()
    capsys.readouterr()
    assert report([str(run)]) == 1
    assert "error: cannot write into runs/small-made_up-digits: Is a directory. Copy the run" in capsys.readouterr().err


def test_a_space_of_branched_blocks_is_searched_and_exported_as_it_is_deployed(workplace: Path) -> None:
    """Trained with branches, costed and exported without: one convolution in the file for each of the deployed form."""
    assert main([*QUICK, "--space", "branched", "--trials", "3", "--sampler", "random", "--run", "run", "--quiet"]) == 0
    pick = json.loads(Path("run/picks/knee.json").read_text())
    architecture = find_network("run/picks/knee.json")
    assert has_branches(architecture)
    running = deployed(architecture)
    assert pick["trial"]["network"]["params"] == estimate_costs(running).params
    assert pick["onnx"]["weights"].startswith("all weights short-trained on ")
    expected = [p.kind for unit in units(running)[:-1] for p in primitives(unit) if p.weights]
    nodes = onnx.load("run/picks/knee.onnx").graph.node
    assert sum(node.op_type == "Conv" for node in nodes) == len(expected)


def test_a_search_for_two_devices_tells_of_both(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Columns, what each latency rests on, and files for programs; a small network is not 0.00 M."""
    words = ["--objectives", "top1,latency_ms,latency_ms@other,peak_activation_bytes", "--fps-min", "100"]
    words += ["--trials", "2", "--budget-ms", "5", "budgets={latency_ms@other: [9]}", "limits.energy_mj@other=30"]
    assert main([*QUICK, *words]) == 0
    printed = capsys.readouterr()
    assert "the front is of top-1, latency, latency on other, peak memory." in printed.err
    header = next(line for line in printed.out.splitlines() if line.startswith("name"))
    assert "ms other  mJ other" in header
    assert header.split("MACs M")[1].split()[-3:] == ["peak", "MB", "network"]
    assert "0.00 " not in printed.out
    for device in ("made_up", "other"):
        assert f"latency of the front on {device}: 100.0% modelled (modelled is not measured)" in printed.out
    assert printed.out.count("the table is NOT VALIDATED") == 2
    assert "best within 5 ms and within 9 ms on other: trial " in printed.out
    run = workplace / "runs" / "small-made_up-digits"
    columns = (run / "trials.csv").read_text().splitlines()[0].split(",")
    assert columns[-4:] == ["latency_ms@other", "energy_mj@other", "fps", "description"]
    assert (run / "picks" / "within_9ms_on_other.onnx").exists()
    member = json.loads((run / "pareto.json").read_text())["front"][0]["network"]
    assert member["elsewhere"]["other"]["latency_ms"] * 2.0 == pytest.approx(member["energy_mj"]["energy_mj@other"])
