"""Tests of `nas.latency.modelling.extend`: a table gets the rows that its model gives, and no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nas.errors import NasError
from nas.latency.__main__ import main
from nas.latency.modelling.cost_model import AMOUNTS
from nas.latency.modelling.extend import cost_model_of, with_modelled
from nas.latency.table import LatencyTable, ModelFormat, load_table
from nas.networks.architecture import Block
from nas.networks.operators import Unit, parse_unit, units
from nas.networks.references import reference
from nas.networks.references.mobilenet_v3 import mobilenet_v3_large

SHUFFLE = Unit(Block("shuffle_v2", 116, 3, 1, 58, activation="relu"), 116, 28, 28)
GROUPED = Unit(Block("conv", 16, 3, groups=4, activation="relu"), 16, 28, 28)


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    return load_table("pixel_lut")


def with_model(table: LatencyTable, model: ModelFormat | None) -> LatencyTable:
    return replace(table, conditions=table.conditions.model_copy(update={"model": model}))


def test_the_shipped_table_models_its_own_rows_again(table: LatencyTable) -> None:
    """Its coefficients are exact: each modelled row comes out as it stands, to the six digits of the file."""
    other_rows = {key: row for key, row in table.rows.items() if row.source != "modelled"}
    again = with_modelled(replace(table, rows=other_rows), [parse_unit(key) for key in table.rows])
    assert again.rows.keys() == table.rows.keys()
    for key, row in table.rows.items():
        assert f"{again.rows[key].latency_ms:.6g}" == f"{row.latency_ms:.6g}"
        assert again.rows[key].source == row.source


def test_only_missing_units_get_rows(table: LatencyTable) -> None:
    """Rows that are there stay, new ones are modelled, and a network's estimate says so."""
    network = mobilenet_v3_large(resolution=256)
    extended = with_modelled(table, units(network))
    assert {key: extended.rows[key] for key in table.rows} == dict(table.rows)
    assert {row.source for key, row in extended.rows.items() if key not in table.rows} == {"modelled"}
    estimate = extended.estimate(network)
    assert estimate.share("modelled") == 1
    assert 1.2 < estimate.latency_ms / table.estimate(mobilenet_v3_large()).latency_ms < (256 / 224) ** 2 + 0.05
    assert with_modelled(extended, units(network)) is extended


def test_a_table_without_a_model_is_extended_by_nothing(table: LatencyTable) -> None:
    """Its own rows can still be used."""
    bare = with_model(table, None)
    assert with_modelled(bare, units(mobilenet_v3_large())) is bare
    with pytest.raises(NasError, match="pixel_lut has no cost model to extend it by"):
        with_modelled(bare, units(mobilenet_v3_large(resolution=256)))


def test_a_measured_table_models_by_its_rows(table: LatencyTable) -> None:
    """What it was not measured for; its own rows stay."""
    conditions = table.conditions.model_copy(update={"model": None, "measurement": {"space": "mbv3"}})
    rows = {key: replace(row, source="measured") for key, row in table.rows.items()}
    network = mobilenet_v3_large(resolution=256)
    extended = with_modelled(LatencyTable("mine", conditions, rows), units(network))
    assert {key: extended.rows[key] for key in rows} == rows
    assert extended.estimate(network).share("modelled") > 0.9
    assert extended.estimate(network).latency_ms == pytest.approx(
        with_modelled(table, units(network)).estimate(network).latency_ms, rel=0.05
    )


def test_operations_that_the_model_never_saw_are_refused_by_name(table: LatencyTable) -> None:
    """With the unit, the operations and what the model knows; the rows that it could have had are not added."""
    with pytest.raises(NasError, match="cannot tell the latency of 2 units,") as caught:
        with_modelled(table, [SHUFFLE, *units(mobilenet_v3_large(resolution=256)), GROUPED])
    message = str(caught.value)
    assert f"{SHUFFLE.key} (split, concat, shuffle), {GROUPED.key} (grouped_conv)." in message
    assert "It was fitted to add, conv, depthwise, gate, pool." in message
    with pytest.raises(NasError, match="product"):
        with_modelled(table, units(reference("mobilevit_xxs")))


