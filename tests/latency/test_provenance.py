"""The page of each latency table says what the table's files say, and is up to date."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nas.latency.energy import Power
from nas.latency.provenance import main, pages, provenance, stale_pages
from nas.latency.table import Calibration, LatencyTable, load_table, save_table

TABLES = Path(__file__).parents[2] / "latency_tables"
NAMES = sorted(path.stem for path in TABLES.glob("*.yaml"))


def changed(table: LatencyTable, **conditions: object) -> LatencyTable:
    return replace(table, conditions=table.conditions.model_copy(update=conditions))


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_a_shipped_table_is_up_to_date(name: str) -> None:
    """`python -m nas.latency.provenance` writes the same page again."""
    assert (TABLES / f"{name}.md").read_text(encoding="utf-8") == provenance(load_table(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_page_names_every_source_with_its_licence(name: str) -> None:
    table = load_table(name)
    page = provenance(table)
    for citations in table.conditions.sources.values():
        for citation in citations:
            row = f"| {citation.title} | {citation.url} | {citation.version} | {citation.licence} | {citation.use} |"
            assert row in page


def test_a_page_counts_rows_by_source_and_by_operator() -> None:
    page = provenance(load_table("pixel_lut"))
    rows = load_table("pixel_lut").rows
    published = sum(row.source == "published" for row in rows.values())
    pools = sum(key.startswith("pool_") for key in rows)
    assert f"| published | {published} |" in page
    assert f"| modelled | {len(rows) - published:,} |" in page
    assert f"| `pool` | 0 | {pools} |" in page
    assert "| measured |" not in page


def test_a_page_has_the_coefficients_and_the_held_out_errors_of_a_cost_model() -> None:
    model = load_table("pixel_lut").conditions.model
    assert model is not None
    page = provenance(load_table("pixel_lut"))
    for name, coefficient in model.coefficients.items():
        assert f"| `{name}` | {coefficient.value:.4g} | {coefficient.unit} |" in page
    families = model.cross_validated["families_held_out"]
    assert f"| {families['all']['worst']} | {families['all']['spearman']} |" in page
    assert "## Cost model" not in provenance(load_table("pixel4_early"))


def test_a_measured_table_tells_its_calibration_verdict_session_and_power() -> None:
    """What no shipped table has."""
    agreement = {"networks": 50, "mean_absolute": "1.10%"}
    table = changed(
        load_table("pixel4_early"),
        calibration=Calibration(scale=0.95, offset_ms=-0.25),
        validation={"verdict": "passed", "held out": agreement, "noise": agreement, "range_ms": [1.5, 7]},
        measurement={"space": "mbv3", "session": {"load_ms": {"median": 3.5}, "peak_rss_mb": 120}},
        power=Power(active_w=2.5, source="a | meter"),
    )
    page = provenance(table)
    assert "latency = -0.25 ms + 0.95 × Σ units." in page
    assert "The table is validated: on 50 networks that nothing was fitted to, the mean error is 1.10%" in page
    assert "| range ms | 1.5, 7 |" in page
    assert "| held out | 50 | 1.10% |\n| noise | 50 | 1.10% |" in page
    assert "| load_ms | 3.5 |" in page
    assert "| source | a \\| meter |" in page


def test_a_page_that_is_missing_or_out_of_date_fails_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, naming the page; writing them again mends it."""
    table = load_table("raspi4_fbnet32")
    save_table(table, tmp_path)
    words = ["--tables", str(tmp_path)]
    assert main([*words, "--check"]) == 1
    assert "raspi4_fbnet32.md is missing or out of date" in capsys.readouterr().err
    assert main(words) == 0
    assert (tmp_path / "raspi4_fbnet32.md").read_text(encoding="utf-8") == provenance(table)
    assert main([*words, "--check"]) == 0
    save_table(changed(table, device="Raspberry Pi 5"), tmp_path)
    assert stale_pages(tmp_path) == [tmp_path / "raspi4_fbnet32.md"]
    assert main([*words, "--check"]) == 1


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    assert main(["--tables", str(tmp_path)]) == 2
    assert list(pages(TABLES)) == [f"{name}.md" for name in NAMES]
