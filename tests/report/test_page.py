"""The page holds every result, runs no code of a name or reason, and hides nothing that went wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
import yaml
from plotly.offline import get_plotlyjs

from nas.deploy.export.picks import ExportedPick
from nas.report import figures
from nas.report.page import page
from nas.search.results.portfolio import Pick, picks_of
from nas.search.results.result import SearchResult
from tests.report.searches import large_search, portfolio, references, search, setting, trial, with_top1

NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'"


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text outside scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._script = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._script = False

    def handle_data(self, data: str) -> None:
        if not self._script:
            self.words.append(data)


def without_plotly(text: str) -> str:
    library = get_plotlyjs()
    assert text.count(library) == 1
    return text.replace(library, "")


def render(result: SearchResult) -> Elements:
    picks = [ExportedPick(pick, None, "not exported here") for pick in picks_of(result)]
    return Elements(without_plotly(page(result, picks)))


def figure(text: str, name: str) -> dict[str, Any]:
    """The picture that is embedded in the page."""
    match = re.search(rf'<script type="application/json" id="{name}-data">(.*?)</script>', text, re.DOTALL)
    assert match
    embedded: dict[str, Any] = json.loads(match[1])
    return embedded


def traces(result: SearchResult) -> dict[str, dict[str, Any]]:
    return {trace["name"]: trace for trace in figure(page(result, []), "front")["data"]}


def test_nothing_is_loaded_from_anywhere() -> None:
    """No address stands where a browser would load it, and the page forbids loading."""
    result = search(20)
    text = without_plotly(page(result, [ExportedPick(pick, None, "x") for pick in picks_of(result)]))
    elements = Elements(text)
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert not [tag for tag, attributes in elements.tags if "src" in attributes or tag in ("iframe", "object", "embed")]
    links = [attributes["href"] or "" for _, attributes in elements.tags if "href" in attributes]
    assert set(links) == {"data:,", "trials.csv", "pareto.json", *(f"picks/{p.slug}.json" for p in picks_of(result))}
    policy = next(a["content"] for t, a in elements.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_references_that_are_better_and_budgets_that_nothing_meets_are_named() -> None:
    """Under the chart, on the pick's card and below the picks; none of it where no reference is better."""
    plain = replace(search(20), references=())
    assert "beyond the front" not in page(plain, []).lower()
    best = max(plain.front, key=lambda one: one.network.top1).network
    assert best.score is not None
    fast = replace(best.latency, latency_ms=1.5)
    better = replace(best, name="known", latency=fast, score=replace(best.score, value=99.0))
    result = replace(plain, references=(better,), setting=setting(budgets_ms=(2.0, 60.0)))
    text = " ".join(" ".join(render(result).words).split())
    assert "Networks on the line are beaten by no other network of the search in both" in text
    assert "Beyond the front: known (99.0 % at 1.5 ms); no network of the search reaches it in all objectives." in text
    assert text.count("The reference known is better: 99.0 % at 1.5 ms.") == 2
    fastest = plain.front[0].network
    nothing = f"Nothing within 2 ms; the fastest is {fastest.name} at {fastest.latency.latency_ms:.1f} ms; of the"
    assert nothing in text


def test_markup_in_names_and_reasons_stays_text() -> None:
    """A name with markup is shown as text and never run, wherever it comes from."""
    nasty = replace(
        setting(),
        space=NASTY,
        device=NASTY,
        dataset=NASTY,
        trained=NASTY,
        deployed=NASTY,
        experiment={"space": NASTY},
        device_conditions={"device": NASTY, "validation": {NASTY: {NASTY: NASTY}}},
    )
    named = tuple(replace(network, name=NASTY) for network in references())
    result = SearchResult(nasty, (trial(0), trial(1, "failed", NASTY)), named)
    pick = ExportedPick(Pick(NASTY, NASTY, trial(0)), None, NASTY)
    text = without_plotly(page(result, [pick]))
    plain = without_plotly(page(search(2), []))
    elements = Elements(text)
    assert sum(tag == "script" for tag, _ in elements.tags) == sum(tag == "script" for tag, _ in Elements(plain).tags)
    assert not [attributes for tag, attributes in elements.tags if tag == "img" or "onerror" in attributes]
    assert "".join(elements.words).count(NASTY) >= 8
    # Plotly reads a little HTML of its own.
    front = figure(text, "front")
    reference = next(trace for trace in front["data"] if trace["name"] == "reference networks")
    written = [*reference["text"], *(a["text"] for a in front["layout"]["annotations"])]
    assert all("<script" not in words and "<img" not in words for words in written)


