"""Make latency_tables/pixel_lut from published figures.

The table is for the Google Pixel 1, one large core, float32, and TensorFlow Lite of 2018 and 2019. It uses three kinds
of figures:

- Whole networks measured by Google. They set the scale of the table: its sums should agree with them.
- Blocks of Single-path NAS, on the same scale: a model fitted to the networks alone is within 5 % of them on average.
  Blocks that are units here become rows as they were published.
- Blocks of nn-Meter, measured later under conditions that are not stated, at about 0.6 times the latency of the others.
  As rows beside the others, they would make some candidates look a third faster than they are. So the model is only
  fitted to them up to a factor, to learn the costs of kernels, expansion and squeeze-and-excitation.

All other rows are `modelled` (nas/latency/modelling/cost_model.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from nas.latency.modelling.cost_model import (
    AMOUNTS,
    CostModel,
    FitError,
    PublishedSample,
    cross_validate,
    fit_cost_model,
    fit_error,
    predict_without,
)
from nas.latency.published.google import google_mobilenet_v3, google_networks, hswish_ablation
from nas.latency.published.nn_meter import LICENCE, URL, VERSION, nn_meter, squeeze_excitation_pairs
from nas.latency.published.single_path_nas import single_path_nas
from nas.latency.table import Citation, Coefficient, LatencyTable, ModelFormat, Row, TableFormat
from nas.networks.operators import Unit, units
from nas.networks.references import reference

NAME = "pixel_lut"
# Published networks whose units get rows besides those of the spaces. The model was fitted to their operations.
NETWORKS = (
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "mobilenet_v3_large_minimalistic",
    "mobilenet_v3_small_minimalistic",
    "mnasnet_a1",
)
# Low for nn-Meter, whose conditions differ most from the others. High for the ablation, the only figures that separate
# the cost of h-swish. The pairs separate the cost of squeeze-and-excitation from that of the rest of its block.
WEIGHTS = {"hswish": 4.0, "nn_meter": 0.3, "nn_meter_se": 0.15}
FREE_SCALE = ("nn_meter",)
# The families of whole networks, each with other sources about it: the ablation is of MobileNetV3-Large.
FAMILIES = {"mobilenet_v2": (), "mnasnet_a1": (), "mobilenet_v3": ("hswish",)}

_PUBLISHED = (
    Citation(
        title="Single-Path NAS, per-block latency on a Pixel 1 (pixel1_runtime_model.json)",
        url="https://github.com/dstamoulis/single-path-nas",
        version="21c1f3e9c790e591749c0fb861bff3737b6d5fc7",
        licence="Apache-2.0",
        use="rows as published; assumption: ReLU and ReLU6 cost the same (both are a clamp fused into a convolution)",
    ),
)
_MODELLED = (
    *_PUBLISHED,
    Citation(
        title="MobileNetV2 and MobileNetV3 on a Pixel 1 (research/slim/nets/mobilenet/README.md)",
        url="https://github.com/tensorflow/models",
        version="0ba83cf0",
        licence="Apache-2.0",
        use="whole networks that the model is fitted to",
    ),
    Citation(
        title="MnasNet-A1 on a Pixel 1 (models/official/mnasnet/README.md)",
        url="https://github.com/tensorflow/tpu",
        version="009812fb",
        licence="Apache-2.0",
        use="whole networks that the model is fitted to",
    ),
    Citation(
        title="Searching for MobileNetV3, 'Effect of non-linearities on MobileNetV3-Large'",
        url="https://arxiv.org/abs/1905.02244",
        licence="figures cited from the paper",
        use="what h-swish costs",
    ),
    Citation(
        title="nn-Meter, block table of a Pixel 1 (pixel1_lut_ln_v3.json, branch dev/hybrid-transformer)",
        url=URL,
        version=VERSION,
        licence=LICENCE,
        use="blocks, and what squeeze-and-excitation adds to them, that the model is fitted to, up to a factor; "
        "no row is taken from it",
    ),
)


def build_pixel_lut(folder: Path, space_units: Iterable[Unit]) -> LatencyTable:
    """Make the table, with a row for each of `space_units` and each unit of the NETWORKS.

    `folder` holds the published files. The same files and units give the same table.
    """
    networks = [*google_networks(folder), *google_mobilenet_v3(folder)]
    blocks = single_path_nas(folder)
    nn_meter_blocks = nn_meter(folder)
    squeezed = squeeze_excitation_pairs(nn_meter_blocks)
    samples = [*networks, *blocks, *nn_meter_blocks, *squeezed, *hswish_ablation()]
    model = fit_cost_model(samples, free=FREE_SCALE, weights=WEIGHTS)
    errors = cross_validate(samples, free=FREE_SCALE, weights=WEIGHTS)
    published = _published_rows(blocks)
    rows = {
        unit.key: published.get(unit.key) or Row(model.estimate_ms([unit]), source="modelled")
        for unit in dict.fromkeys([*space_units, *(unit for name in NETWORKS for unit in units(reference(name)))])
    }
    table = LatencyTable(NAME, _conditions(model, errors, _families_held_out(samples)), rows)
    conditions = table.conditions.model_copy(update={"validation": _agreement(table, networks)})
    return LatencyTable(NAME, conditions, rows)


def _published_rows(blocks: list[PublishedSample]) -> dict[str, Row]:
    """The mean of the figures published for each unit (some layers have the same block), for both ReLU and ReLU6."""
    figures: dict[str, list[float]] = {}
    for sample in blocks:
        for activation in ("relu", "relu6"):
            key = sample.units[0].key.removesuffix("relu") + activation
            figures.setdefault(key, []).append(sample.latency_ms)
    return {
        key: Row(sum(values) / len(values), (max(values) - min(values)) / 2, len(values), "published")
        for key, values in figures.items()
    }


def _families_held_out(samples: list[PublishedSample]) -> dict[str, Any]:
    """The errors on each family of networks of a model that was fitted without it, as for a new network."""
    predicted: list[float] = []
    published: list[float] = []
    errors: dict[str, Any] = {
        "protocol": "each family of whole networks predicted by a model fitted to all but that family, MobileNetV3 "
        "without the h-swish ablation too; error is model / published - 1"
    }
    for family, also in FAMILIES.items():
        estimates = predict_without(samples, family, also=also, free=FREE_SCALE, weights=WEIGHTS)
        figures = np.array([sample.latency_ms for sample in samples if sample.group == family])
        errors[family] = _error_texts(fit_error(estimates / figures))
        predicted.extend(estimates)
        published.extend(figures)
    ratios = np.array(predicted) / np.array(published)
    rank = float(spearmanr(predicted, published).statistic)
    return errors | {"all": _error_texts(fit_error(ratios)) | {"spearman": round(rank, 4)}}


def _conditions(model: CostModel, errors: dict[str, FitError], families: dict[str, Any]) -> TableFormat:
    return TableFormat(
        device="Google Pixel 1",
        soc="Qualcomm Snapdragon 821 (MSM8996 Pro)",
        cores="one large Kryo core",
        threads="1",
        runtime="TensorFlow Lite",
        runtime_version="not stated by the sources (2018 to 2019)",
        execution_provider="CPU",
        precision="float32",
        date="published 2018 to 2019",
        protocol="not measured by this project: published figures, and a model fitted to them "
        "(nas/latency/published/pixel_lut.py); runs is the number of published figures behind a row, spread_ms half "
        "their range",
        sources={"published": _PUBLISHED, "modelled": _MODELLED},
        model=ModelFormat(
            coefficients={
                amount.name: Coefficient(value=value, unit=amount.unit)
                for amount, value in zip(AMOUNTS, model.coefficients, strict=True)
            },
            operations=tuple(sorted(model.operations)),
            scale_of_source={source: round(scale, 4) for source, scale in model.scales.items()},
            cross_validated={
                "protocol": "10 folds; all resolutions of a network, and all variants of a block's shape, are held "
                "out together; error is model / published - 1",
                **{source: _error_texts(error) for source, error in errors.items()},
                "families_held_out": families,
            },
        ),
    )


def _agreement(table: LatencyTable, networks: list[PublishedSample]) -> dict[str, Any]:
    """The differences between the table's sums and the published latencies of the reference networks."""
    by_units = {sample.units: sample.latency_ms for sample in networks}
    rows: dict[str, Any] = {
        "protocol": "sums of the table beside published latencies of whole networks; these networks are among those "
        "that the model was fitted to, so this is agreement, not a held-out test",
    }
    for name in NETWORKS:
        published = by_units.get(units(reference(name)))
        if published is not None:
            estimate = table.estimate(reference(name)).latency_ms
            rows[name] = {
                "published_ms": published,
                "table_ms": round(estimate, 2),
                "difference": f"{estimate / published - 1:+.1%}",
            }
    return rows


def _error_texts(error: FitError) -> dict[str, Any]:
    return {
        "samples": error.count,
        "bias": f"{error.bias:+.1%}",
        "mean_absolute": f"{error.mape:.1%}",
        "worst": f"{error.worst:.1%}",
    }
