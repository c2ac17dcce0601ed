"""Tests of `nas.latency.measuring.measure` and `plan`: tables from made-up samples, and their validation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.errors import NasError
from nas.latency.__main__ import main
from nas.latency.commands.measure import print_validation
from nas.latency.measuring import agreement, measure
from nas.latency.measuring.agreement import compare, fit_calibration
from nas.latency.measuring.kit import EMPTY, RunSettings
from nas.latency.measuring.measure import build_table, verdict
from nas.latency.measuring.plan import Plan, at_resolutions, load_plan, plan_measurement, save_plan
from nas.latency.measuring.samples import Results, Timing
from nas.latency.table import load_table
from nas.networks.operators import units
from nas.networks.references import reference
from nas.networks.space.search_space import SearchSpace, load_space, read_space

SPACE = """\
name: small
classes: 10
resolution: [16, 32]
stem: {op: conv, out: 8, kernel: 3, stride: 2, act: hswish}
stages:
  - {op: mbconv, out: 16, stride: 2, depth: [1, 2], kernel: [3, 5], expand: [2, 4], se: 0, act: relu}
  - {op: mbconv, out: 24, stride: 1, depth: [1, 2], kernel: [3, 5], expand: [2, 4], se: [0, 0.25], act: relu}
head:
  - {op: pool}
  - {op: linear, out: classes}
"""


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    """A space of few units."""
    path = tmp_path / "small.yaml"
    path.write_text(SPACE)
    return read_space(path)


def made_up(plan: Plan, *, noise: float = 0.0, call_ms: float = 0.01, network_ms: float = 0.3) -> Results:
    """Samples of a device whose units take a nanosecond for each MAC, and whose networks take a little more."""
    rng = np.random.default_rng(0)

    def timing(ms: float) -> Timing:
        return Timing(ms * (1 + noise * rng.random((20, 2))), 1.0)

    def measured() -> dict[str, Timing]:
        alone = {unit.key: timing(unit.macs * 1e-6 + call_ms) for unit in plan.units}
        whole = {
            network.name: timing(network_ms + 1.1e-6 * sum(unit.macs for unit in network.units))
            for network in plan.networks
        }
        return {**alone, **whole, EMPTY: timing(call_ms)}

    return Results(HEADER, measured(), (measured(), measured()), {}, 4, 0, 0.01, 0.0, None)


HEADER: dict[str, Any] = {
    "kit": "0123",
    "settings": {
        "cores": [],
        "threads": 1,
        "provider": "CPUExecutionProvider",
        "precision": "float32",
        "passes": 4,
        "rounds": 5,
        "runs": 2,
        "group_size": 250,
        "graph_optimization": "all",
    },
    "machine": {"processor": "Made up", "cores": 4, "onnxruntime": "1", "system": "None", "python": "3"},
    "governor": "performance",
}
RUN = RunSettings(passes=2, rounds=1)


def test_a_plan_has_all_units_and_no_network_twice(space: SearchSpace) -> None:
    """Networks to fit and to check by are different ones, and both span the range of MACs."""
    plan = plan_measurement(space, references=["mobilenet_v3_small"], fit=6, held_out=12)
    assert set(space.units()) < set(plan.units)
    roles = {role: [n for n in plan.networks if n.role == role] for role in ("fit", "held out", "reference")}
    assert {role: len(networks) for role, networks in roles.items()} == {"fit": 6, "held out": 12, "reference": 1}
    assert len({network.architecture for network in plan.networks}) == 19
    macs = {role: [sum(u.macs for u in n.units) for n in networks] for role, networks in roles.items()}
    for role in ("fit", "held out"):
        assert max(macs[role]) > 3 * min(macs[role])
    # The published network is not for the space's images.
    assert roles["reference"][0].architecture.resolution == 32


def test_a_network_of_ones_own_gets_rows_and_is_checked(space: SearchSpace, tmp_path: Path) -> None:
    """At its own resolution, whatever the space's; another one in its place is another measurement."""
    own = reference("mobilenet_v3_small")
    path = tmp_path / "mobilenet_v3_small.json"
    path.write_text(json.dumps(own.to_json()))
    plan = plan_measurement(space, references=["mobilenet_v3_small"], networks=[str(path)], fit=4, held_out=4)
    *_, published, mine = plan.networks
    assert (published.name, published.architecture.resolution) == ("mobilenet_v3_small", 32)
    assert (mine.name, mine.role, mine.architecture) == ("mobilenet_v3_small.json", "reference", own)
    assert set(units(own)) <= set(plan.units)
    table = build_table("made_up", plan, made_up(plan), {})
    assert table.conditions.validation["mobilenet_v3_small.json"]["checked"].startswith("outside the range")
    assert not table.missing(units(own))
    measure.prepare(
        plan_measurement(space, networks=[str(path)], fit=0, held_out=2, with_units=False), RUN, tmp_path / "k"
    )
    path.write_text(json.dumps(reference("mobilenet_v3_large").to_json()))
    with pytest.raises(NasError, match="holds another measurement: other units or networks"):
        measure.prepare(
            plan_measurement(space, networks=[str(path)], fit=0, held_out=2, with_units=False), RUN, tmp_path / "k"
        )