def test_another_programs_model_is_refused(table: LatencyTable) -> None:
    """Coefficients that are missing, unknown or in other units, and a table that does not explain modelled rows."""
    model = table.conditions.model
    assert model is not None
    assert cost_model_of(table).coefficients == tuple(model.coefficients[a.name].value for a in AMOUNTS)
    first = AMOUNTS[0].name
    others = {name: value for name, value in model.coefficients.items() if name != first}
    wrong_unit = {**model.coefficients, first: model.coefficients[first].model_copy(update={"unit": "s"})}
    for coefficients in (others, wrong_unit, {**model.coefficients, "extra": model.coefficients[first]}):
        odd = "extra" if "extra" in coefficients else first
        with pytest.raises(NasError, match=f"but differs in {odd}"):
            cost_model_of(with_model(table, model.model_copy(update={"coefficients": coefficients})))
    unexplained = table.conditions.model_copy(update={"sources": {"published": ()}})
    with pytest.raises(NasError, match="must name the sources of its modelled rows"):
        cost_model_of(replace(table, conditions=unexplained))


def test_a_model_that_gives_no_latency_is_refused(table: LatencyTable) -> None:
    """Such as one in which only squeezing costs time: a row of 0 ms could not be read again."""
    model = table.conditions.model
    assert model is not None
    coefficients = {
        name: c.model_copy(update={"value": float(name == "squeezed")}) for name, c in model.coefficients.items()
    }
    odd = with_model(table, model.model_copy(update={"coefficients": coefficients}))
    new_units = units(mobilenet_v3_large(resolution=256))
    squeezing = [unit for unit in new_units if unit.block.se_channels]
    assert with_modelled(odd, squeezing).missing(squeezing) == []
    with pytest.raises(NasError, match=r"must give latencies above 0, but gives 0 ms for conv_256x256_i3_o16"):
        with_modelled(odd, new_units)


def test_the_command_writes_a_table_that_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With rows for the networks' and spaces' units, and everything that was there."""
    assert main(["extend", "pixel_lut", "--network", "efficientnet_b0", "--space", "mbv3", "--out", str(tmp_path)]) == 0
    assert "modelled rows\n" in capsys.readouterr().out
    path = tmp_path / "pixel_lut.yaml"
    extended, shipped = load_table(str(path)), load_table("pixel_lut")
    assert extended.conditions == shipped.conditions
    assert list(extended.rows.items())[: len(shipped.rows)] == list(shipped.rows.items())
    assert main(["show", str(path), "--network", "efficientnet_b0"]) == 0
    assert "(100% modelled)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pixel_lut"], "say what the table is to be extended for: --network NAME or --space NAME"),
        (["pixle", "--network", "mnasnet_a1"], "unknown device 'pixle'"),
        (["pixel_lut", "--network", "mnasnet_a9"], "unknown reference network 'mnasnet_a9'"),
        (["pixel_lut", "--network", "mobilevit_xxs"], "the cost model of the latency table pixel_lut cannot tell"),
    ],
)
def test_what_cannot_be_extended_writes_nothing(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on stderr and exit code 2."""
    assert main(["extend", *words, "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert not (tmp_path / "out").exists()


def test_a_table_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1: a file is in the folder's place."""
    (tmp_path / "taken").touch()
    words = ["extend", "pixel_lut", "--network", "efficientnet_b0"]
    assert main([*words, "--out", str(tmp_path / "taken")]) == 1
    assert capsys.readouterr().err.startswith("error: cannot write ")


def test_a_missing_row_names_the_remedy(table: LatencyTable) -> None:
    """Modelling, where the table has a model."""
    new_units = units(mobilenet_v3_large(resolution=256))
    with pytest.raises(NasError, match=r"or model them: python -m nas\.latency extend "):
        table.require(new_units)
    with pytest.raises(NasError, match=r"how each table is made\)\.$"):
        with_model(table, None).require(new_units)
    # Nothing is advised that would fail.
    with pytest.raises(NasError, match=r"how each table is made\)\.$"):
        table.require([*new_units, SHUFFLE])
