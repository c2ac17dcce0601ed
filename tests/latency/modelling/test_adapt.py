"""Tests of `nas.latency.modelling.adapt`: the table of a new device from a few measurements, and its error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas.benchmarks.adapting import METHODS, MeasuredNetworks, Trials
from nas.benchmarks.adapting import main as benchmark_main
from nas.errors import NasError
from nas.latency.__main__ import main
from nas.latency.measuring.agreement import compare
from nas.latency.modelling.adapt import (
    LEAST_SAMPLES,
    DeviceSample,
    KnownDevices,
    adapt_table,
    adapted_costs,
    choose,
    choose_samples,
    leave_one_out,
)
from nas.latency.published.help_fbnet import DEVICES, ROUNDED_PHONES, help_network, read_help_fbnet
from nas.latency.table import Calibration, Citation, LatencyTable, Row, TableFormat, load_table, save_table
from nas.networks.architecture import Architecture
from nas.networks.operators import parse_unit, units
from nas.networks.space.search_space import load_space

RNG = np.random.default_rng(0)
NETWORKS = tuple(help_network("".join(map(str, digits))) for digits in RNG.integers(0, 9, (120, 22)))
# Nothing here is a real device: what each amount of the cost model costs is drawn.
PROBLEM = MeasuredNetworks.of((), NETWORKS, np.zeros((0, len(NETWORKS))))
UNIT_KEYS = tuple(dict.fromkeys(unit.key for network in NETWORKS for unit in units(network)))


def made_up(count: int, seed: int) -> np.ndarray:
    """The units' latencies on made-up devices (devices, units): each amount costs up to 20 times as much on another."""
    shares = PROBLEM.amounts / np.maximum(PROBLEM.counts.mean(axis=0) @ PROBLEM.amounts, 1e-12)
    costs: np.ndarray = np.exp(np.random.default_rng(seed).uniform(-1.5, 1.5, (count, shares.shape[1])))
    return np.asarray(costs @ shares.T)


def known_devices(count: int) -> KnownDevices:
    """Made-up known devices."""
    return KnownDevices(made_up(count, seed=1), PROBLEM.amounts)


def chosen_samples(devices: KnownDevices, count: int = 10) -> list[int]:
    """The networks to measure."""
    return choose(devices, PROBLEM.counts, PROBLEM.counts, count)


def error_on_others(devices: KnownDevices, measured_ms: np.ndarray, true_ms: np.ndarray, rows: list[int]) -> float:
    """Mean relative error on the networks that were not sampled."""
    costs = adapted_costs(devices, PROBLEM.counts[rows], measured_ms[rows])
    rest = np.delete(np.arange(len(true_ms)), rows)
    return compare(PROBLEM.counts[rest] @ costs, true_ms[rest]).mape


@pytest.mark.parametrize(("count", "most"), [(12, 0.01), (1, 0.03)])
def test_a_device_is_recovered_from_ten_networks(count: int, most: float) -> None:
    """With many known devices and with one; its own scale does not matter."""
    devices = known_devices(count)
    rows = chosen_samples(devices)
    for scale in (1.0, 1000.0):
        true_ms = scale * PROBLEM.counts @ made_up(1, seed=2)[0]
        unadapted = PROBLEM.counts @ devices.latencies[0]
        assert error_on_others(devices, true_ms, true_ms, rows) < most
        assert compare(unadapted * true_ms.mean() / unadapted.mean(), true_ms).mape > 2 * most


def test_one_wild_measurement_does_little_harm() -> None:
    """Twice the latency, as of a phone that has become hot."""
    devices = known_devices(12)
    rows = chosen_samples(devices)
    true_ms = PROBLEM.counts @ made_up(1, seed=2)[0]
    for wild in rows:
        measured_ms = true_ms.copy()
        measured_ms[wild] *= 2
        assert error_on_others(devices, measured_ms, true_ms, rows) < 0.03