@pytest.mark.parametrize(
    "result",
    [
        SearchResult(setting(), ()),
        SearchResult(setting(), (), references()),
        SearchResult(setting(), (trial(0, "infeasible", "too slow"), trial(1, "failed", "NaN"))),
        SearchResult(setting(budgets_ms=()), (trial(0),)),
        SearchResult(setting(), (trial(0), trial(1)), tuple(replace(n, score=None) for n in references())),
        SearchResult(setting(), tuple(with_top1(n, 50.0 + n % 3, seed=0) for n in range(6))),
        SearchResult(setting(), tuple(with_top1(n, top1) for n, top1 in enumerate((0.0, 100.0, 100.0)))),
    ],
    ids=["nothing", "references", "none complete", "one", "untrained references", "equal latency", "extremes"],
)
def test_every_kind_of_search_has_a_page(result: SearchResult) -> None:
    """Empty, single and degenerate searches are rendered, without NaN in the pictures."""
    picks = [ExportedPick(pick, None, "x") for pick in picks_of(result)]
    text = page(result, picks)
    for name in ("front", "hypervolume"):
        assert "NaN" not in json.dumps(figure(text, name))
    words = "".join(Elements(without_plotly(text)).words)
    assert ("No trial was completed" in words) == (not result.completed)
    assert "not measured" in words or "was measured by this project" in words


def test_the_pictures_show_every_completed_trial_once() -> None:
    """Dominated and front together are the completed trials; the knee and the references have marks of their own."""
    result = search(40)
    shown = traces(result)
    front = sorted(zip(shown["front"]["x"], shown["front"]["y"], strict=True))
    assert front == sorted((t.network.latency.latency_ms, t.network.top1) for t in result.front)
    assert len(shown["dominated"]["x"]) + len(front) == len(result.completed)
    assert shown["front"]["line"]["shape"] == "hv"
    assert shown["knee"]["x"] == [result.knee.network.latency.latency_ms]
    assert len(shown["reference networks"]["x"]) == len(result.references)
    layout = figure(page(result, []), "front")["layout"]
    assert [shape["x0"] for shape in layout["shapes"]] == list(result.setting.budgets["latency_ms"])
    names = [note["text"] for note in layout["annotations"]]
    assert names == [*(network.name for network in result.references), *(f"{b:g} ms" for b in (40.0, 60.0))]


def test_the_hypervolume_has_a_point_for_every_trial() -> None:
    """Trials that were never trained have one too, and the line never falls."""
    result = search(30)
    trace = figure(page(result, []), "hypervolume")["data"][0]
    assert trace["x"] == list(range(30))
    assert trace["y"] == sorted(trace["y"])
    assert trace["y"][-1] == pytest.approx(100 * result.hypervolumes()[-1], abs=1e-3)


def test_large_searches_are_drawn_with_webgl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit every trace is WebGL (else the trials would hide the references), without long hover texts."""
    monkeypatch.setattr(figures, "MOST_SVG_POINTS", 100)
    monkeypatch.setattr(figures, "MOST_DESCRIBED", 100)
    shown = traces(large_search(300))
    assert {trace["type"] for trace in shown.values()} == {"scattergl"}
    assert all("px" not in words for words in shown["dominated"]["text"])
    assert all("px" in words for words in shown["front"]["text"])


@pytest.mark.slow
def test_ten_thousand_trials_fit_a_page() -> None:
    """The page stays below 10 MB, of which Plotly is 5."""
    assert len(page(large_search(10_000), []).encode()) < 10e6


def test_the_page_shows_the_front_its_costs_and_its_picks() -> None:
    """Every member's top-1, latency and description stand in the page, and the pick's check or problem."""
    result = search(20)
    words = "".join(render(result).words)
    for member in result.front:
        assert f"{member.network.top1:.1f} %" in words
        assert f"{member.network.latency.latency_ms:.1f} ms" in words
    assert "not exported here" in words
    assert "not ImageNet accuracy" in words
    assert "python -m nas.search RUN/experiment.yaml --run RUN" in words
    assert "where the search was started" in words


def test_the_experiment_reads_back_from_the_page() -> None:
    """The YAML under "To do it again" is the search's experiment."""
    result = search(1)
    words = "".join(render(result).words)
    start = words.index("space: mbv3\n")
    assert yaml.safe_load(words[start : words.index("Written by")]) == result.setting.experiment


