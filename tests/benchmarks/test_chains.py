"""Sums over chains are exact where borders matter, and the comparison is right where the truth is known."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from nas.benchmarks.chains import ALONE, BORDERS, Chain, border_costs, chain_name, chain_sum, chains, compared
from nas.benchmarks.chains_command import main
from nas.errors import NasError
from nas.latency.measuring.kit import EMPTY
from nas.latency.measuring.onnx_models import unit_model
from nas.latency.measuring.plan import Plan, plan_measurement
from nas.latency.measuring.samples import Results, Timing
from nas.networks.operators import Unit
from nas.networks.space.search_space import read_space

SPACE = """\
name: small
classes: 10
resolution: 32
stem: {op: conv, out: 16, kernel: 3, stride: 2, act: relu}
stages:
  - {op: mbconv, out: 16, stride: 2, depth: [1, 2, 3], kernel: [3, 5], expand: [2, 4], se: [0, 0.25], act: relu}
  - {op: mbconv, out: 32, stride: 2, depth: [1, 2, 3], kernel: [3, 5], expand: [2, 4], se: [0, 0.25], act: relu}
head:
  - {op: pool}
  - {op: linear, out: classes}
"""
SMALL = ["--space", "small.yaml", "--fit", "3", "--held-out", "2", "--passes", "2", "--work", "work"]
CALL_MS = 0.25


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Networks of a space of small units, whose file is in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SPACE)
    return plan_measurement(read_space(Path("small.yaml")), fit=6, held_out=8)


def unit_ms(unit: Unit) -> float:
    """What a unit takes by itself on a made-up device."""
    return 1e-6 * unit.macs + 0.1


def made_up(plan: Plan, border_ms: Callable[[Unit, Unit], float], longest: int = 3, noise: float = 0.0) -> Results:
    """A run on a device on which a chain takes what its units and the borders between them take, and the call.

    The second half of the visits is slower by `noise`.
    """

    def timing(chain: Chain, slower: float) -> Timing:
        ms = sum(map(unit_ms, chain)) + sum(border_ms(*pair) for pair in chains(chain, 2))
        return Timing(np.full((4, 2), ms * slower + CALL_MS), 1.0)

    models: dict[str, Chain] = {network.name: network.units for network in plan.networks}
    for length in range(1, longest + 1):
        models |= {chain_name(chain): chain for network in plan.networks for chain in chains(network.units, length)}
    empty = {EMPTY: Timing(np.full((4, 2), CALL_MS), 1.0)}
    first, second, whole = (
        {name: timing(chain, slower) for name, chain in models.items()} | empty for slower in (1, 1 + noise, 1)
    )
    return Results({}, whole, (first, second), {}, 4, 0, 0.0, 0.0, None)


def test_chains_are_all_runs_of_so_many_units(plan: Plan) -> None:
    """In their order; of more units than there are, none; and a unit alone is called by its key."""
    units = plan.networks[0].units
    assert chains(units, 1) == [(unit,) for unit in units]
    assert chains(units, 2) == list(itertools.pairwise(units))
    assert chains(units, len(units)) == [units]
    assert chains(units, len(units) + 1) == []
    assert chain_name(units[:1]) == units[0].key


def test_a_sum_by_chains_is_told_by_hand(plan: Plan) -> None:
    """Four units: all pairs less the two inner units; both triples less the inner pair; the whole for any more."""
    a, b, c, d = plan.networks[0].units[:4]
    timed: dict[Chain, float] = {(a,): 1.0, (b,): 2.0, (c,): 4.0, (d,): 8.0}
    timed |= {(a, b): 3.5, (b, c): 5.0, (c, d): 13.0}
    timed |= {(a, b, c): 6.0, (b, c, d): 14.5, (a, b, c, d): 15.25}
    known = {chain_name(chain): ms for chain, ms in timed.items()}
    assert [chain_sum((a, b, c, d), length, known) for length in (1, 2, 3, 4, 9)] == [15.0, 15.5, 15.5, 15.25, 15.25]
    assert chain_sum((a,), 3, known) == 1.0
    assert chain_sum((a, b), 3, known) == 3.5


def test_borders_that_differ_are_seen_by_chains_alone(plan: Plan) -> None:
    """On a device where only the two units at a border say what it costs, chains of any length are exact."""
    uneven = made_up(plan, lambda a, b: -0.04 if a.block == b.block else 0.03 * (b.block.hidden_channels % 7))
    found = compared(plan, uneven, 3)
    assert list(found.outcomes) == [ALONE, BORDERS, "chains of 2", "chains of 3"]
    assert (found.fitted, found.noise) == (6, 0.0)
    alone = found.outcomes[ALONE]
    assert alone.agreement.networks == 8
    assert alone.agreement.mape > 0.005
    assert (alone.gain, alone.gain_error) == (0.0, 0.0)
    for way in ("chains of 2", "chains of 3"):
        outcome = found.outcomes[way]
        assert outcome.agreement.mape < 1e-3
        assert outcome.agreement.spearman == pytest.approx(1)
        assert outcome.gain == pytest.approx(alone.agreement.mape - outcome.agreement.mape)
        # A network is timed with the call, sums are without it: the calibration has it.
        assert outcome.sum_share < 1
        assert outcome.calibration.scale == pytest.approx(1, abs=0.01)
        assert outcome.calibration.offset_ms == pytest.approx(CALL_MS, abs=0.02)
    distinct = [len({chain for n in plan.networks for chain in chains(n.units, length)}) for length in (1, 2, 3)]
    assert alone.models == distinct[0]
    assert found.outcomes["chains of 2"].models == distinct[0] + distinct[1]
    assert found.outcomes["chains of 3"].models == distinct[1] + distinct[2]
    assert distinct[0] < found.outcomes[BORDERS].models <= distinct[0] + distinct[1]
    assert all(errors.keys() == found.outcomes.keys() for errors in found.protocols.values())
    assert json.loads(json.dumps(found.to_json()))["outcomes"][ALONE]["agreement"]["networks"] == 8


def test_borders_that_depend_on_their_size_need_no_chains(plan: Plan) -> None:
    """Their means by size, from the networks to fit by alone, make the sum exact, and are printed as they are."""
    found = compared(plan, made_up(plan, lambda a, _: 0.01 * a.out_height), 2)
    assert found.outcomes[BORDERS].agreement.mape < 1e-3
    assert set(found.borders) == {"all", "16x16", "8x8", "4x4", "1x1"}
    for size, border in list(found.borders.items())[1:]:
        assert border.mean_us == pytest.approx(10 * int(size.split("x")[0]))
        assert (border.spread_us, border.noise_us) == pytest.approx((0, 0), abs=1e-6)
        assert border.mean_share > 0
    assert found.borders["all"].pairs == sum(border.pairs for border in list(found.borders.values())[1:])
    assert found.borders["all"].spread_us > 10


def test_what_measuring_again_would_change_is_noise(plan: Plan) -> None:
    """All of one half is slower by a tenth: so are its borders, and the noise is half of that; no network's rank is."""
    found = compared(plan, made_up(plan, lambda *_: 0.1, noise=0.1), 2)
    assert found.borders["all"].mean_us == pytest.approx(100)
    assert found.borders["all"].noise_us == pytest.approx(5)
    assert found.borders["all"].spread_us == pytest.approx(0, abs=1e-6)
    assert found.noise < 0.01
    assert found.outcomes["chains of 2"].noise == pytest.approx(0, abs=1e-9)


