"""Which interactive pictures does the page show?"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from nas.networks.describe import describe
from nas.report import palette
from nas.report.labels import obstacles, place_labels
from nas.report.wording import megabytes, millions, percent, short
from nas.search.result import CostedNetwork, SearchResult, Trial

# Up to here points are drawn as SVG, sharp and without WebGL; from here on that would be slow to move in.
MOST_SVG_POINTS = 1500

# Dominated trials beyond this many are not described when hovered over: the texts would weigh more than the rest.
MOST_DESCRIBED = 2500


# Where names stand is computed for two sizes of the plot, on a desk and on a phone; the page takes the one that fits.
_WIDE_PIXELS = (960.0, 410.0)
_NARROW_PIXELS = (310.0, 300.0)
_CHARACTER_PIXELS = 6.3
_LINE_PIXELS = 16.0

Array = NDArray[np.float64]


def front_figure(result: SearchResult) -> go.Figure:
    """Top-1 against latency: dominated trials, the front as steps, the knee, the reference networks, the budgets.

    The page gives it its colours for text and lines, for a light or a dark screen.
    """
    figure = go.Figure()
    on_front = {trial.number for trial in result.front}
    beaten = [trial for trial in result.completed if trial.number not in on_front]
    # All or none: Plotly draws every WebGL trace above every SVG trace, and the dominated trials belong below.
    kind = go.Scatter if len(beaten) <= MOST_SVG_POINTS else go.Scattergl
    if beaten:
        figure.add_trace(kind(_dominated(beaten)))
    if result.completed:
        line = {"shape": "hv", "width": 2, "color": palette.FRONT}
        front = _points(result.front, "front", {"color": palette.FRONT, "size": 9})
        figure.add_trace(kind(front | {"mode": "lines+markers", "line": line}))
        knee = {"color": palette.KNEE, "size": 18, "symbol": "star", "line": {"color": "#333", "width": 1}}
        figure.add_trace(kind(_points([result.knee], "knee", knee)))
    if references := _scored_references(result):
        figure.add_trace(kind(_reference_points(references)))
    for budget_ms in result.setting.budgets_ms:
        figure.add_vline(x=budget_ms, line={"color": palette.BUDGET, "dash": "dash", "width": 1.5})
    # The range is stated, so that the places of names are computed for what is shown.
    low, span = _bounds(result)
    figure.update_xaxes(range=[low[0], low[0] + span[0]])
    figure.update_yaxes(range=[low[1], low[1] + span[1]])
    figure.update_layout(
        **_LAYOUT,
        annotations=_annotations(result, _WIDE_PIXELS),
        meta={"narrow_annotations": _annotations(result, _NARROW_PIXELS)},
        xaxis_title=f"latency on {_escaped(short(result.setting.device))} (ms)",
        yaxis_title="top-1 of the proxy (%)",
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        margin={"l": 60, "r": 20, "t": 60, "b": 55},
    )
    return figure


def hypervolume_figure(result: SearchResult, hypervolumes: Sequence[float]) -> go.Figure:
    """How much of the reference box was dominated after each trial, in percent."""
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

_FIGURE = {
    "yref": "paper",
    "y": 0.01,
    "xanchor": "left",
    "yanchor": "bottom",
    "textangle": -90,
    "showarrow": False,
    "font": {"size": 11, "color": palette.BUDGET},
}


def _dominated(trials: Sequence[Trial]) -> dict[str, object]:
    described = len(trials) <= MOST_DESCRIBED
    return {
        "x": [round(trial.network.latency.latency_ms, 4) for trial in trials],
        "y": [round(trial.network.top1, 4) for trial in trials],
        "text": [_hover(f"trial {trial.number}", trial.network, described=described) for trial in trials],
        "mode": "markers",
        "name": "dominated",
        "marker": {"color": palette.DOMINATED, "size": 6, "opacity": 0.6},
        "hovertemplate": "%{text}<extra></extra>",
    }


def _points(trials: Sequence[Trial], name: str, marker: Mapping[str, object]) -> dict[str, object]:
    return {
        "x": [trial.network.latency.latency_ms for trial in trials],
        "y": [trial.network.top1 for trial in trials],
        "text": [_hover(f"{name}: trial {trial.number}", trial.network) for trial in trials],
        "mode": "markers",
        "name": name,
        "marker": marker,
        "hovertemplate": "%{text}<extra></extra>",
    }


def _reference_points(networks: Sequence[CostedNetwork]) -> dict[str, object]:
    return {
        "x": [network.latency.latency_ms for network in networks],
        "y": [network.top1 for network in networks],
        "text": [_hover(_escaped(network.name), network) for network in networks],
        "mode": "markers",
        "name": "reference networks",
        "marker": {"color": palette.REFERENCE, "size": 11, "symbol": "diamond"},
        "hovertemplate": "%{text}<extra></extra>",
    }


def _annotations(result: SearchResult, area: tuple[float, float]) -> list[dict[str, object]]:
    """The names of reference networks, placed for a plot of `area` pixels, and the budgets' figures."""
    low, span = _bounds(result)

    def pixels(latency_ms: float, top1: float) -> tuple[float, float]:
        right, up = (np.array([latency_ms, top1]) - low) / span * area
        return float(right), float(up)

    networks = _scored_references(result)
    offsets = place_labels(
        [pixels(network.latency.latency_ms, network.top1) for network in networks],
        [(_CHARACTER_PIXELS * len(short(network.name)), _LINE_PIXELS) for network in networks],
        obstacles(result, pixels, area[1]),
        area,
    )
    names = [
        _NAME
        | {"x": network.latency.latency_ms, "y": network.top1, "text": _escaped(short(network.name))}
        | {"ax": right, "ay": -up}
        for network, (right, up) in zip(networks, offsets, strict=True)
    ]
    return names + [_FIGURE | {"x": budget, "text": f"{budget:g} ms"} for budget in result.setting.budgets_ms]


def _scored_references(result: SearchResult) -> list[CostedNetwork]:
    return [network for network in result.references if network.score]


def _bounds(result: SearchResult) -> tuple[Array, Array]:
    """The lower left corner of the picture and its width and height, in milliseconds and percent."""
    networks = [*(trial.network for trial in result.completed), *_scored_references(result)]
    points = np.array([(network.latency.latency_ms, network.top1) for network in networks] or [(0.0, 0.0)])
    budgets = result.setting.budgets_ms
    low = np.array([min(points[:, 0].min(), *budgets, np.inf), points[:, 1].min()])
    high = np.array([max(points[:, 0].max(), *budgets, -np.inf), points[:, 1].max()])
    span = 1.14 * np.maximum(high - low, 1.0)
    return (low + high - span) / 2, span


def _hover(title: str, network: CostedNetwork, *, described: bool = True) -> str:
    """Plotly reads a little HTML: `title` is escaped by the caller, everything else holds no markup."""
    costs = network.costs
    lines = [
        f"<b>{title}</b>",
        f"top-1 {percent(network.top1)} · {network.latency.latency_ms:.4g} ms",
        f"{millions(costs.params)} params · {millions(costs.macs)} MACs",
        f"{megabytes(costs.peak_activation_bytes)} peak activation memory",
    ]
    if described:
        lines += describe(network.architecture).split(" | ")
    return "<br>".join(lines)


def _escaped(text: str) -> str:
    """`text` for Plotly, which reads tags but shows quotes as they stand."""
    return html.escape(text, quote=False)