@pytest.mark.parametrize("kind", [search, portfolio])
def test_columns_match_their_headers(kind: Callable[[int], SearchResult]) -> None:
    """Each row of numbers has a cell for every header, so that sorting sorts what is clicked."""
    text = without_plotly(page(kind(20), []))
    tables = re.findall(r'<table class="sortable">.*?</table>', text, re.DOTALL)
    assert len(tables) == 2
    for table in tables:
        headers = table.count('<th scope="col">')
        for body in re.findall(r"<tbody.*?</tbody>", table, re.DOTALL):
            numbers, description = re.findall(r"<tr>.*?</tr>", body, re.DOTALL)
            assert numbers.count("<td") == numbers.count("data-value=") == headers
            assert f'colspan="{headers}"' in description


def test_every_other_objective_has_its_chart() -> None:
    """Each shows the whole front, a line through the front of its own two values, and its own budgets."""
    result = portfolio(30)
    text = page(result, [])
    for name, objective in (
        ("front", "latency_ms"),
        ("chart1", "latency_ms@pixel_lut"),
        ("chart2", "peak_activation_bytes"),
    ):
        chart = figure(text, name)
        by_name = {trace["name"]: trace for trace in chart["data"]}
        unit = 1e6 if objective == "peak_activation_bytes" else 1
        expected = [(t.network.values[objective] / unit, t.network.top1) for t in result.front]
        assert list(zip(by_name["front"]["x"], by_name["front"]["y"], strict=True)) == expected
        line = list(zip(by_name["best of these two"]["x"], by_name["best of these two"]["y"], strict=True))
        assert line == sorted(line), "more accurate only where it costs more"
        assert set(line) <= {(t.network.values[objective] / unit, t.network.top1) for t in result.completed}
        budgets = [shape["x0"] for shape in chart["layout"].get("shapes", [])]
        assert budgets == list(result.setting.budgets.get(objective, ()))
    assert figure(text, "chart1")["layout"]["xaxis"]["title"]["text"] == "latency on pixel_lut (ms)"
    places = [a["id"] for _, a in Elements(without_plotly(text)).tags if "plot" in (a.get("class") or "").split()]
    assert places == ["front", "chart1", "chart2", "hypervolume"]


def test_where_more_is_better_the_line_falls() -> None:
    """The front of frames a second falls to the right, with each step before its point."""
    result = portfolio(30, objectives=("top1", "fps"), reference_point=(10.0, 5.0), budgets={"fps": (25.0,)})
    text = page(result, [])
    trace = next(trace for trace in figure(text, "chart1")["data"] if trace["name"] == "front")
    assert trace["line"]["shape"] == "vh"
    assert trace["x"] == sorted(trace["x"])
    assert trace["y"] == sorted(trace["y"], reverse=True)
    words = "".join(Elements(without_plotly(text)).words)
    assert "above chance (10.0 %) and above 5.0 fps" in words
    assert "frames a second at least 20 fps" in words


def test_further_values_stand_in_tables_picks_and_notices() -> None:
    """For every device: what its latencies rest on, whether its table was validated, and its power."""
    result = portfolio(20)
    words = "".join(render(result).words)
    knee = result.knee.network
    assert f"{knee.values['latency_ms@pixel_lut']:.1f} ms on pixel_lut" in words
    assert f"{knee.values['energy_mj']:.1f} mJ" in words
    assert f"{10 * 3.6e6 / knee.values['energy_mj']:,.0f} images from a full battery of 10 Wh" in words
    assert "board: No figure of the latency table was measured" in words
    assert "pixel_lut: No figure of the latency table was measured" in words
    assert words.count("The table is NOT VALIDATED") == 2
    assert "board draws 2 W while it runs (made up)" in words
    headers = re.findall(r'<th scope="col"><button type="button">(.*?)</button>', without_plotly(page(result, [])))
    assert headers[-3:] == ["latency on pixel_lut", "energy", "frames a second"]


def test_what_the_sampler_expected_stands_beside_what_came() -> None:
    """With the mean error and how many came within two standard deviations; no predictions, no such section."""
    trials = [replace(with_top1(n, 50.0 + n), predicted=(50.0 + 2 * n, 1.0)) for n in range(1, 5)]
    result = SearchResult(setting(), (with_top1(0, 50.0), *trials))
    text = page(result, [])
    assert "It was off by 2.5 points on average, and 2 of 4 came within two standard deviations" in text
    assert 'id="predictions-data"' in text
    assert "predictions-data" not in page(SearchResult(setting(), (with_top1(0, 50.0),)), [])