def test_a_left_out_sample_is_predicted_without_it() -> None:
    """A sample does not change its own prediction; the error matches that on networks that were not measured."""
    devices = known_devices(12)
    rng = np.random.default_rng(3)
    true_ms = PROBLEM.counts @ made_up(1, seed=2)[0]
    measured_ms = true_ms * np.exp(rng.normal(0, 0.03, len(true_ms)))
    rows = chosen_samples(devices, 20)
    left_out = leave_one_out(devices, PROBLEM.counts[rows], measured_ms[rows])
    changed = measured_ms[rows].copy()
    changed[7] *= 3
    assert leave_one_out(devices, PROBLEM.counts[rows], changed)[7] == left_out[7]
    left_out_error = compare(left_out, measured_ms[rows]).mape
    assert 0.5 < left_out_error / error_on_others(devices, measured_ms, measured_ms, rows) < 2


def test_the_choice_is_better_than_chance() -> None:
    """And it is always the same, names nothing twice, and looks at no measurement."""
    devices = known_devices(12)
    rows = chosen_samples(devices)
    assert rows == chosen_samples(devices)
    assert len(set(rows)) == 10
    rng = np.random.default_rng(4)
    true_ms = PROBLEM.counts @ made_up(8, seed=5).T
    noisy = true_ms * np.exp(rng.normal(0, 0.03, true_ms.shape))
    by_choice = [error_on_others(devices, noisy[:, i], true_ms[:, i], rows) for i in range(8)]
    by_chance = [
        error_on_others(devices, noisy[:, i], true_ms[:, i], rng.choice(len(NETWORKS), 10, replace=False).tolist())
        for i in range(8)
    ]
    assert np.mean(by_choice) < np.mean(by_chance)


@pytest.mark.parametrize("count", [0, len(NETWORKS) + 1])
def test_a_number_of_samples_that_cannot_be_chosen_is_refused(count: int) -> None:
    """Naming the range."""
    with pytest.raises(NasError, match=f"from 1 to {len(NETWORKS)}, but is {count}"):
        chosen_samples(known_devices(2), count)


def table(name: str, latencies: np.ndarray, calibration: Calibration | None = None) -> LatencyTable:
    """A table with these rows for UNIT_KEYS."""
    not_stated = "not stated"
    conditions = TableFormat(
        device=name,
        soc=not_stated,
        cores=not_stated,
        threads="1",
        runtime=not_stated,
        runtime_version=not_stated,
        execution_provider=not_stated,
        precision="float32",
        date=not_stated,
        protocol="made up",
        calibration=calibration or Calibration(),
        sources={"measured": (Citation(title=f"made up: {name}", url="", licence="none", use="tests"),)},
    )
    return LatencyTable(name, conditions, {k: Row(float(v)) for k, v in zip(UNIT_KEYS, latencies, strict=True)})


def device_samples(of: LatencyTable, networks: Sequence[Architecture]) -> list[DeviceSample]:
    """Whole networks, measured exactly."""
    return [
        DeviceSample(f"network {i}", tuple(unit.key for unit in units(n)), of.estimate(n).latency_ms)
        for i, n in enumerate(networks)
    ]


SOURCES = tuple(table(f"known{i}", row) for i, row in enumerate(made_up(9, seed=1)))
TRUE = table("new", made_up(1, seed=2)[0])
NETWORK_UNITS = tuple(units(network) for network in NETWORKS)


def chosen_units(of: LatencyTable, count: int) -> list[DeviceSample]:
    """Units timed alone, exactly, that tell most about NETWORKS."""
    options = [(parse_unit(key),) for key in UNIT_KEYS]
    keys = [UNIT_KEYS[index] for index in choose_samples(SOURCES, options, NETWORK_UNITS, count)]
    return [DeviceSample(key, (key,), of.rows[key].latency_ms, whole=False) for key in keys]