def test_chains_add_up_the_noise_of_many_models(plan: Plan) -> None:
    """Where every model is off by itself in one half, a sum by chains is further off than one by units alone."""
    rng = np.random.default_rng(0)
    results = made_up(plan, lambda *_: 0.0)
    off = {name: replace(timing, ms=timing.ms * rng.uniform(0.8, 1.2)) for name, timing in results.timings.items()}
    found = compared(plan, replace(results, halves=(results.timings, off)), 3)
    noises = [found.outcomes[way].noise for way in (ALONE, "chains of 2", "chains of 3")]
    assert min(noises[1:]) > 1.2 * noises[0] > 0.01
    assert found.noise > 0.01


def test_a_border_is_the_pair_less_its_units(plan: Plan) -> None:
    """Once for each distinct pair, however many networks have it."""
    results = made_up(plan, lambda *_: -0.05)
    latency_ms = {name: timing.latency_ms() - CALL_MS for name, timing in results.timings.items()}
    found = border_costs(plan.networks, latency_ms)
    assert set(found) == {pair for network in plan.networks for pair in chains(network.units, 2)}
    assert list(found.values()) == pytest.approx([-0.05] * len(found))


def test_a_chain_that_failed_is_named(plan: Plan) -> None:
    """With what ONNX Runtime said."""
    results = made_up(plan, lambda *_: 0.0)
    lost = chain_name(plan.networks[-1].units[:2])
    timings = {name: timing for name, timing in results.timings.items() if name != lost}
    with pytest.raises(NasError, match=r"every chain must be measured.*: bad shape"):
        compared(plan, replace(results, timings=timings, failed={lost: "bad shape"}), 2)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_chain_inside_a_network_passes_on_what_a_unit_does(plan: Plan, precision: Any) -> None:
    """The shape and the type of what its last unit gives, from what its first one takes."""
    first, *_, last = chain = plan.networks[0].units[1:3]
    ends: list[list[tuple[str, list[int]]]] = []
    for row in (chain, (first,), (last,)):
        session = onnxruntime.InferenceSession(unit_model(chain_name(row), row, precision).onnx)
        ends.append([(end.type, end.shape) for end in (*session.get_inputs(), *session.get_outputs())])
    assert ends[0] == [ends[1][0], ends[2][1]]
    assert ends[0][0][0] == {"float32": "tensor(float)", "int8": "tensor(uint8)"}[precision]


