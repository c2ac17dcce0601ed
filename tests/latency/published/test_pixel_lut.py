"""Is latency_tables/pixel_lut what its command makes, and its README what it says?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from nas.latency.__main__ import main
from nas.latency.modelling.cost_model import AMOUNTS
from nas.latency.table import load_table

TABLES = Path(__file__).parents[3] / "latency_tables"
README = (TABLES / "README.md").read_text(encoding="utf-8")


def test_the_command_writes_the_shipped_bytes_again(published: Path, tmp_path: Path) -> None:
    """From the published files, twice, identical; and it prints rows and agreement."""
    for out in ("one", "two"):
        assert main(["build", "pixel_lut", "--published", str(published), "--out", str(tmp_path / out)]) == 0
    for name in ("pixel_lut.csv", "pixel_lut.yaml"):
        shipped = (TABLES / name).read_bytes()
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() == shipped


def told_rows(columns: int) -> set[tuple[str, ...]]:
    """The cells of the README's table rows with that many columns."""
    rows = (line.strip("|").split("|") for line in README.splitlines() if line.startswith("|"))
    return {tuple(cell.strip(" `") for cell in row) for row in rows if len(row) == columns}


def test_the_readme_has_the_cross_validated_errors() -> None:
    """As they stand in the .yaml."""
    checked = yaml.safe_load((TABLES / "pixel_lut.yaml").read_text(encoding="utf-8"))["model"]["cross_validated"]
    for source, error in checked.items():
        if source not in ("protocol", "families_held_out"):
            row = (source, str(error["samples"]), error["bias"], error["mean_absolute"], error["worst"])
            assert row in told_rows(5)


def test_the_readme_has_the_agreement() -> None:
    """Sums beside published latencies, as in the .yaml."""
    for name, check in load_table("pixel_lut").conditions.validation.items():
        if name != "protocol":
            row = (name, f"{check['published_ms']:g}", f"{check['table_ms']:.2f}", check["difference"])
            assert row in told_rows(4)


def test_the_readme_has_the_rows_the_amounts_and_the_citations() -> None:
    """Counts by source, the model's terms with their coefficients, every source with its commit and licence."""
    table = load_table("pixel_lut")
    model = table.conditions.model
    assert model is not None
    counts = {source: sum(row.source == source for row in table.rows.values()) for source in ("published", "modelled")}
    assert f"{counts['published']} rows are `published`, {counts['modelled']:,} `modelled`" in README
    for amount in AMOUNTS:
        coefficient = model.coefficients[amount.name]
        assert (amount.name, f"{coefficient.value:.4g} {coefficient.unit}") in {row[:2] for row in told_rows(3)}
    assert f"{model.scale_of_source['nn_meter']:.2f}" in README
    for citation in table.conditions.sources["modelled"]:
        assert citation.url in README
        assert citation.version in README
        assert citation.licence in README


def test_the_command_in_the_readme_is_the_command() -> None:
    """With the arguments that the parser knows."""
    assert re.search(r"python -m nas\.latency build pixel_lut --published \S+", README)


def test_families_that_the_model_was_not_fitted_to_are_predicted_well() -> None:
    """Whole networks of MobileNetV2, MnasNet-A1 and MobileNetV3, each family held out: 10 % and rank 0.98 at worst."""
    model = load_table("pixel_lut").conditions.model
    assert model is not None
    families = model.cross_validated["families_held_out"]
    assert families["all"]["samples"] == 53
    assert float(families["all"]["mean_absolute"].rstrip("%")) <= 10
    assert families["all"]["spearman"] >= 0.98
    for family, error in families.items():
        if family != "protocol":
            cells = (str(error["samples"]), error["bias"], error["mean_absolute"], error["worst"])
            assert (f"{family}, held out", *cells) in told_rows(5)
    assert f"Spearman {families['all']['spearman']}" in README


@pytest.mark.parametrize("words", [["build"], ["build", "pixel_lut"]])
def test_words_that_the_command_does_not_know_are_bad_usage(words: list[str]) -> None:
    """Exit code 2, by argparse."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
