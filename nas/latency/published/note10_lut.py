"""Make latency_tables/note10_lut from published figures: a Samsung Note 10, every unit of the search space ofa_mbv3.

Rows of width 1.2 at resolutions of 160 and more are as published. Rows of width 1.0 and of resolutions below 160 are
modelled: latency = latency of the counterpart · model(unit) / model(counterpart). The counterpart is the same choice at
width 1.2 and the nearest published resolution. The model is the cost model (nas/latency/modelling/cost_model.py),
fitted to the published blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.latency.modelling.cost_model import CostModel, PublishedSample, fit_cost_model
from nas.latency.published.files import PublishedUnit, published_rows
from nas.latency.published.ofa_note10 import RESOLUTIONS, WIDTH, ofa_note10
from nas.latency.table import Citation, LatencyTable, Row, TableFormat
from nas.networks.architecture import Architecture
from nas.networks.operators import Unit, units
from nas.networks.references.ofa import ofa_mobilenet_v3

NAME = "note10_lut"
SPACE_RESOLUTIONS = tuple(range(128, 225, 4))
SPACE_WIDTHS = (1.0, WIDTH)
_DEPTHS, _KERNEL_SIZES, _EXPAND_RATIOS = (2, 3, 4), (3, 5, 7), (3, 4, 6)

# 128 is to 160 as 160 is to 200, so predicting 160 from 200 and more is as hard as the furthest transfer of the table.
_CHECKED_RESOLUTION, _CHECKED_FROM = 160, 200
# Neighbouring stages of equal resolution and activation. One has 1.42 times the channels of the other, while width 1.2
# has 1.2 times those of width 1.0.
_CHECKED_CHANNELS = (96, 136)

_CITATION = Citation(
    title="CompOFA, with once-for-all's latency tables of a Samsung Note 10 (NAS/checkpoints/latency_table@note10)",
    url="https://github.com/gatech-sysml/CompOFA",
    version="6b53946157b8ee16118187872ed19e45dd9692c4",
    licence="Apache-2.0",
    use="rows as published",
)


def build_note10_lut(folder: Path) -> LatencyTable:
    """Make the table, with a row for every unit of ofa_mbv3; the same file gives the same table."""
    figures = ofa_note10(folder)
    published = published_rows(figures)
    model = _fit(figures)
    rows = dict(published)
    for width, resolution in product(SPACE_WIDTHS, SPACE_RESOLUTIONS):
        nearest = max(resolution, RESOLUTIONS[0])
        for unit, counterpart in zip(_choices(width, resolution), _choices(WIDTH, nearest), strict=True):
            if unit.key not in rows:
                latency_ms = _transferred_ms(model, unit, counterpart, published[counterpart.key].latency_ms)
                rows[unit.key] = Row(latency_ms, source="modelled")
    return LatencyTable(NAME, _conditions(_validation(figures)), rows)


def _choices(width: float, resolution: int) -> Iterator[Unit]:
    """All units of the space at one width and resolution, some of them repeated, always in the same order."""
    for depth, kernel_size, expand_ratio in product(_DEPTHS, _KERNEL_SIZES, _EXPAND_RATIOS):
        yield from units(_uniform(width, resolution, depth, kernel_size, expand_ratio))


def _uniform(width: float, resolution: int, depth: int, kernel_size: int, expand_ratio: int) -> Architecture:
    return ofa_mobilenet_v3(
        depth=depth, kernel_size=kernel_size, expand_ratio=expand_ratio, width=width, resolution=resolution
    )


def _fit(figures: Sequence[PublishedUnit]) -> CostModel:
    samples = [PublishedSample(f.unit.key, "note10", f.unit.key, (f.unit,), f.latency_ms) for f in figures]
    return fit_cost_model(samples)


def _transferred_ms(model: CostModel, unit: Unit, counterpart: Unit, published_ms: float) -> float:
    return published_ms * model.estimate_ms([unit]) / model.estimate_ms([counterpart])


def _validation(figures: Sequence[PublishedUnit]) -> dict[str, Any]:
    """The errors of the same procedure on published figures that were held out."""
    return {
        "protocol": "not validated on whole networks: published figures of units, held out from the model and from the "
        "counterparts; error is modelled / published - 1. Networks are the 27 of one depth, kernel size and expansion",
        f"resolution_{_CHECKED_RESOLUTION}_from_{_CHECKED_FROM}_and_more": _resolution_errors(figures),
        "stage_of_{}_from_stage_of_{}_channels".format(*_CHECKED_CHANNELS): _stage_errors(figures, *_CHECKED_CHANNELS),
        "stage_of_{1}_from_stage_of_{0}_channels".format(*_CHECKED_CHANNELS): _stage_errors(
            figures, *reversed(_CHECKED_CHANNELS)
        ),
    }


def _resolution_errors(figures: Sequence[PublishedUnit]) -> dict[str, Any]:
    fitting_keys = {
        unit.key for resolution in RESOLUTIONS if resolution >= _CHECKED_FROM for unit in _choices(WIDTH, resolution)
    }
    model, published = _fit([figure for figure in figures if figure.unit.key in fitting_keys]), _latency_ms(figures)
    predicted = {
        unit.key: _transferred_ms(model, unit, counterpart, published[counterpart.key])
        for unit, counterpart in zip(_choices(WIDTH, _CHECKED_RESOLUTION), _choices(WIDTH, _CHECKED_FROM), strict=True)
    }
    networks = [
        [unit.key for unit in units(_uniform(WIDTH, _CHECKED_RESOLUTION, *choice))]
        for choice in product(_DEPTHS, _KERNEL_SIZES, _EXPAND_RATIOS)
    ]
    sums = [sum(predicted[key] for key in keys) / sum(published[key] for key in keys) for keys in networks]
    return {
        "units": _error_texts([predicted[key] / published[key] for key in predicted if key not in fitting_keys]),
        "networks": _error_texts(sums),
    }


def _stage_errors(figures: Sequence[PublishedUnit], channels: int, from_channels: int) -> dict[str, Any]:
    """Blocks of `channels` channels that keep their shape, from those of `from_channels`: a transfer over widths."""
    stages: dict[int, dict[tuple[int, int, int], PublishedUnit]] = {channels: {}, from_channels: {}}
    for figure in figures:
        unit = figure.unit
        if unit.residual and unit.in_channels in stages:
            choice = (unit.height, unit.block.kernel_size, unit.block.hidden_channels // unit.in_channels)
            stages[unit.in_channels][choice] = figure
    held_out = {figure.unit.key for figure in stages[channels].values()}
    model = _fit([figure for figure in figures if figure.unit.key not in held_out])
    ratios = []
    for choice, figure in stages[channels].items():
        counterpart = stages[from_channels][choice]
        transferred_ms = _transferred_ms(model, figure.unit, counterpart.unit, counterpart.latency_ms)
        ratios.append(transferred_ms / figure.latency_ms)
    return {"units": _error_texts(ratios)}


def _latency_ms(figures: Sequence[PublishedUnit]) -> Mapping[str, float]:
    return {key: row.latency_ms for key, row in published_rows(figures).items()}


def _error_texts(ratios: Sequence[float]) -> dict[str, Any]:
    error: NDArray[np.float64] = np.array(ratios) - 1
    return {
        "count": len(ratios),
        "bias": f"{error.mean():+.1%}",
        "mean_absolute": f"{np.abs(error).mean():.1%}",
        "worst": f"{np.abs(error).max():.1%}",
    }


def _conditions(validation: dict[str, Any]) -> TableFormat:
    use = "what the model is fitted to, and the counterparts that modelled rows are scaled from"
    return TableFormat(
        device="Samsung Galaxy Note 10",
        soc="not stated by the source (two were sold)",
        cores="not stated by the source",
        threads="not stated by the source",
        runtime="runtime not stated by the source",
        runtime_version="not stated by the source",
        execution_provider="not stated by the source",
        precision="precision not stated by the source",
        date="published 2020",
        protocol="not measured by this project: published figures of single blocks, batch 1; runs is how often the "
        "source timed them, spread_ms their standard deviation. Published: width 1.2 at resolutions 160 to 224. "
        "Modelled: width 1.0, and resolutions 128 to 156 (nas/latency/published/note10_lut.py)",
        validation=validation,
        sources={"published": (_CITATION,), "modelled": (_CITATION.model_copy(update={"use": use}),)},
    )
