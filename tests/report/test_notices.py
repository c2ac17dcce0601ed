"""The page says what its numbers rest on, and warns of those that are not to be relied on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nas.files import known_names
from nas.latency.table import LatencyEstimate, load_table
from nas.report.notices import (
    accuracy_notice,
    battery_line,
    conditions_line,
    energy_notice,
    fates,
    latency_notices,
    provenance_tables,
    standard_error,
)
from nas.search.results.result import SearchResult
from nas.search.results.summary import latency_basis
from nas.search.results.wording import large, millions, share
from nas.search.trial import Trial
from tests.report.searches import portfolio, score, search, setting, trial


def with_sources(one: Trial, **by_source: float) -> Trial:
    latency = LatencyEstimate(sum(by_source.values()), by_source)  # type: ignore[arg-type]
    return replace(one, network=replace(one.network, latency=latency))


def test_a_table_without_measurements_says_so_with_its_models_error() -> None:
    """Modelled latency is never passed off as measured."""
    result = SearchResult(setting(), (with_sources(trial(0), published=25.0, modelled=75.0),))
    notice = latency_notices(result)[0]
    assert notice.headline == "No figure of the latency table was measured by this project."
    text = " ".join(notice.sentences)
    assert "25 % on figures that others published and 75 % on a model" in text
    family, entry = next(
        item for item in result.setting.device_conditions["model"]["cross_validated"].items() if item[0] != "protocol"
    )
    assert f"{family} {entry['mean_absolute']}" in text
    agreement = result.setting.device_conditions["validation"]["mobilenet_v2"]["difference"]
    assert f"mobilenet_v2 {agreement}" in text
    assert "The table is NOT VALIDATED" in text


@pytest.mark.parametrize(
    ("by_source", "headline"),
    [
        ({"measured": 10.0}, "Latency is from blocks that this project measured"),
        ({"measured": 10.0, "modelled": 0.01}, "Latency is only partly measured"),
        ({"published": 10.0}, "Latency is only partly measured"),
    ],
)
def test_measured_tables_say_what_is_measured(by_source: dict[str, float], headline: str) -> None:
    """The headline follows the front's own shares where the table holds measurements."""
    conditions = {"device": "board", "sources": {"measured": []}}
    result = SearchResult(replace(setting(), device_conditions=conditions), (with_sources(trial(0), **by_source),))
    assert latency_notices(result)[0].headline.startswith(headline)
    assert provenance_tables(conditions) == []


@pytest.mark.parametrize("name", known_names("latency_tables"))
def test_every_shipped_table_has_its_notices(name: str) -> None:
    """Nothing in a shipped table's .yaml makes a finished search fail while its report is written."""
    conditions = load_table(name).conditions.model_dump(mode="json")
    result = SearchResult(replace(setting(), device_conditions=conditions), (with_sources(trial(0), modelled=10.0),))
    assert "NOT VALIDATED" in latency_basis(result)
    assert latency_notices(result)[0].sentences
    assert all(table.rows for table in provenance_tables(conditions))


def test_conditions_of_any_shape_are_accepted() -> None:
    """Missing and unexpected entries of a table's .yaml break nothing."""
    odd = {"model": {"cross_validated": "7 %"}, "validation": {"note": "none"}, "sources": None}
    result = SearchResult(replace(setting(), device_conditions=odd), (trial(0),))
    assert latency_notices(result)[0].headline.startswith("No figure")
    assert provenance_tables(odd) == []
    assert conditions_line(odd) == ""


def test_provenance_has_a_row_for_every_network_and_family() -> None:
    """Agreement and cross-validation are shown in full."""
    conditions = setting().device_conditions
    agreement, held_out = provenance_tables(conditions)
    assert [row[0] for row in agreement.rows] == [name for name in conditions["validation"] if name != "protocol"]
    assert {row[0] for row in held_out.rows} == set(conditions["model"]["cross_validated"]) - {"protocol"}
    assert all(len(row) == len(table.columns) for table in (agreement, held_out) for row in table.rows)


def test_standard_error_is_the_binomial_one() -> None:
    """sqrt(p (1 - p) / n), and not 0 where every image was right."""
    assert standard_error(replace(score(50.0), val_images=100_000)) == pytest.approx(100 * 0.5 / 100_000**0.5, rel=1e-3)
    assert 0 < standard_error(score(100.0)) < 1
    assert standard_error(score(100.0)) == pytest.approx(standard_error(score(0.0)))


def test_scores_of_different_budgets_are_named() -> None:
    """A sentence warns where scores must not be compared."""
    result = search(3)
    assert "do not compare" not in " ".join(accuracy_notice(result).sentences)
    reference = result.references[0]
    assert reference.score is not None
    longer = replace(reference, score=replace(reference.score, epochs=99))
    assert "do not compare" in accuracy_notice(replace(result, references=(longer,))).sentences[-1]


def test_fates_count_every_trial_once() -> None:
    """Reasons that differ in numbers alone are counted together, with an example."""
    many = [trial(n, "infeasible", f"latency_ms {60 + n}.5 is above 60") for n in range(5)]
    odd = [trial(n, "failed", f"reason {chr(97 + n)}", seed=0) for n in range(9)]
    by_status = {fate.status: fate for fate in fates(SearchResult(setting(), (*many, *odd, trial(0))))}
    assert {status: fate.trials for status, fate in by_status.items()} == {"infeasible": 5, "failed": 9, "complete": 1}
    assert by_status["infeasible"].reasons == (("latency_ms 60.5 is above 60", 5),)
    assert sum(number for _, number in by_status["failed"].reasons) == 9
    assert by_status["failed"].reasons[-1] == ("other reasons", 3)


def test_numbers_are_written_for_people() -> None:
    """Rounding never turns a small share into 0 %, or one that is nearly all into 100 %."""
    assert [share(part) for part in (0, 0.001, 0.5, 0.999, 1)] == ["0 %", "< 1 %", "50 %", "> 99 %", "100 %"]
    assert [large(value) for value in (0, 1296, 10**9, 2 * 10**23)] == [
        "0",
        "1,296",
        "about 1.0 × 10⁹",
        "about 2.0 × 10²³",
    ]
    assert [millions(value) for value in (5_483_032, 219_000_000, 4.1e9)] == ["5.48 M", "219 M", "4.1 G"]


def test_battery_life_is_said_where_the_table_has_a_battery() -> None:
    """In hours at the frame rate that the search was limited to; nothing where the table has no battery."""
    result = portfolio(8)
    network = result.front[0].network
    busy = network.latency.latency_ms * 20 / 1000
    hours = 10 / (0.5 + busy * 1.5)
    assert battery_line(result, network).endswith(f"{hours:.3g} h at 20 images a second")
    unlimited = replace(result, setting=replace(result.setting, limits={}))
    assert battery_line(unlimited, network).endswith("one after the other")
    assert battery_line(search(3), network) == ""
    assert energy_notice(search(3)) is None
