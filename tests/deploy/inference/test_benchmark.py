"""Tests of timing models side by side, and of what the command prints."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from nas.deploy.__main__ import main
from nas.deploy.commands import benchmark as benchmark_command
from nas.deploy.export.export import export_file
from nas.deploy.inference import benchmark
from nas.deploy.inference.benchmark import Benchmark, Contender, contenders_of, measure
from nas.deploy.inference.memory import measure_footprint
from nas.deploy.inference.profile import profile_onnx
from nas.deploy.inference.timing import Times, measure_interleaved, ratio_of
from nas.errors import NasError, RunFailedError
from nas.latency.table import load_table
from nas.networks.architecture import Architecture, Block
from nas.networks.build import build_network
from nas.networks.operators import units
from nas.networks.references import reference
from tests.deploy.digits_network import DIGITS, trained_digits
from tests.deploy.export.formats.test_formats import manifest


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as an ONNX file."""
    return export_file(trained_digits().build(), manifest("onnx"), tmp_path_factory.mktemp("files"))[0]


def test_statistics_are_those_of_the_samples() -> None:
    """Closed forms for 1 to 101 milliseconds."""
    times = Times(tuple(float(value) for value in range(101, 0, -1)))
    assert (times.mean, times.median, times.least, times.most) == (51, 51, 1, 101)
    assert (times.percentile(90), times.percentile(99)) == (91, 100)


def test_a_ratio_is_that_of_each_round() -> None:
    """A machine that becomes ten times slower half way slows both alike, and leaves the ratio as it was."""
    base = Times((1.0, 1.0, 10.0, 10.0))
    assert ratio_of(Times((2.0, 2.0, 20.0, 20.0)), base) == 2
    assert ratio_of(base, base) == 1


def test_rounds_run_every_model_twice_and_keep_the_second() -> None:
    """Models take turns, in changing order; samples are the times of single runs, in milliseconds."""
    calls: list[str] = []

    def run(name: str, seconds: float) -> None:
        calls.append(name)
        time.sleep(seconds)

    times = measure_interleaved({"fast": lambda: run("fast", 0), "slow": lambda: run("slow", 0.003)}, runs=6)
    rounds = [calls[start : start + 4] for start in range(len(calls) - 24, len(calls), 4)]
    assert all(one[0] == one[1] != one[2] == one[3] for one in rounds)
    assert len({one[0] for one in rounds}) == 2
    assert [len(times[name].samples_ms) for name in ("fast", "slow")] == [6, 6]
    assert times["slow"].least >= 3 > times["fast"].median


def test_frames_a_second_and_in_time() -> None:
    """A batch counts as so many frames, and may take as long as these take to arrive."""
    contender = Contender("net", Path("net.onnx"), manifest("onnx"), 4)
    benchmark = Benchmark(contender, Times((100.0, 100.0, 100.0, 300.0)), 1.0, 1, None)
    assert benchmark.frames_per_second == pytest.approx(4 * 1000 / 150)
    assert benchmark.in_time(30) == 0.75
    assert benchmark.in_time(10) == 1
    assert benchmark.in_time(100) == 0


def test_a_network_is_timed_at_every_resolution_and_batch_size(tmp_path: Path) -> None:
    """Each resolution and batch size is a contender of its own; larger inputs take longer."""
    (tmp_path / "net.json").write_text(json.dumps(DIGITS.to_json()))
    contenders = contenders_of(str(tmp_path / "net.json"), tmp_path / "files", resolutions=(16, 96), batches=(1, 8))
    assert [contender.shape for contender in contenders] == [
        (1, 3, 16, 16),
        (8, 3, 16, 16),
        (1, 3, 96, 96),
        (8, 3, 96, 96),
    ]
    measured = measure(contenders, runs=5, memory=False)
    assert measured[0].ratio == 1
    assert measured[0].times.median < measured[3].times.median


def test_exported_files_are_timed_as_they_are(exported: Path, tmp_path: Path) -> None:
    """A file has the resolution that it was made for."""
    (contender,) = contenders_of(str(exported), tmp_path)
    assert (contender.resolution, contender.label) == (16, "net.onnx")
    with pytest.raises(NasError, match="was exported for 16 pixels alone"):
        contenders_of(str(exported), tmp_path, resolutions=(32,))


def test_a_profile_names_every_block(exported: Path) -> None:
    """The times of the blocks add up to the whole, and each has its unit's key."""
    layers = profile_onnx(exported, DIGITS)
    assert sum(layer.share for layer in layers) == pytest.approx(1)
    keys = {index: unit.key for index, unit in enumerate(units(DIGITS))}
    assert {layer.block: layer.unit for layer in layers if layer.block is not None} == keys
    assert all(layer.ms > 0 for layer in layers)