def test_the_command_goes_on_where_it_was(plan: Plan, capfd: pytest.CaptureFixture[str]) -> None:
    """From a space to the table; once more, nothing is exported or measured again; other settings are refused."""
    assert main([*SMALL, "--longest", "2"]) == 0
    said = capfd.readouterr()
    assert "2 networks held out, 3 to calibrate by" in said.out
    assert "chains of 2" in said.out
    raw = Path("work/results.jsonl").read_bytes()
    exported_at = {path: path.stat().st_mtime_ns for path in Path("work/kit/models").iterdir()}
    assert main([*SMALL, "--longest", "2", "--json"]) == 0
    said = capfd.readouterr()
    data = json.loads(said.out)
    assert data == json.loads(Path("work/result.json").read_text())
    assert data["space"] == plan.space
    assert data["borders"]["all"]["pairs"] > 2
    assert {path: path.stat().st_mtime_ns for path in exported_at} == exported_at
    assert Path("work/results.jsonl").read_bytes() == raw
    # A kit that lost a file is written again as it was.
    next(Path("work/kit/models").iterdir()).unlink()
    assert main([*SMALL, "--longest", "2", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == data
    for other, said_of in (
        (["--longest", "3"], "other networks or chains"),
        (["--longest", "2", "--threads", "2"], "settings.threads was 1 there and is 2 here"),
    ):
        assert main([*SMALL, *other]) == 2
        assert f"work holds another measurement: {said_of}" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--longest", "1"], "--longest must be at least 2, as a unit alone is no chain, but got 1"),
        (["--fit", "2"], "at least 3 networks to calibrate by must be measured, but got 2"),
        (["--passes", "1"], "passes must be at least 2"),
    ],
)
def test_bad_words_are_explained(words: list[str], said: str, plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is exported."""
    assert main([*SMALL, *words]) == 2
    assert said in capsys.readouterr().err
    assert not Path("work").exists()