def test_a_table_of_whole_networks_and_of_units() -> None:
    """Rows are modelled, the sources are cited, the error is in the conditions, and networks are told right."""
    by_networks = device_samples(TRUE, NETWORKS[:12])
    by_units = chosen_units(TRUE, 12)
    for samples in (by_networks, by_units, [*by_networks[:6], *by_units[:6]]):
        made = adapt_table(SOURCES, samples, "new", {"threads": "4"})
        assert {row.source for row in made.rows.values()} == {"modelled"}
        assert made.conditions.threads == "4"
        assert made.conditions.validation["left out one by one"]["networks"] == len(samples)
        assert "mean absolute" in made.conditions.calibration.held_out_error
        titles = {citation.title for citation in made.conditions.sources["modelled"]}
        assert {f"made up: {source.name}" for source in SOURCES} < titles
        assert compare(made.estimate_many(NETWORKS[20:]), TRUE.estimate_many(NETWORKS[20:])).mape < 0.02


def test_the_sources_calibration_is_carried_over() -> None:
    """Units timed alone keep their latency, and the latency of a network beyond its units is fitted."""
    calibration = Calibration(scale=1.25, offset_ms=2.0)
    sources = [replace(s, conditions=s.conditions.model_copy(update={"calibration": calibration})) for s in SOURCES]
    true = table("new", made_up(1, seed=2)[0], Calibration(scale=1.25, offset_ms=2.0))
    samples = [*device_samples(true, NETWORKS[:10]), *chosen_units(true, 10)]
    made = adapt_table(sources, samples, "new", {})
    assert made.conditions.calibration.scale == pytest.approx(1.25)
    assert compare(made.estimate_many(NETWORKS[20:]), true.estimate_many(NETWORKS[20:])).mape < 0.02
    ratios = [made.rows[key].latency_ms / true.rows[key].latency_ms for key in UNIT_KEYS]
    assert np.median(ratios) == pytest.approx(1.0, abs=0.05)


def test_only_units_that_all_sources_have_get_rows() -> None:
    """A sample with another is refused, and so is a choice among networks with it."""
    lacking = replace(SOURCES[1], rows=dict(list(SOURCES[1].rows.items())[1:]))
    samples = device_samples(TRUE, NETWORKS[:10])
    with pytest.raises(NasError, match="known1 has no row for 1 unit"):
        adapt_table([SOURCES[0], lacking], samples, "new", {})
    with pytest.raises(NasError, match="known1 has no row for 1 unit"):
        choose_samples([SOURCES[0], lacking], NETWORK_UNITS, NETWORK_UNITS, 5)
    alone = [DeviceSample(key, (key,), TRUE.rows[key].latency_ms, whole=False) for key in UNIT_KEYS[1:10]]
    assert list(adapt_table([SOURCES[0], lacking], alone, "new", {}).rows) == list(UNIT_KEYS[1:])


def test_samples_that_make_no_table_are_refused() -> None:
    """Too few, twice the same, not above 0, no source, no unit in common."""
    samples = device_samples(TRUE, NETWORKS[:10])
    twice = [*samples[:9], replace(samples[0], name="again")]
    for bad, message in (
        (samples[: LEAST_SAMPLES - 1], f"at least {LEAST_SAMPLES} samples"),
        (twice, "again has the same units as network 0"),
        ([*samples, replace(samples[0], latency_ms=0.0)], "must be a number above 0, but is 0"),
        ([*samples, replace(samples[0], latency_ms=float("nan"))], "must be a number above 0, but is nan"),
        ([*samples, DeviceSample("empty", (), 1.0)], "empty has no units"),
    ):
        with pytest.raises(NasError, match=message):
            adapt_table(SOURCES, bad, "new", {})
    with pytest.raises(NasError, match="at least one source"):
        adapt_table([], samples, "new", {})
    with pytest.raises(NasError, match="no unit in common"):
        adapt_table([SOURCES[0], replace(SOURCES[1], rows={})], samples, "new", {})