@pytest.mark.slow
def test_memory_is_that_of_the_model(exported: Path, tmp_path: Path) -> None:
    """80 MB of weights take 80 MB more than hardly any; a file that does not run is an error with the reason."""
    wide = Architecture(16, 10, (Block("conv", 4096), Block("pool"), Block("linear", 4864), Block("linear", 10)))
    large, _ = export_file(build_network(wide).eval(), manifest("onnx", wide), tmp_path)
    small_, large_ = (measure_footprint("onnx", path, (1, 3, 16, 16)) for path in (exported, large))
    if small_.added_bytes is None or large_.added_bytes is None:
        pytest.skip("this system does not tell a process's peak")
    weights = large.stat().st_size
    assert weights > 79e6
    assert weights < large_.added_bytes - small_.added_bytes < 4 * weights
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(RunFailedError, match=r"broken\.onnx does not run in a process of its own"):
        measure_footprint("onnx", tmp_path / "broken.onnx", (1, 3, 16, 16))


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ("float32", "float32", True),
        ("float32", "not stated", True),
        ("int8-static", "int8", True),
        ("int8-qat", "int8", True),
        ("float16", "float16", True),
        ("int8-static", "float32", False),
        ("int8-static", "not stated", False),
        ("int8-dynamic", "int8", False),
        ("float32", "int8", False),
    ],
)
def test_a_table_speaks_of_its_own_precision(ours: str, theirs: str, said: bool, tmp_path: Path) -> None:
    """For another precision it predicts neither latency nor energy, and the reason is given."""
    table = load_table("pixel_lut")
    table = replace(table, conditions=table.conditions.model_copy(update={"precision": theirs}))
    network = replace(manifest("onnx", reference("mobilenet_v3_small")), precision=ours)
    predicted = benchmark_command._prediction(Contender("net", tmp_path, network, 1), table)
    if said:
        assert predicted == {"device": "pixel_lut", "predicted_ms": table.estimate(network.architecture).latency_ms}
    else:
        assert predicted == {"device": "pixel_lut", "not_predicted": f"pixel_lut is of {theirs}, not of {ours}"}


def test_a_table_that_cannot_tell_is_said_before_anything_is_timed(
    exported: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is timed."""
    monkeypatch.setattr(benchmark, "measure", lambda *_, **__: pytest.fail("timed"))
    assert main(["benchmark", str(exported), "--device", "fpga_fbnet32"]) == 2
    assert "the latency table fpga_fbnet32 has no cost model" in capsys.readouterr().err


def test_fresh_weights_are_said_to_be(
    exported: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Once for each model, and in the JSON; so is the reason why a table predicts nothing."""
    monkeypatch.setattr(benchmark, "_footprint", lambda *_: None)
    (tmp_path / "net.json").write_text(json.dumps(DIGITS.to_json()))
    words = ["compare", str(exported), str(tmp_path / "net.json"), "--batches", "1,2", "--runs", "1"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == [
        "1 run of each, side by side, 1 thread; ratio: to the first, in the same rounds",
        "weights of net.onnx: trained on digits",
        "weights of net: no trained weights were kept: all weights are fresh from initialisation",
    ]
    assert main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["weights"].split()[0] for row in rows] == ["trained", "trained", "no", "no"]


@pytest.mark.slow
def test_compare_prints_ratios_predictions_and_profiles(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every figure of a benchmark is in the JSON; the table has a row for each contender."""
    words = ["compare", str(exported), "mobilenet_v3_small", "--runs", "3", "--device", "pixel_lut"]
    assert main([*words, "--target-fps", "30", "--profile", "--json"]) == 0
    small, reference = json.loads(capsys.readouterr().out)
    assert small["ratio"] == 1 < reference["ratio"]
    assert small["min_ms"] <= small["p50_ms"] <= small["p90_ms"] <= small["p99_ms"] <= small["max_ms"]
    assert 0 <= reference["in_time"] <= 1
    assert 5 < reference["predicted_ms"] < 50
    assert len(reference["profile"]) >= 15
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("net.onnx")
    assert lines[2].startswith("mobilenet_v3_small")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "mobilenet_v3_small"], "at least two models"),
        (["benchmark", "mobilenet_v3_small", "--batches", "1,x"], "--batches must be whole numbers"),
        (["benchmark", "mobilenet_v3_small", "--runs", "0"], "--runs must be at least 1, but got 0"),
        (["benchmark", "mobilenet_v3_small", "--target-fps", "-1"], "--target-fps must be above 0"),
        (["benchmark", "mobilenet_v3_small", "--target-fps", "nan"], "--target-fps must be above 0"),
        (["benchmark", "net.onnx", "--pick", "knee"], "net.onnx is an exported file: leave out --pick"),
        (["compare", "mobilenet_v3_small", "exported/nope"], "but exported/nope is not there"),
        (["benchmark", "mobilenet_v3_smal"], "Nearest: mobilenet_v3_small"),
        (["benchmark", "nothing.onnx"], "there is no file nothing.onnx"),
    ],
)
def test_mistakes_are_said(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Options must be possible, and files must exist."""
    assert main(words) == 2
    assert message in capsys.readouterr().err
