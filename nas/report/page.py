"""Write the report as one HTML page that loads nothing from the internet."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from nas import __version__
from nas.deploy.export.picks import FOLDER, ExportedPick
from nas.files import write_text
from nas.latency.table import SOURCES, Source
from nas.networks.describe import describe
from nas.report import notices
from nas.report.charts import charts_of
from nas.report.figures import chart_figure, hypervolume_figure, prediction_figure
from nas.report.passwords import without_passwords
from nas.search.quantities import label_of, quantity_of
from nas.search.results import comparison, wording
from nas.search.results.result import SearchResult


def save_page(path: Path, result: SearchResult, picks: list[ExportedPick]) -> None:
    """Write the page, whole or not at all. Its links to the files of `picks` are relative to it."""
    write_text(path, page(result, picks))


def page(result: SearchResult, picks: list[ExportedPick]) -> str:
    """The page as HTML. Names and reasons are escaped, and a browser loads nothing from elsewhere."""
    hypervolumes = result.hypervolumes()
    setting = without_passwords(result.setting)
    main, *others = charts_of(result)
    energy = notices.energy_notice(result)
    predicted = [trial for trial in result.completed if trial.predicted]
    return (
        _environment()
        .get_template("template.html")
        .render(
            result=result,
            setting=setting,
            picks=picks,
            folder=FOLDER,
            hypervolumes=hypervolumes,
            sources=_sources(result),
            seconds=sum(trial.seconds for trial in result.trials),
            notices=[*notices.latency_notices(result), *([energy] if energy else []), notices.accuracy_notice(result)],
            conditions={name: notices.conditions_line(table) for name, table in setting.tables.items()},
            beyond=comparison.beyond_line(result),
            better=lambda pick: comparison.better_line(result, pick),
            unmet=comparison.unmet_lines(result),
            battery=lambda network: notices.battery_line(result, network),
            provenance=_provenance(result),
            fates=notices.fates(result),
            certainty=notices.certainty_table(result),
            experiment=yaml.safe_dump(dict(setting.experiment), sort_keys=False, allow_unicode=True),
            main=main,
            front_figure=_embedded(chart_figure(main)),
            others=[(chart, _embedded(chart_figure(chart, half=True))) for chart in others],
            hypervolume_figure=_embedded(hypervolume_figure(result, hypervolumes)),
            predictions=notices.predictions_line(predicted, result.setting.learned) if predicted else "",
            prediction_figure=_embedded(prediction_figure(predicted, result.setting.learned)) if predicted else "",
            plotly=Markup(get_plotlyjs()),
            version=__version__,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": wording.percent,
        "share": wording.share,
        "millions": wording.millions,
        "megabytes": wording.megabytes,
        "large": wording.large,
        "duration": wording.duration,
        "describe": describe,
        "amount": wording.amount,
        "label": label_of,
        "sentence": wording.sentence,
    }
    environment.globals |= {
        "count": wording.count,
        "bound": wording.bound,
        "written": wording.written,
        "with_device": wording.with_device,
        "score_value": wording.score_value,
        "quantity_of": quantity_of,
    }
    return environment


def _provenance(result: SearchResult) -> list[notices.Table]:
    tables = result.setting.tables
    return [
        table
        for device, conditions in tables.items()
        for table in notices.provenance_tables(conditions, device if len(tables) > 1 else "")
    ]


def _sources(result: SearchResult) -> list[Source]:
    """The sources of the latencies of the networks in the page's tables."""
    networks = [*(trial.network for trial in result.front), *result.references]
    return [source for source in SOURCES if any(network.latency.share(source) > 0 for network in networks)]


def _embedded(figure: go.Figure) -> Markup:
    """A figure as JSON for a script element: without `<`, so that nothing in it can end that element."""
    return Markup(figure.to_json().replace("<", "\\u003c"))