def test_a_space_of_few_networks_gives_those_that_it_has(tmp_path: Path) -> None:
    """A space with fewer networks than requested is no endless loop."""
    text = SPACE.replace("[1, 2]", "1").replace("[2, 4]", "2").replace("[16, 32]", "16")
    (tmp_path / "tiny.yaml").write_text(text)
    tiny = read_space(tmp_path / "tiny.yaml")
    plan = plan_measurement(tiny, fit=3, held_out=50)
    assert len(plan.networks) == tiny.size == 8
    with pytest.raises(
        NasError, match="7 networks to calibrate by and at least 2 more to check by, but has 8 in all: "
    ):
        plan_measurement(tiny, fit=7, held_out=50)


def test_a_plan_comes_back_from_its_file(space: SearchSpace, tmp_path: Path) -> None:
    """The folder of a measurement is enough to analyse it again."""
    plan = plan_measurement(space, fit=3, held_out=3)
    save_plan(plan, tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == plan
    for text in ("[]", "{}", "4", '{"networks": [3]}'):
        (tmp_path / "plan.json").write_text(text)
        with pytest.raises(NasError, match=r"cannot read the plan .*plan\.json: .* Delete it"):
            load_plan(tmp_path / "plan.json")


def test_resolutions_can_be_chosen(space: SearchSpace) -> None:
    """Only theirs are measured, whether or not the space has them."""
    for resolution in (32, 24):
        plan = plan_measurement(space, resolutions=[resolution], fit=3, held_out=3)
        assert {network.architecture.resolution for network in plan.networks} == {resolution}
        assert max(unit.height for unit in plan.units) == resolution


def test_a_resolution_comes_loose_from_what_it_is_tied_to() -> None:
    """EfficientNet's widths and depths stay together; rows that differ in nothing else count once."""
    format_ = load_space("efficientnet").format
    group = format_.tied[0]
    rows = {**group.rows, "again": (999, *group.rows["b0"][1:])}
    space = SearchSpace(format_.model_copy(update={"tied": (group.model_copy(update={"rows": rows}),)}))
    loose = at_resolutions(space, [160])
    assert {at.resolution for at in (loose.sample_member(np.random.default_rng(seed)) for seed in range(20))} == {160}
    assert loose.size == load_space("efficientnet").size
    assert loose.format.tied[0].rows["b7"] == (2.0, 4, 7, 7, 10, 10, 13, 4)


def test_the_calibration_is_found_again(space: SearchSpace) -> None:
    """Networks that take 0.3 ms and 1.1 times the sum more are predicted as they are; the call is not counted twice."""
    plan = plan_measurement(space, fit=8, held_out=10)
    table = build_table("made_up", plan, made_up(plan), {"device": "Made-up board"})
    calibration = table.conditions.calibration
    assert calibration.scale == pytest.approx(1.1, rel=1e-3)
    assert calibration.offset_ms == pytest.approx(0.3, rel=1e-3)
    network = plan.networks[0].architecture
    exact = 0.3 + 1.1e-6 * sum(unit.macs for unit in units(network))
    assert table.estimate(network).latency_ms == pytest.approx(exact, rel=1e-3)
    assert table.conditions.device == "Made-up board"
    # All resolutions of the space: also where other decisions are tied to them, so that none can be chosen.
    assert table.conditions.measurement["resolutions"] == []
    assert table.conditions.validation["verdict"] == "passed"
    assert table.conditions.validation["held out"]["networks"] == 10


def test_a_busy_machine_fails_and_says_why(space: SearchSpace) -> None:
    """A table fails where the two halves of a run differ on the same networks."""
    plan = plan_measurement(space, fit=8, held_out=10)
    results = made_up(plan)
    slower = {name: Timing(timing.ms * 1.2, 1.0) for name, timing in results.halves[1].items()}
    noisy = Results(HEADER, results.timings, (results.halves[0], slower), {}, 4, 3, 0.3, 0.0, None)
    outcome = build_table("made_up", plan, noisy, {}).conditions.validation["verdict"]
    assert outcome.startswith("FAILED: two measurements of one network differ by 16.7%: the machine was busy")


def test_units_that_failed_leave_their_networks_out(space: SearchSpace) -> None:
    """A model that the provider cannot run loses its own row and the networks that contain it, nothing else."""
    plan = plan_measurement(space, fit=8, held_out=10)
    results = made_up(plan)
    lost = next(unit.key for unit in plan.units if unit.block.kernel_size == 5)
    del results.timings[lost]  # type: ignore[attr-defined]
    table = build_table("made_up", plan, results, {})
    assert lost not in table.rows
    assert len(table.rows) == len(plan.units) - 1
    assert table.conditions.validation["held out"]["networks"] < 10


def test_too_few_networks_are_said(space: SearchSpace) -> None:
    """A calibration needs at least three networks."""
    plan = plan_measurement(space, fit=3, held_out=2)
    results = made_up(plan)
    del results.timings[next(network.name for network in plan.networks if network.role == "fit")]  # type: ignore[attr-defined]
    for use in (lambda: build_table("made_up", plan, results, {}), lambda: measure.compare_protocols(plan, results)):
        with pytest.raises(NasError, match="needs at least 3 networks to fit by, but 2 were measured whole"):
            use()


def test_agreement_by_hand() -> None:
    """Three predictions, 4 % and 8 % too high and 20 % too low, in the right order."""
    result = compare([104, 216, 240], [100, 200, 300])
    assert result.bias == pytest.approx(-0.08 / 3)
    assert result.mape == pytest.approx(0.32 / 3)
    assert result.worst == pytest.approx(0.2)
    assert (result.within_5, result.within_10) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (result.spearman, result.kendall) == (1, 1)
    assert math.isnan(compare([1], [1]).spearman)


def test_an_offset_is_fitted_only_where_it_pays() -> None:
    """Proportional sums get a scale alone, so that a small network's latency is not negative."""
    sums = np.array([1.0, 2.0, 3.0, 5.0])
    assert fit_calibration(sums, 1.2 * sums).offset_ms == 0
    assert fit_calibration(sums, 1.2 * sums + 1).offset_ms == pytest.approx(1)
    # The larger the sum the less it takes: that is noise, not a device.
    assert fit_calibration(sums, 100 - sums).scale > 0


@pytest.mark.parametrize(
    ("mape", "spearman", "noise", "message"),
    [
        (0.01, 0.99, 0.01, "passed"),
        (0.06, 0.99, 0.01, "FAILED: the mean error is 6.0%, more than 5%"),
        (0.01, 0.9, 0.01, "FAILED: the rank correlation is 0.900, less than 0.97"),
        (0.01, math.nan, 0.01, "FAILED: the rank correlation is nan"),
        (0.01, 0.99, 0.06, "FAILED: two measurements of one network differ by 6.0%: the machine was busy; close"),
    ],
)
def test_verdicts(mape: float, spearman: float, noise: float, message: str) -> None:
    """What fails is named with its limit."""
    held_out = agreement.LatencyAgreement(10, 0, mape, mape, 1, 1, spearman, spearman)
    assert verdict(held_out, agreement.LatencyAgreement(10, 0, noise, noise, 1, 1, 1, 1)).startswith(message)


def test_networks_beyond_the_range_that_was_checked_are_told_apart(
    space: SearchSpace, capsys: pytest.CaptureFixture[str]
) -> None:
    """The calibration was not checked on networks of that size."""
    plan = plan_measurement(space, references=["mobilenet_v3_large"], fit=8, held_out=10)
    checked = build_table("made_up", plan, made_up(plan), {}).conditions.validation
    least, most = checked["range_ms"]
    assert least < checked["mobilenet_v3_large"]["measured_ms"] > most
    assert checked["mobilenet_v3_large"]["checked"] == f"outside the range of {least:g} to {most:g} ms"
    print_validation(checked)
    assert "the table is not made for networks like it" in capsys.readouterr().out


def test_the_forms_of_calibration_are_compared(space: SearchSpace) -> None:
    """Where the truth is a scale and an offset, all forms with an offset are exact."""
    plan = plan_measurement(space, fit=8, held_out=10)
    compared = measure.compare_calibrations(plan, made_up(plan))
    assert compared.keys() == agreement.CALIBRATIONS.keys()
    assert compared["scale"].mape > 0.01
    assert all(result.mape < 1e-6 for name, result in compared.items() if "offset" in name)


def test_the_command_measures_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], space: SearchSpace
) -> None:
    """From a space to a table that searches find; once more it measures nothing again."""
    monkeypatch.chdir(tmp_path)
    words = ["measure", "--space", "small.yaml", "--device", "here", "--resolution", "16", "--reference"]
    words += ["--fit", "4", "--held-out", "5", "--passes", "2", "--rounds", "2"]
    # Whether the table passes is up to the machine that runs the tests.
    assert main(words) in (0, 1)
    assert "validation: " in capfd.readouterr().out
    assert (tmp_path / "runs" / "latency-here" / "validation.png").read_bytes().startswith(b"\x89PNG")
    table = load_table("here")
    session = table.conditions.measurement["session"]
    assert session["load_ms"]["least"] <= session["load_ms"]["median"] <= session["load_ms"]["most"]
    assert session["models_at_once"] == len(table.rows) + 11  # 9 networks, the sentinel and the empty model
    assert main(["show", "here"]) == 0
    assert "session:            loaded in " in capfd.readouterr().out
    assert not table.missing(at_resolutions(space, [16]).units())
    assert {row.source for row in table.rows.values()} == {"measured"}
    raw = (tmp_path / "runs" / "latency-here" / "results.jsonl").read_bytes()
    with (tmp_path / "latency_tables" / "here.yaml").open("a") as file:
        file.write("power: {active_w: 2.5, source: a meter}\n")
    main(words)
    power = load_table("here").conditions.power
    assert power is not None
    assert power.watts == 2.5
    assert (tmp_path / "runs" / "latency-here" / "results.jsonl").read_bytes() == raw
    assert main([*words, "--threads", "2"]) == 2
    assert "settings.threads was 1 there and is 2 here" in capfd.readouterr().err
    assert main(["protocols", "runs/latency-here"]) == 0
    assert agreement.PROTOCOL in capfd.readouterr().out
    before = load_table("here")
    assert main(["validate", "here", "--reference"]) == 2
    assert "for the search space 'small', which is not found here: give the file" in capfd.readouterr().err
    assert main(["validate", "here", "--space", "small.yaml", "--networks", "4", "--reference"]) in (0, 1)
    after = load_table("here")
    assert (after.rows, after.conditions.calibration) == (before.rows, before.conditions.calibration)
    assert after.conditions.validation["held out"]["networks"] == 4
    assert str(after.conditions.validation["protocol"]).startswith("another run, on ")


