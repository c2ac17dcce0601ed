"""How do the results read on one page that needs no network?"""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from nas import __version__
from nas.latency.table import SOURCES, Source
from nas.networks.describe import describe
from nas.report import notices, wording
from nas.report.figures import front_figure, hypervolume_figure
from nas.report.passwords import without_passwords
from nas.report.picks import FOLDER, ExportedPick
from nas.search.result import SearchResult
from nas.search.run_directory import write_text


def save_page(path: Path, result: SearchResult, picks: list[ExportedPick]) -> None:
    """Write the page, whole or not at all; `picks` are linked to relative to it."""
    write_text(path, page(result, picks))


def page(result: SearchResult, picks: list[ExportedPick]) -> str:
    """The page as HTML. Names and reasons are escaped, and nothing is loaded from anywhere."""
    hypervolumes = result.hypervolumes()
    setting = without_passwords(result.setting)
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
            latency_notice=notices.latency_notice(result),
            accuracy_notice=notices.accuracy_notice(result),
            conditions=notices.conditions_line(result.setting.device_conditions),
            provenance=notices.provenance_tables(result.setting.device_conditions),
            fates=notices.fates(result),
            experiment=yaml.safe_dump(dict(setting.experiment), sort_keys=False, allow_unicode=True),
            front_figure=_embedded(front_figure(result)),
            hypervolume_figure=_embedded(hypervolume_figure(result, hypervolumes)),
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
    }
    environment.globals["count"] = wording.count
    return environment


def _sources(result: SearchResult) -> list[Source]:
    """The sources that any latency of the tables rests on."""
    networks = [*(trial.network for trial in result.front), *result.references]
    return [source for source in SOURCES if any(network.latency.share(source) > 0 for network in networks)]


def _embedded(figure: go.Figure) -> Markup:
    """JSON that can stand in a script element: no tag can begin or end in it."""
    return Markup(figure.to_json().replace("<", "\\u003c"))
