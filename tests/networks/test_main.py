"""`python -m nas.networks` shows networks and search spaces exactly, and starts quickly."""

from __future__ import annotations

import itertools
import json
import re
import resource
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nas.networks.__main__ import main
from nas.networks.architecture import Architecture, Block
from nas.networks.references import REFERENCES, reference
from nas.networks.space.search_space import load_space

SPACES = Path(__file__).parents[2] / "search_spaces"
SHOW = [sys.executable, "-m", "nas.networks", "show", "mobilenet_v3_large"]


def test_show_network_has_a_row_for_each_unit_and_the_totals(capsys: pytest.CaptureFixture[str]) -> None:
    """Plain words on a pipe: the same on every machine."""
    assert main(["show", "mobilenet_v3_large"]) == 0
    out = capsys.readouterr().out
    rows = {words[0]: words[1:] for words in map(str.split, out.splitlines()) if words}
    assert rows["mbconv_112x112_i16_o24_h64_k3_s2_se0_relu"] == ["24x56x56", "3,440", "19,468,288", "4,014,080", "2.13"]
    assert rows["total"] == ["5,483,032", "216,589,760", "4,014,080", "3.09"]
    # 5,451,272 weights, 19,686 biases and output channels: bytes / 1e6.
    assert [rows[precision][0] for precision in ("float32", "float16", "int8")] == ["21.88", "10.94", "5.61"]
    assert max(map(len, out.splitlines())) <= 120
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
    assert data["peak_activation_bytes"] == max(unit["peak_activation_bytes"] for unit in data["units"])
    for precision in ("float32", "float16", "int8"):
        for key in ("model_bytes", "activation_bytes"):
            assert data[key][precision] == sum(unit[key][precision] for unit in data["units"])


