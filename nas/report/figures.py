"""Interactive Plotly figures of the page: the charts, the hypervolume, and the sampler's predictions."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from nas import palette
from nas.accuracy.score import TOP1
from nas.networks.describe import describe
from nas.report.charts import Chart
from nas.report.labels import obstacles, place_labels
from nas.search.costing import CostedNetwork
from nas.search.quantities import label_of, quantity_of
from nas.search.results.result import SearchResult
from nas.search.results.wording import megabytes, millions, score_value, short, with_device, written
from nas.search.trial import Trial

# Up to so many points are drawn as SVG, which is sharp and needs no WebGL; more would be slow to zoom and pan.
MOST_SVG_POINTS = 1500

# Up to so many dominated trials have the network's description in their hover text; more would outweigh all the rest.
MOST_DESCRIBED = 2500

# The names' places are computed for two sizes of the plot, a desktop's and a phone's; the page takes the one that fits.
_WIDE_PIXELS = (960.0, 410.0)
_HALF_PIXELS = (430.0, 240.0)
_NARROW_PIXELS = (310.0, 300.0)
_CHARACTER_PIXELS = 6.3
_LINE_PIXELS = 16.0

Array = NDArray[np.float64]


def chart_figure(chart: Chart, *, half: bool = False) -> go.Figure:
    """A chart with stopped and dominated trials, the front as steps, the knee, the reference networks and the budgets.

    With `half` it is half as wide. Stopped trials do not extend the axes, as most stand far below the front. The page
    sets the colours of text and lines, for a light or a dark screen.
    """
    result = chart.result
    figure = go.Figure()
    # All or none: Plotly draws every WebGL trace above every SVG trace, and the dominated trials belong below.
    kind = go.Scatter if len(chart.dominated) + len(chart.stopped) <= MOST_SVG_POINTS else go.Scattergl
    if chart.stopped:
        figure.add_trace(kind(_stopped(chart)))
    if chart.dominated:
        figure.add_trace(kind(_dominated(chart)))
    if result.completed:
        figure.add_traces([kind(trace) for trace in _front(chart)])
        if chart.repeated:
            figure.add_trace(kind(_error_bars(chart)))
        knee = {"color": palette.KNEE, "size": 18, "symbol": "star", "line": {"color": "#333", "width": 1}}
        figure.add_trace(kind(_points(chart, [result.knee], "knee", knee)))
    if chart.references:
        figure.add_trace(kind(_reference_points(chart)))
    for budget, _ in chart.budgets:
        figure.add_vline(x=budget, line={"color": palette.BUDGET, "dash": "dash", "width": 1.5})
    # The axes are fixed to the range that the names' places are computed for.
    low, span = _bounds(chart)
    figure.update_xaxes(range=[low[0], low[0] + span[0]])
    figure.update_yaxes(range=[low[1], low[1] + span[1]])
    figure.update_layout(
        **_LAYOUT,
        annotations=_annotations(chart, _HALF_PIXELS if half else _WIDE_PIXELS),
        meta={"narrow_annotations": _annotations(chart, _NARROW_PIXELS)},
        xaxis_title=_escaped(chart.title),
        yaxis_title=_axis(chart.result.setting.learned, " of the proxy"),
        showlegend=not half,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        margin={"l": 60, "r": 20, "t": 20 if half else 60, "b": 55},
    )
    return figure


def hypervolume_figure(result: SearchResult, hypervolumes: Sequence[float]) -> go.Figure:
    """The hypervolume after each trial, in percent of the reference box."""
    figure = go.Figure(
        go.Scatter(
            x=[trial.number for trial in result.trials],
            y=[round(100 * volume, 3) for volume in hypervolumes],
            mode="lines" if len(hypervolumes) > 1 else "markers",
            line={"shape": "hv", "color": palette.FRONT},
            hovertemplate="trial %{x}<br>%{y:.1f} %<extra></extra>",
        )
    )
    figure.update_layout(
        **_LAYOUT,
        showlegend=False,
        xaxis_title="trial",
        yaxis_title="hypervolume (% of the box)",
        yaxis_rangemode="tozero",
        margin={"l": 60, "r": 20, "t": 20, "b": 55},
    )
    return figure


def prediction_figure(trials: Sequence[Trial], learned: str = TOP1) -> go.Figure:
    """The score (top-1 in percent) obtained, against the one expected by the sampler with its standard deviation."""
    predicted = [trial.predicted for trial in trials if trial.predicted]
    means, stds = [round(mean, 4) for mean, _ in predicted], [round(std, 4) for _, std in predicted]
    obtained = [round(trial.network.learned, 4) for trial in trials]
    unit = f" {quantity_of(learned).unit}".rstrip()
    ends = [min(*means, *obtained), max(*means, *obtained)]
    figure = go.Figure()
    equal = {"color": palette.DOMINATED, "dash": "dot"}
    figure.add_trace(go.Scatter(x=ends, y=ends, mode="lines", line=equal, hoverinfo="skip"))
    figure.add_trace(
        go.Scatter(
            x=means,
            y=obtained,
            error_x={"array": stds, "thickness": 1, "width": 0},
            mode="markers",
            marker={"color": palette.FRONT, "size": 7},
            text=[f"trial {trial.number}" for trial in trials],
            hovertemplate=f"%{{text}}<br>expected %{{x:.1f}}{unit}<br>obtained %{{y:.1f}}{unit}<extra></extra>",
        )
    )
    figure.update_layout(
        **_LAYOUT,
        showlegend=False,
        xaxis_title=_axis(learned, " expected"),
        yaxis_title=_axis(learned, " obtained"),
        margin={"l": 60, "r": 20, "t": 20, "b": 55},
    )
    return figure


_LAYOUT = {
    "template": "none",
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "hoverlabel": {"align": "left", "font": {"size": 12}},
    "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": palette.DOMINATED, "activecolor": palette.FRONT},
}


_NAME = {
    "arrowhead": 0,
    "arrowwidth": 1,
    "arrowcolor": palette.REFERENCE,
    "standoff": 7,
    "font": {"size": 11},
}

_BUDGET = {
    "yref": "paper",
    "y": 0.01,
    "xanchor": "left",
    "yanchor": "bottom",
    "textangle": -90,
    "showarrow": False,
    "font": {"size": 11, "color": palette.BUDGET},
}


def _dominated(chart: Chart) -> dict[str, object]:
    trials = chart.dominated
    described = len(trials) <= MOST_DESCRIBED
    further = chart.result.setting.further
    return {
        "x": [float(f"{chart.x(trial.network):.6g}") for trial in trials],
        "y": [round(trial.network.learned, 4) for trial in trials],
        "text": [_hover(f"trial {trial.number}", trial.network, further, described=described) for trial in trials],
        "mode": "markers",
        "name": "dominated",
        "marker": {"color": palette.DOMINATED, "size": 6, "opacity": 0.6},
        "hovertemplate": "%{text}<extra></extra>",
    }


def _stopped(chart: Chart) -> dict[str, object]:
    """Drawn light and hollow, because their top-1 is that of a part of the training."""
    networks = [trial.network for trial in chart.stopped]
    return {
        "x": [float(f"{chart.x(network):.6g}") for network in networks],
        "y": [round(network.learned, 4) for network in networks],
        "text": [_so_far(trial) for trial in chart.stopped],
        "mode": "markers",
        "name": "stopped on the way",
        "marker": {"color": palette.DOMINATED, "size": 5, "opacity": 0.35, "symbol": "circle-open"},
        "hovertemplate": "%{text}<extra></extra>",
    }


def _so_far(trial: Trial) -> str:
    score = trial.network.score
    assert score is not None
    words = f"stopped after {score.epochs} of {score.budget} epochs"
    latency = f"{trial.network.latency.latency_ms:.4g} ms"
    so_far = f"{label_of(score.metric)} so far {score_value(score.metric, score.value)}"
    return f"<b>trial {trial.number}</b><br>{words}<br>{so_far} · {latency}"


def _error_bars(chart: Chart) -> dict[str, object]:
    """For each member of the front that was trained again: the mean of its scores with new seeds, and its interval."""
    certainties = [certainty for _, certainty in chart.repeated]
    learned = chart.result.setting.learned
    return {
        "x": [chart.x(trial.network) for trial, _ in chart.repeated],
        "y": [certainty.mean for certainty in certainties],
        "error_y": {
            "array": [certainty.high - certainty.mean for certainty in certainties],
            "arrayminus": [certainty.mean - certainty.low for certainty in certainties],
            "color": palette.FRONT,
            "thickness": 1.2,
        },
        "text": [
            f"<b>trial {trial.number}, trained again</b><br>mean of {certainty.scores}: "
            f"{score_value(learned, certainty.mean)} ({certainty.low:.1f} to {certainty.high:.1f})<br>"
            f"on the front with {certainty.on_front:.0%}"
            for trial, certainty in chart.repeated
        ],
        "mode": "markers",
        "name": "trained again: mean, 95 %",
        "marker": {"color": palette.FRONT, "size": 7, "symbol": "line-ew-open"},
        "hovertemplate": "%{text}<extra></extra>",
    }


def _front(chart: Chart) -> list[dict[str, object]]:
    """The front as a line of steps; with further objectives, its members, and a line of the front of these two."""
    marker = {"color": palette.FRONT, "size": 9}
    line = {"shape": "hv" if chart.rises_late else "vh", "width": 2, "color": palette.FRONT}
    if chart.is_whole:
        return [_points(chart, chart.steps, "front", marker) | {"mode": "lines+markers", "line": line}]
    steps = _points(chart, chart.steps, "best of these two", marker)
    thin = line | {"width": 1.5, "dash": "dot"}
    members = _points(chart, chart.result.front, "front", marker)
    return [steps | {"mode": "lines", "line": thin, "hoverinfo": "skip", "hovertemplate": None}, members]


def _points(chart: Chart, trials: Sequence[Trial], name: str, marker: Mapping[str, object]) -> dict[str, object]:
    further = chart.result.setting.further
    return {
        "x": [chart.x(trial.network) for trial in trials],
        "y": [trial.network.learned for trial in trials],
        "text": [_hover(f"{name}: trial {trial.number}", trial.network, further) for trial in trials],
        "mode": "markers",
        "name": name,
        "marker": marker,
        "hovertemplate": "%{text}<extra></extra>",
    }


def _reference_points(chart: Chart) -> dict[str, object]:
    further = chart.result.setting.further
    return {
        "x": [chart.x(network) for network in chart.references],
        "y": [network.learned for network in chart.references],
        "text": [_hover(_escaped(network.name), network, further) for network in chart.references],
        "mode": "markers",
        "name": "reference networks",
        "marker": {"color": palette.REFERENCE, "size": 11, "symbol": "diamond"},
        "hovertemplate": "%{text}<extra></extra>",
    }


def _annotations(chart: Chart, area: tuple[float, float]) -> list[dict[str, object]]:
    """The names of the reference networks, placed for a plot of `area` pixels, and the words of the budgets."""
    low, span = _bounds(chart)

    def pixels(x: float, top1: float) -> tuple[float, float]:
        right, up = (np.array([x, top1]) - low) / span * area
        return float(right), float(up)

    networks = chart.references
    offsets = place_labels(
        [pixels(chart.x(network), network.learned) for network in networks],
        [(_CHARACTER_PIXELS * len(short(network.name)), _LINE_PIXELS) for network in networks],
        obstacles(chart, pixels, area[1]),
        area,
    )
    names = [
        _NAME
        | {"x": chart.x(network), "y": network.learned, "text": _escaped(short(network.name))}
        | {"ax": right, "ay": -up}
        for network, (right, up) in zip(networks, offsets, strict=True)
    ]
    return names + [_BUDGET | {"x": budget, "text": words} for budget, words in chart.budgets]


def _bounds(chart: Chart) -> tuple[Array, Array]:
    """The lower left corner of the picture and its width and height, in the units of x and of top-1."""
    networks = [*(trial.network for trial in chart.result.completed), *chart.references]
    bars = [(chart.x(trial.network), end) for trial, bar in chart.repeated for end in (bar.low, bar.high)]
    points = np.array([*((chart.x(network), network.learned) for network in networks), *bars] or [(0.0, 0.0)])
    budgets = [budget for budget, _ in chart.budgets]
    low = np.array([min(points[:, 0].min(), *budgets, np.inf), points[:, 1].min()])
    high = np.array([max(points[:, 0].max(), *budgets, -np.inf), points[:, 1].max()])
    least = np.array([0.1 * high[0] or 1.0, 1.0])
    span = 1.14 * np.maximum(high - low, least)
    return (low + high - span) / 2, span


def _axis(learned: str, what: str) -> str:
    """The title of an axis: `top-1 of the proxy (%)`."""
    unit = quantity_of(learned).unit
    return f"{label_of(learned)}{what}" + (f" ({unit})" if unit else "")


def _score(network: CostedNetwork) -> str:
    assert network.score is not None
    return f"{label_of(network.score.metric)} {score_value(network.score.metric, network.score.value)}"


def _hover(title: str, network: CostedNetwork, further: Sequence[str], *, described: bool = True) -> str:
    """The text shown on hovering over a network. Plotly reads it as HTML: the caller escapes `title`."""
    costs = network.costs
    lines = [
        f"<b>{title}</b>",
        f"{_score(network)} · {network.latency.latency_ms:.4g} ms",
        *(_escaped(with_device(name, written(name, network.values[name]))) for name in further),
        f"{millions(costs.params)} params · {millions(costs.macs)} MACs",
        f"{megabytes(costs.peak_activation_bytes)} peak activation memory",
    ]
    if described:
        lines += describe(network.architecture).split(" | ")
    return "<br>".join(lines)


def _escaped(text: str) -> str:
    """`text` escaped for Plotly, which interprets tags but shows quotes as they are."""
    return html.escape(text, quote=False)