def test_a_kit_that_was_damaged_is_written_again(tmp_path: Path, space: SearchSpace) -> None:
    """The new kit is identical, so that existing samples stay valid; other settings are still refused."""
    plan = plan_measurement(space, resolutions=[16], fit=0, held_out=2, with_units=False)
    identity = measure.prepare(plan, RUN, tmp_path)
    files = {path: path.read_bytes() for path in (tmp_path / "kit").rglob("*") if path.is_file()}
    for path, content in files.items():
        for damage in (lambda file: file.unlink(), lambda file: file.write_text("{}")):
            damage(path)
            assert measure.prepare(plan, RUN, tmp_path) == identity
            assert path.read_bytes() == content
    next(tmp_path.glob("kit/models/*")).unlink()
    with pytest.raises(NasError, match=r"settings\.rounds was 1 there and is 3 here"):
        measure.prepare(plan, RunSettings(passes=2, rounds=3), tmp_path)


def test_a_kit_is_carried_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], space: SearchSpace
) -> None:
    """One command writes the kit, a run anywhere writes its results, and the same command makes the table of them."""
    monkeypatch.chdir(tmp_path)
    words = ["measure", "--space", "small.yaml", "--device", "phone", "--resolution", "16", "--reference"]
    words += ["--fit", "3", "--held-out", "3", "--passes", "2", "--rounds", "1", "--target", "kit"]
    assert main(words) == 0
    assert "carry it to the device" in capfd.readouterr().out
    kit = tmp_path / "runs" / "latency-phone" / "kit"
    measure.runner.measure_kit(kit, tmp_path / "carried.jsonl", lambda *_: None)
    assert main([*words, "--results", "carried.jsonl", "--soc", "Some SoC"]) in (0, 1)
    assert load_table("phone").conditions.soc == "Some SoC"
    assert space.name == "small"
    carried_results = tmp_path / "runs" / "latency-phone" / "results.jsonl"
    assert carried_results.read_bytes() == (tmp_path / "carried.jsonl").read_bytes()
    assert main(["protocols", "runs/latency-phone"]) == 0
    capfd.readouterr()
    carried_results.write_text("samples of another board\n")
    assert main([*words, "--results", "carried.jsonl"]) == 2
    assert "results.jsonl holds other samples than carried.jsonl: move it away" in capfd.readouterr().err
    assert carried_results.read_text() == "samples of another board\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "carrier pigeon"], "a target is local, ssh:HOST, adb or adb:SERIAL, but got 'carrier pigeon'"),
        (["--threads", "0"], "threads must be at least 1, but got 0"),
        (["--passes", "1"], "passes must be at least 2, to compare one with the other, but got 1"),
        (["--fit", "2"], "at least 3 networks to calibrate by must be measured, but got 2"),
        (["--fit", "-5"], "at least 3 networks to calibrate by must be measured, but got -5"),
        (["--held-out", "1"], "at least 2 networks to check by must be measured, but got 1"),
        (["--held-out", "-1"], "at least 2 networks to check by must be measured, but got -1"),
        (["--reference", "mobilenet"], "unknown reference network 'mobilenet'"),
        (["--network", "none.json"], "cannot read none.json"),
        (["--network", "mobilenet_v2", "mobilenet_v2"], "name of its own, but mobilenet_v2 was given twice"),
        (["--resolution", "7"], "a resolution must be 8 to 4096 pixels, but got 7"),
    ],
)
def test_bad_options_are_explained(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    space: SearchSpace,
) -> None:
    """Before anything is exported."""
    monkeypatch.chdir(tmp_path)
    assert main(["measure", "--space", "small.yaml", "--device", "x", "--reference", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert space.name == "small"


def test_only_a_measured_table_can_be_validated(capsys: pytest.CaptureFixture[str]) -> None:
    """Published figures have no conditions to measure again under."""
    assert main(["validate", "pixel_lut"]) == 2
    assert "the table pixel_lut was not measured" in capsys.readouterr().err


def test_settings_must_make_sense() -> None:
    """At least one of each."""
    with pytest.raises(NasError, match="rounds must be at least 1, but got 0"):
        RunSettings(rounds=0)
