"""Does `python -m nas.networks` say what there is, at once?"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from nas.networks.__main__ import main
from nas.networks.references import REFERENCES, reference
from nas.networks.space import load_space

SHOW = [sys.executable, "-m", "nas.networks", "show", "mobilenet_v3_large"]


def test_show_network_has_a_row_for_each_unit_and_the_totals(capsys: pytest.CaptureFixture[str]) -> None:
    """Plain words on a pipe: the same on every machine."""
    assert main(["show", "mobilenet_v3_large"]) == 0
    out = capsys.readouterr().out
    assert "mbconv_112x112_i16_o24_h64_k3_s2_se0_relu           3,440   19,468,288  24x56x56\n" in out
    assert "total                                           5,483,032  216,589,760\n" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("name", REFERENCES)
def test_show_json_adds_up(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The units' costs sum to the network's."""
    assert main(["show", name, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["name"] == name
    assert data["fingerprint"] == reference(name).fingerprint
    assert data["params"] == sum(unit["params"] for unit in data["units"])
    assert data["macs"] == sum(unit["macs"] for unit in data["units"])


def test_show_takes_the_json_of_a_pick(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under the key "architecture", among other things."""
    path = tmp_path / "knee.json"
    path.write_text(json.dumps({"top1": 1, "architecture": reference("mobilenet_v2").to_json()}), encoding="utf-8")
    assert main(["show", str(path)]) == 0
    assert "3,504,872  300,774,272" in capsys.readouterr().out


def test_show_space_has_its_size_parameters_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """Exactly, as words and as JSON."""
    space = load_space("mbv3")
    assert main(["show", "mbv3"]) == 0
    out = capsys.readouterr().out
    assert f"mbv3: {space.size:,} networks, {len(space.parameters)} parameters\n" in out
    assert "stage2  mbconv  24       2       2|3|4  3|5|7   3|4|6   0|0.25  relu|hswish\n" in out
    assert main(["show", "mbv3", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["size"] == space.size
    assert [parameter["name"] for parameter in data["parameters"]] == [p.name for p in space.parameters]
    assert data["smallest"]["params"] < data["largest"]["params"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "mobilenet_v4"], "error: unknown network or search space 'mobilenet_v4'. Known: mobilenet_v2, "),
        (["show", "../../x"], "error: search space must be a name"),
        (["show", "x.yaml"], "error: there is no search space file 'x.yaml'"),
        (["show", "x.json"], "error: cannot read x.json"),
        (["check", "x.yaml"], "error: there is no search space file 'x.yaml'"),
        (["check", "mbv3"], "error: check takes the path of a .yaml file, but got 'mbv3'"),
    ],
)
def test_bad_words_are_one_line_and_exit_code_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr, without a traceback."""
    assert main(words) == 2
    caught = capsys.readouterr()
    assert caught.err.startswith(said)
    assert caught.err.count("\n") == 1
    assert caught.out == ""


def test_check_prints_every_problem_on_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And a good file is called good."""
    path = tmp_path / "x.yaml"
    path.write_text("name: x\nresolution: 32\nwidht: 2\n", encoding="utf-8")
    assert main(["check", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("error: ") for line in lines)
    assert f"({path}:3, widht)" in lines[-1]
    good = Path(__file__).parents[2] / "search_spaces" / "mbv3.yaml"
    assert main(["check", str(good)]) == 0
    assert "no problems" in capsys.readouterr().out


def test_show_starts_at_once() -> None:
    """Under half a second of CPU time (the least of three runs, on a warm disk)."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(SHOW, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mbv3"])
def test_show_imports_nothing_heavy(name: str) -> None:
    """Neither torch nor the libraries of fitting, tables and studies."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *SHOW[1:-1], name], check=True, capture_output=True, text=True
    )
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & {"torch", "pandas", "optuna", "scipy", "sklearn", "onnxruntime", "onnx", "matplotlib"}


@pytest.mark.parametrize(
    "module",
    [
        "nas.networks.architecture",
        "nas.networks.operators",
        "nas.networks.space",
        "nas.networks.references",
        "nas.networks.scaling",
        "nas.networks.proxy",
        "nas.latency.table",
        "nas.search.pareto",
        "nas.console",
    ],
)
def test_describing_and_costing_networks_needs_no_heavy_library(module: str) -> None:
    """Each of these starts in tens of milliseconds."""
    heavy = {"torch", "optuna", "onnxruntime", "onnx", "pandas", "scipy", "sklearn", "matplotlib", "plotly"}
    code = f"import sys, {module}; print(sorted({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_a_reader_that_goes_away_is_no_failure() -> None:
    """`python -m nas.networks show mbv3 --json | head -1` ends quietly."""
    with subprocess.Popen([*SHOW, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_ctrl_c_gives_130_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """What shells expect of an interrupted command; our own mistakes keep their traceback."""
    from nas import console

    def interrupted() -> int:
        raise KeyboardInterrupt

    assert console.run(interrupted) == 130
    assert capsys.readouterr().err == "stopped\n"
    with pytest.raises(ZeroDivisionError):
        console.run(lambda: 1 // 0)
