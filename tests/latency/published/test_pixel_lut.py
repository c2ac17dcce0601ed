"""latency_tables/pixel_lut is what its command makes, and its figures agree with one another."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.latency.__main__ import main
from nas.latency.modelling.cost_model import AMOUNTS, amounts
from nas.latency.table import load_table
from nas.networks.operators import parse_unit
from nas.networks.references import reference

TABLES = Path(__file__).parents[3] / "latency_tables"


def test_the_command_writes_the_shipped_bytes_again(published: Path, tmp_path: Path) -> None:
    """From the published files, twice, identical; and it prints rows and agreement."""
    for out in ("one", "two"):
        assert main(["build", "pixel_lut", "--published", str(published), "--out", str(tmp_path / out)]) == 0
    for name in ("pixel_lut.csv", "pixel_lut.yaml"):
        shipped = (TABLES / name).read_bytes()
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() == shipped


def test_the_agreement_is_that_of_the_rows() -> None:
    """Sums of the table beside published latencies."""
    table = load_table("pixel_lut")
    for name, check in table.conditions.validation.items():
        if name != "protocol":
            table_ms = table.estimate(reference(name)).latency_ms
            assert check["table_ms"] == pytest.approx(table_ms, abs=0.005)
            assert check["difference"] == f"{table_ms / check['published_ms'] - 1:+.1%}"


def test_modelled_rows_are_those_of_the_model() -> None:
    """The coefficients in the .yaml give every row that was not published."""
    table = load_table("pixel_lut")
    model = table.conditions.model
    assert model is not None
    coefficients = [model.coefficients[amount.name].value for amount in AMOUNTS]
    modelled = {key: row.latency_ms for key, row in table.rows.items() if row.source == "modelled"}
    assert len(modelled) == len(table.rows) - 27
    for key, latency_ms in modelled.items():
        assert latency_ms == pytest.approx(float(amounts([parse_unit(key)]) @ coefficients), rel=1e-5)


def test_families_that_the_model_was_not_fitted_to_are_predicted_well() -> None:
    """Whole networks of MobileNetV2, MnasNet-A1 and MobileNetV3, each family held out: 10 % and rank 0.98 at worst."""
    model = load_table("pixel_lut").conditions.model
    assert model is not None
    families = model.cross_validated["families_held_out"]
    assert families["all"]["samples"] == 53
    assert float(families["all"]["mean_absolute"].rstrip("%")) <= 10
    assert families["all"]["spearman"] >= 0.98
    assert sum(error["samples"] for family, error in families.items() if family not in ("protocol", "all")) == 53


@pytest.mark.parametrize("words", [["build"], ["build", "pixel_lut"]])
def test_words_that_the_command_does_not_know_are_bad_usage(words: list[str]) -> None:
    """Exit code 2, by argparse."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