TINY = """
name: tiny
resolution: 32
stem: {op: conv, out: 16, kernel: 3, stride: 2, act: relu}
stages:
  - {op: mbconv, kernel: [3, 5], expand: [3, 6], out: 24, stride: 2, depth: [1, 2, 3], act: relu}
  - {op: mbconv, kernel: [3, 5], expand: [3, 6], out: 40, stride: 2, depth: [1, 2, 3], act: relu}
head:
  - {op: pool}
  - {op: linear, out: classes}
"""


def choosing(folder: Path, count: int) -> list[str]:
    """The words that choose samples of a small space by a made-up table; both are put into `folder`."""
    space = folder / "tiny.yaml"
    space.write_text(TINY, encoding="utf-8")
    rows = {unit.key: Row(0.01 + unit.macs / 1e6) for unit in load_space(str(space)).units()}
    _, source = save_table(LatencyTable("source", SOURCES[0].conditions, rows), folder)
    return ["adapt", str(source), "--choose", str(count), "--space", str(space), "--out", str(folder)]


@pytest.mark.parametrize("kind", ["networks", "units"])
def test_the_command_chooses_and_adapts(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """What --choose writes is what --samples reads, once the latencies are filled in."""
    words = choosing(tmp_path, 6)
    source_path, source = words[1], load_table(words[1])
    assert main([*words, *(["--units"] if kind == "units" else [])]) == 0
    path = tmp_path / "samples.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "sample,latency_ms"
    assert len(lines) == 7
    filled = [lines[0]]
    for line in lines[1:]:
        name = line.removesuffix(",")
        if kind == "units":
            filled.append(f"{name},{2 * source.rows[name].latency_ms}")
        else:
            network = Architecture.from_json(json.loads((tmp_path / name).read_text(encoding="utf-8")))
            filled.append(f"{name},{2 * source.estimate(network).latency_ms}")
    path.write_text("\n".join(filled) + "\n", encoding="utf-8")
    out = tmp_path / "tables"
    words = ["adapt", source_path, "--samples", str(path), "--name", "twice", "--out", str(out), "--threads", "2"]
    assert main(words) == 0
    assert "cross-validated error" in capsys.readouterr().out
    made = load_table(str(out / "twice.yaml"))
    assert made.conditions.threads == "2"
    assert made.conditions.validation["verdict"].startswith("not validated")
    ratios = np.array([made.rows[key].latency_ms / source.rows[key].latency_ms for key in made.rows])
    assert np.abs(ratios / 2 - 1).max() < 0.02


def test_measurements_are_not_overwritten_by_choosing_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They were typed in by hand; a list that is still empty is written again."""
    words = choosing(tmp_path, 5)
    path = tmp_path / "samples.csv"
    assert main(words) == 0
    empty = path.read_text()
    assert main(words) == 0
    assert path.read_text() == empty
    capsys.readouterr()
    for filled in (empty.replace(",\n", ",1.5\n"), empty.replace(",", ";"), empty + "mine,2\n", "other,columns\n"):
        path.write_text(filled)
        assert main(words) == 2
        assert "samples.csv is filled in already" in capsys.readouterr().err
        assert path.read_text() == filled


def test_fewer_samples_than_a_table_needs_are_not_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No table could be made from them."""
    assert main(choosing(tmp_path, LEAST_SAMPLES - 1)) == 2
    assert f"at least {LEAST_SAMPLES} samples must be chosen" in capsys.readouterr().err
    assert not (tmp_path / "samples.csv").exists()


def test_the_command_names_every_problem_of_the_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each problem has its line; missing options are named."""
    path = tmp_path / "samples.csv"
    path.write_text("sample,latency_ms\nmobilenet_v3_large,\nno_such_thing,3\nmobilenet_v2,-1\nx.json,1\na,b,c\n")
    words = ["adapt", "pixel_lut", "--samples", str(path), "--name", "new", "--out", str(tmp_path / "tables")]
    assert main(words) == 2
    errors = capsys.readouterr().err
    for number in range(2, 7):
        assert f"samples.csv:{number})" in errors
    path.write_text("unit,latency_ms\n")
    assert main(words) == 2
    assert "the first line must be sample,latency_ms" in capsys.readouterr().err
    assert main([*words[:4], "--out", str(tmp_path)]) == 2
    assert "--samples needs --name NAME" in capsys.readouterr().err
    assert main(["adapt", "pixel_lut", "--choose", "5", "--out", str(tmp_path)]) == 2
    assert "--choose needs --space NAME" in capsys.readouterr().err
    assert not (tmp_path / "tables").exists()


def test_the_saved_table_is_the_table(tmp_path: Path) -> None:
    """With its conditions."""
    made = adapt_table(SOURCES, device_samples(TRUE, NETWORKS[:10]), "new", {})
    save_table(made, tmp_path)
    read = load_table(str(tmp_path / "new.yaml"))
    assert read.conditions == made.conditions
    assert read.rows.keys() == made.rows.keys()


def test_a_network_of_help() -> None:
    """Skipped layers vanish, but for the five that change the shape; other texts are refused."""
    empty = help_network("8" * 22)
    assert [block.op for block in empty.blocks] == ["conv"] * 8 + ["pool", "linear"]
    full = help_network("7" * 22)
    assert len(full.blocks) == 22 + 4
    assert [unit.height for unit in units(full)][1:24] == [32] * 6 + [16] * 4 + [8] * 8 + [4] * 5
    for digits in ("8" * 21, "9" * 22, "x" * 22):
        with pytest.raises(NasError, match="22 digits"):
            help_network(digits)


def test_the_benchmark_ranks_a_made_up_world() -> None:
    """Adapting beats using a source table as it is; impossible numbers of samples are refused."""
    names = tuple(f"d{i}" for i in range(4))
    noise = np.exp(np.random.default_rng(6).normal(0, 0.01, (4, len(NETWORKS))))
    problem = MeasuredNetworks.of(names, NETWORKS, made_up(4, seed=7) @ PROBLEM.counts.T * noise)
    trials = Trials(problem, samples=10, seeds=1)
    for index in range(len(names)):
        by = trials.held_out(index)
        assert set(by) == set(METHODS)
        assert by["adapted"].spearman > by["source_median"].spearman
        assert by["one_best"].spearman >= by["one_median"].spearman
        assert by["adapted"].networks == len(NETWORKS) - 10
    for samples, seeds in ((LEAST_SAMPLES - 1, 1), (61, 1), (10, 0)):
        with pytest.raises(NasError, match="--samples must be from"):
            Trials(problem, samples, seeds)


def test_ten_samples_rank_the_networks_of_help(published: Path) -> None:
    """Mean Spearman over the 23 devices with ten networks measured: at least 0.95."""
    networks, latencies_ms = read_help_fbnet(published)
    assert latencies_ms.shape == (len(DEVICES), len(networks)) == (23, 5000)
    assert (latencies_ms[[DEVICES.index(phone) for phone in ROUNDED_PHONES]] % 1 == 0).all()
    trials = Trials(MeasuredNetworks.of(DEVICES, networks, latencies_ms), samples=10, seeds=5)
    found = [trials.adapted(index, trials.others(index)) for index in range(len(DEVICES))]
    assert {agreement.networks for agreement in found} == {len(networks) - 10}
    assert np.mean([agreement.spearman for agreement in found]) >= 0.95


def test_the_benchmark_says_where_published_files_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, naming the file."""
    assert benchmark_main(["--published", str(tmp_path)]) == 2
    assert "fbnet_cifar100_latency.csv.gz" in capsys.readouterr().err