def test_show_takes_the_json_of_a_pick(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The architecture is read from its key, whatever else the file holds."""
    path = tmp_path / "knee.json"
    path.write_text(json.dumps({"top1": 1, "architecture": reference("mobilenet_v2").to_json()}), encoding="utf-8")
    assert main(["show", str(path)]) == 0
    assert "3,504,872  300,774,272" in capsys.readouterr().out


def test_show_space_has_its_size_parameters_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """Words and JSON have the same exact numbers."""
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


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.yaml")), ids=lambda path: path.stem)
def test_show_every_shipped_space(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each layer and stage, what variants and tied decisions choose, and both members."""
    assert main(["show", str(path)]) == 0
    out = capsys.readouterr().out
    layout = load_space(str(path)).format
    rows = [line.split()[0] for line in out.splitlines() if re.match(r"stem|stage|head", line)]
    stages = [f"stage{number}" for number in range(1, len(layout.stages) + 1)]
    assert rows == ["stem"] * len(layout.stem) + stages + ["head"] * len(layout.head)
    assert all(f"\n  {label}: " in out for stage in layout.stages for label in stage.variants or {})
    assert all(f"\n{group.name} decides {group.keys[0]}" in out for group in layout.tied)
    assert "\nsmallest member: " in out
    assert "\nlargest member: " in out


@pytest.mark.parametrize("member", ["smallest", "largest"])
def test_show_a_member_of_a_space(member: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The smallest and the largest member are shown like any network."""
    assert main(["show", "mbv3", "--member", member, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert main(["show", "mbv3", "--json"]) == 0
    costs = json.loads(capsys.readouterr().out)[member]
    assert {key: shown[key] for key in ("params", "macs", "peak_activation_bytes", "deployed")} == costs


def test_show_draws_what_it_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table goes to stdout, the name of the written file to stderr."""
    path = tmp_path / "picture.svg"
    for words in (["mobilenet_v2"], ["mbv3", "--member", "largest"]):
        assert main(["show", *words, "--svg", str(path)]) == 0
        caught = capsys.readouterr()
        assert caught.err == f"wrote {path}\n"
        assert "total" in caught.out
        assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert "largest member of mbv3" in path.read_text(encoding="utf-8")
    assert main(["show", "mobilenet_v2", "--svg", str(tmp_path / "none" / "x.svg")]) == 1
    assert capsys.readouterr().err.startswith("error: cannot write ")


def test_list_has_every_published_network(capsys: pytest.CaptureFixture[str]) -> None:
    """With its costs, by family, as words and as JSON."""
    assert main(["list", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in data] == list(REFERENCES)
    listed = next(row for row in data if row["name"] == "mobilenet_v3_large")
    assert (listed["family"], listed["resolution"], listed["params"]) == ("mobilenet_v3", 224, 5_483_032)
    families = [family for family, _ in itertools.groupby(row["family"] for row in data)]
    assert main(["list"]) == 0
    *lines, legend = capsys.readouterr().out.splitlines()
    assert len(lines) == len(REFERENCES) + 1
    marked = {name for line in lines for name in re.findall(r"(\w+)\*", line)}
    assert marked == {name for name in REFERENCES if name.startswith(("mobileone", "repghostnet"))}
    assert legend.startswith("* as it is trained, with branches")
    assert [row["name"] for row in data if row["deployed"]] == [name for name in REFERENCES if name in marked]
    assert [line.split()[0] for line in lines[1:] if not line.startswith(" ")] == families
    assert max(map(len, lines)) <= 110


def test_explain_compares_one_convolution(capsys: pytest.CaptureFixture[str]) -> None:
    """MobileNetV1's example, and any other."""
    assert main(["explain"]) == 0
    assert "8.84 times fewer weights and MACs: 1/N + 1/k² = 1/512 + 1/9 = 0.1131 " in capsys.readouterr().out
    assert main(["explain", "--kernel", "5", "--out-channels", "100", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["share"] == pytest.approx(1 / 100 + 1 / 25)
    assert data["convolutions"]["standard"]["macs"] == 25 * 512 * 100 * 14 * 14
    assert data["ratio"] == pytest.approx(20)


def test_explain_takes_a_network_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """Pair by pair and in sum, in words and in JSON; the shares as in the paper."""
    assert main(["explain", "mobilenet_v1"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[-1] for line in out.splitlines()[3:7]] == ["7.89", "8.41", "8.41", "8.69"]
    assert "1x1 convolution        539,492,352   94.86%  3,139,584      74.59%\n" in out
    assert "5,042,688 relu6" in out
    assert main(["explain", "mobilenet_v1", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    saved = sum(row["standard_macs"] - row["macs"] for row in data["separables"])
    assert data["network"]["standard_macs"] == data["network"]["macs"] + saved == 4_867_293_184
    assert data["network"]["weights"] + data["biases_and_normalisation"] == 4_231_976


def test_explain_says_where_there_is_nothing_to_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network of standard convolutions."""
    blocks = (Block("conv", 8, 3), Block("pool"), Block("linear", 2))
    path = tmp_path / "plain.json"
    path.write_text(json.dumps(Architecture(8, 2, blocks).to_json()), encoding="utf-8")
    assert main(["explain", str(path)]) == 0
    assert "plain has no pointwise convolution that reads depthwise ones alone." in capsys.readouterr().out


def test_show_gives_the_costs_of_the_deployed_form_too(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for networks that are trained with branches; the table is of what is trained."""
    assert main(["show", "mobileone_s0"]) == 0
    out = capsys.readouterr().out
    assert "as it is trained; deployed, each block's branches are one convolution: 2,078,504 params, 275," in out
    assert "5,293,272" in out
    assert main(["show", "mobileone_s0", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["params"], data["deployed"]["params"], data["deployed"]["macs"]) == (5_293_272, 2_078_504, 275_110_400)
    assert main(["show", "mobilenet_v2"]) == 0
    assert "as it is trained" not in capsys.readouterr().out
    assert main(["show", "mobilenet_v2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["deployed"] is None


def test_show_gives_the_deployed_costs_of_a_spaces_members(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a space whose blocks are trained with branches."""
    path = tmp_path / "branched.yaml"
    path.write_text(
        "name: branched\nresolution: 32\nstem: {op: conv, out: 8, act: relu}\n"
        "stages:\n  - {op: mobile_one, out: 8, branches: [0, 4], act: relu}\n"
        "head:\n  - {op: pool}\n  - {op: linear, out: classes}\n",
        encoding="utf-8",
    )
    assert main(["show", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()[-3:]
    # What is deployed is the same; the name of the largest stands at the last choice.
    costs = [line.split(": ")[1] for line in lines]
    assert [line.split(": ")[0] for line in lines] == ["smallest member", "largest member", "largest member, deployed"]
    assert costs[0] == costs[2]
    assert costs[1].endswith("; as it is trained")


def test_explain_looks_at_what_is_deployed(capsys: pytest.CaptureFixture[str]) -> None:
    """MobileOne's depthwise convolutions have branches beside them while it is trained only."""
    assert main(["explain", "mobileone_s0"]) == 0
    out = capsys.readouterr().out
    assert "mobileone_s0 (as it is deployed): its 21 depthwise separable convolutions, and as" in out
    assert main(["explain", "mobileone_s0", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["network"]["macs"] == 275_110_400
    assert data["network"]["weights"] + data["biases_and_normalisation"] == 2_078_504


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kernel", "1"], "1.00 times as many weights and MACs, so more: 1/N + 1/k² = 1/512 + 1/1 = 1.0020\n"),
        (
            ["--in-channels", "1", "--out-channels", "1"],
            "1.11 times as many weights and MACs, so more: 1/N + 1/k² = 1/1 + 1/9 = 1.1111\n",
        ),
    ],
)
def test_explain_says_more_where_nothing_is_saved(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A depthwise convolution of one pixel, or one beside a single output channel."""
    assert main(["explain", *words]) == 0
    out = capsys.readouterr().out
    assert said in out
    assert "fewer weights" not in out


def test_a_small_networks_megabytes_are_not_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every byte is written where two decimals would leave none: 24 + 16 weights and 8 + 2 biases."""
    blocks = (Block("conv", 8), Block("pool"), Block("linear", 2))
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(Architecture(8, 2, blocks).to_json()), encoding="utf-8")
    assert main(["show", str(path)]) == 0
    rows = {words[0]: words[1:] for words in map(str.split, capsys.readouterr().out.splitlines()) if words}
    assert rows["float32"][0] == "0.0002"
    # The convolution reads 192 numbers and writes 512, which the pooling reads; it writes 8 for the classifier.
    assert rows["int8"][1] == "0.001234"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["show", "mobilenet_v3_larg"],
            "error: unknown network or search space 'mobilenet_v3_larg'. Nearest: mobilenet_v3_large, ",
        ),
        (["show", "mobilenet_v2", "--member", "largest"], "error: --member is for search spaces, but mobilenet_v2 is"),
        (["show", "mbv3", "--svg", "x.svg"], "error: mbv3 is a search space: add --member smallest or --member larg"),
        (["explain", "mbv3"], "error: mbv3 is a search space, but explain takes a network. A member of it is written"),
        (["explain", "x.yaml"], "error: x.yaml is a search space, but explain takes a network"),
        (["explain", "mobilenet"], "error: unknown network 'mobilenet'. Nearest: mobilenet_v1, "),
        (["show", "mobilenet_v2", "--svg", ""], "error: --svg must be the path of a file to write, but is empty"),
        (["explain", "mobilenet_v2", "--kernel", "3"], "error: --kernel cannot be given for a network, whose"),
        (["explain", "--kernel", "4"], "error: --kernel must be odd and at least 1, but got 4"),
        (["explain", "--kernel", "-1"], "error: --kernel must be odd and at least 1, but got -1"),
        (["explain", "--in-channels", "0"], "error: --in-channels must be at least 1, but got 0"),
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
    """A valid file is reported with the number of its networks."""
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
        "nas.networks.space.search_space",
        "nas.networks.references",
        "nas.networks.scaling",
        "nas.networks.proxy",
        "nas.networks.explain",
        "nas.networks.drawing",
        "nas.networks.show",
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
