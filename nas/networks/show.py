"""Print networks and search spaces with their costs: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from nas import console
from nas.networks.architecture import Architecture
from nas.networks.deployed import deployed, has_branches
from nas.networks.explain import (
    Separable,
    Share,
    compare_convolutions,
    count_activations,
    find_separables,
    find_shares,
)
from nas.networks.operators import (
    PRECISIONS,
    Costs,
    DetailedCosts,
    Unit,
    estimate_costs,
    total_costs,
    unit_costs,
    units,
)
from nas.networks.references import REFERENCES
from nas.networks.space.keys import BLOCK_KEYS, STAGE_OPERATORS

if TYPE_CHECKING:
    from nas.networks.space.format import LayerFormat, StageFormat
    from nas.networks.space.search_space import SearchSpace

_MEGABYTE = 1e6
_MARK = "*"
_MOST_RESOLUTIONS = 10
# Without "variant", a number whose settings stand in the other columns.
_SPACE_COLUMNS = ("op", "variants", "out", "stride", "depth", *BLOCK_KEYS[2:])


def show_network(name: str, architecture: Architecture, *, as_json: bool) -> None:
    """A row of costs for each unit and for the whole network; with branches also the costs of the deployed form."""
    rows = units(architecture)
    costs = [unit_costs(unit) for unit in rows]
    total = total_costs(costs)
    deployed_costs = _detailed(deployed(architecture)) if has_branches(architecture) else None
    if as_json:
        listed = [
            {"unit": unit.key, "output": [unit.out_channels, unit.out_height, unit.out_width], **_costs_json(cost)}
            for unit, cost in zip(rows, costs, strict=True)
        ]
        _print_json(
            {
                "name": name,
                "fingerprint": architecture.fingerprint,
                "resolution": architecture.resolution,
                "classes": architecture.classes,
                **_costs_json(total),
                "deployed": _costs_json(deployed_costs) if deployed_costs else None,
                "units": listed,
                "architecture": architecture.to_json(),
            }
        )
        return
    print(f"{name}: {architecture.resolution} pixels, {architecture.classes} classes, {architecture.fingerprint}\n")
    columns = ("unit", "output", "params", "MACs", "peak bytes", "MACs/byte")
    table = [(unit.key, _shape(unit), *_cost_cells(cost)) for unit, cost in zip(rows, costs, strict=True)]
    table.append(("total", "", *_cost_cells(total)))
    console.print_table(columns, table, numbers=columns[2:])
    if deployed_costs:
        print(f"\nas it is trained; deployed, each block's branches are one convolution: {_brief(deployed_costs)}")
    print("\npeak bytes: activations held at once by one float32 image, unit after unit, in a good order of operations")
    print("MACs/byte: float32 weights and activations, each read or written once (arithmetic intensity)\n")
    _print_precisions(total)
    if total.product_macs:
        print(f"\nattention multiplies two tensors: {total.product_macs:,} MACs that the column leaves out")


def show_space(space: SearchSpace, *, as_json: bool) -> None:
    """The stem, stages and head of a space, its exact size, and the costs of its smallest and largest member."""
    members = {
        "smallest": space.decode(space.smallest_parameters()),
        "largest": space.decode(space.largest_parameters()),
    }
    costs = {name: _brief_json(member) for name, member in members.items()}
    layout = space.format
    if as_json:
        parameters = [{"name": p.name, "choices": list(p.choices)} for p in space.parameters]
        _print_json({"name": space.name, "size": space.size, "parameters": parameters, **costs})
        return
    print(f"{space.name}: {space.size:,} networks, {len(space.parameters)} parameters")
    resolutions = layout.resolution
    if len(resolutions) > _MOST_RESOLUTIONS:
        resolution = f"{len(resolutions)} from {min(resolutions)} to {max(resolutions)}"
    else:
        resolution = _choice(resolutions)
    print(f"resolution {resolution}; width {_choice(layout.width)}; {layout.classes} classes\n")
    rows = [
        *({"row": "stem", **_layer_cells(layer)} for layer in layout.stem),
        *({"row": f"stage{number}", **_stage_cells(stage)} for number, stage in enumerate(layout.stages, start=1)),
        *({"row": "head", **_layer_cells(layer)} for layer in layout.head),
    ]
    columns = ("row", *(key for key in _SPACE_COLUMNS if any(row.get(key) for row in rows)))
    console.print_table(columns, [tuple(row.get(key, "") for key in columns) for row in rows])
    _print_variants(layout.stages)
    for group in layout.tied:
        print(f"\n{group.name} decides {', '.join(group.keys)}:")
        for label, values in group.rows.items():
            print(f"  {label}: {', '.join(_choice([value]) for value in values)}")
    print()
    for name, member in members.items():
        trained = "; as it is trained" if has_branches(member) else ""
        print(f"{name} member: {_brief(estimate_costs(member))}{trained}")
        if trained:
            print(f"{name} member, deployed: {_brief(estimate_costs(deployed(member)))}")


def list_networks(*, as_json: bool) -> None:
    """Every published network with its family, resolution and costs; those with branches are marked."""
    networks = []
    for name, build in REFERENCES.items():
        architecture = build()
        made_by = build.func if isinstance(build, partial) else build
        family = made_by.__module__.rsplit(".", 1)[-1]
        costs = _brief_json(architecture)
        networks.append({"family": family, "name": name, "resolution": architecture.resolution, **costs})
    if as_json:
        _print_json(networks)
        return
    columns = ("family", "name", "resolution", "params", "MACs", "peak bytes")
    table, before = [], ""
    for row in networks:
        numbers = (f"{row[key]:,}" for key in ("params", "macs", "peak_activation_bytes"))
        family = str(row["family"])
        name = f"{row['name']}{_MARK if row['deployed'] else ''}"
        table.append(("" if family == before else family, name, str(row["resolution"]), *numbers))
        before = family
    console.print_table(columns, table, numbers=columns[2:])
    print(f"{_MARK} as it is trained, with branches: `show NAME` has what it costs when it is deployed")


def explain_convolutions(kernel_size: int, in_channels: int, out_channels: int, size: int, *, as_json: bool) -> None:
    """A standard convolution beside a depthwise separable one."""
    costs = compare_convolutions(kernel_size, in_channels, out_channels, size)
    standard, separable = costs["standard"], costs["depthwise separable"]
    ratio, share = standard.macs / separable.macs, 1 / out_channels + 1 / kernel_size**2
    shape = {
        "kernel_size": kernel_size,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "size": size,
    }
    if as_json:
        rows = {name: _costs_json(cost) for name, cost in costs.items()}
        _print_json({**shape, "convolutions": rows, "ratio": ratio, "share": share})
        return
    print(
        f"{kernel_size}x{kernel_size} convolution from {in_channels} to {out_channels} channels, "
        f"{size}x{size} output pixels (weights only: no bias, no normalisation)\n"
    )
    columns = ("convolution", "weights", "MACs", "MACs/byte", "MACs/byte int8")
    table = [
        (name, f"{cost.weights:,}", f"{cost.macs:,}", f"{cost.intensity():.1f}", f"{cost.intensity('int8'):.1f}")
        for name, cost in costs.items()
    ]
    console.print_table(columns, table, numbers=columns[1:])
    sums = f"1/N + 1/k² = 1/{out_channels} + 1/{kernel_size**2} = {share:.4f}"
    if ratio > 1:
        print(f"\n{ratio:.2f} times fewer weights and MACs: {sums} of them remain")
    else:
        print(f"\n{1 / ratio:.2f} times as many weights and MACs, so more: {sums}")
    print("(MobileNetV1, arXiv:1704.04861, section 3.1). Fewer MACs are done with each byte that is moved, too,")
    print("so a device that waits for its memory gains less (the roofline model).")


def explain_network(name: str, architecture: Architecture, *, as_json: bool) -> None:
    """Each depthwise separable convolution beside the standard one, and MACs and weights by kind of operation.

    A network with branches is explained in its deployed form, where each sum of branches is one convolution.
    """
    form = " (as it is deployed)" if has_branches(architecture) else ""
    architecture = deployed(architecture)
    separables, shares = find_separables(architecture), find_shares(architecture)
    total = _detailed(architecture)
    activations = count_activations(architecture)
    whole = _whole(separables, shares)
    others = total.params - total.weights
    if as_json:
        _print_json(
            {
                "name": name,
                "separables": [{**asdict(row), "ratio": row.ratio} for row in separables],
                "network": whole,
                "shares": [asdict(share) for share in shares],
                "biases_and_normalisation": others,
                "activations": activations,
            }
        )
        return
    if separables:
        print(f"{name}{form}: its {len(separables)} depthwise separable convolutions, and as standard convolutions\n")
        _print_separables(separables, whole)
    else:
        print(f"{name}{form} has no pointwise convolution that reads depthwise ones alone.")
    print()
    _print_shares(shares)
    print(f"\nbiases and normalisation: {others:,} parameters more")
    counts = ", ".join(f"{count:,} {function}" for function, count in activations.items())
    print(f"numbers that go through activation functions: {counts or 'none'}")


def _whole(separables: Sequence[Separable], shares: Sequence[Share]) -> dict[str, int]:
    """MACs (attention's included) and weights of a network, as it is and with standard convolutions instead."""
    macs, weights = sum(share.macs for share in shares), sum(share.weights for share in shares)
    return {
        "macs": macs,
        "weights": weights,
        "standard_macs": macs + sum(row.standard_macs - row.macs for row in separables),
        "standard_weights": weights + sum(row.standard_weights - row.weights for row in separables),
    }


def _print_separables(separables: Sequence[Separable], whole: Mapping[str, int]) -> None:
    columns = ("unit", "kernel", "in", "out", "pixels", "MACs", "standard MACs", "weights", "standard weights", "ratio")
    table = []
    for row in separables:
        kernel = ",".join(f"{size}x{size}" for size in row.kernel_sizes)
        shape = (str(row.in_channels), str(row.out_channels), f"{row.height}x{row.width}")
        table.append((str(row.number), kernel, *shape, *_compared(asdict(row)), f"{row.ratio:.2f}"))
    summed = {key: sum(getattr(row, key) for row in separables) for key in whole}
    for name, numbers in (("sum", summed), ("network", whole)):
        ratios = numbers["standard_macs"] / numbers["macs"], numbers["standard_weights"] / numbers["weights"]
        table.append((name, "", "", "", "", *_compared(numbers), " / ".join(f"{ratio:.2f}" for ratio in ratios)))
    console.print_table(columns, table, numbers=columns[2:])
    print("\nratio: 1 / (1/out + 1/k²) where there is one kernel and pixels are mixed without groups; in the last two")
    print("rows first of MACs, then of weights")


def _compared(numbers: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(f"{numbers[key]:,}" for key in ("macs", "standard_macs", "weights", "standard_weights"))


def _print_shares(shares: Sequence[Share]) -> None:
    macs, weights = sum(share.macs for share in shares), sum(share.weights for share in shares)
    columns = ("operation", "MACs", "of MACs", "weights", "of weights")
    table = [
        (row.kind, f"{row.macs:,}", f"{row.macs / macs:.2%}", f"{row.weights:,}", f"{row.weights / weights:.2%}")
        for row in shares
    ]
    table.append(("total", f"{macs:,}", "", f"{weights:,}", ""))
    console.print_table(columns, table, numbers=columns[1:])


def _print_precisions(costs: DetailedCosts) -> None:
    columns = ("precision", "model MB", "moved activations MB", "MACs/byte")
    table = [
        (
            precision,
            _megabytes(costs.model_bytes(precision)),
            _megabytes(costs.activation_bytes(precision)),
            f"{costs.intensity(precision):.2f}",
        )
        for precision in PRECISIONS
    ]
    console.print_table(columns, table, numbers=columns[1:])


def _megabytes(count: int) -> str:
    """Two decimals; for less than a megabyte all digits."""
    megabytes = count / _MEGABYTE
    return f"{megabytes:.2f}" if megabytes >= 1 else f"{megabytes:.6f}".rstrip("0")


def _detailed(architecture: Architecture) -> DetailedCosts:
    return total_costs(unit_costs(unit) for unit in units(architecture))


def _brief(costs: Costs) -> str:
    return f"{costs.params:,} params, {costs.macs:,} MACs, {costs.peak_activation_bytes:,} bytes at the peak"


def _brief_json(architecture: Architecture) -> dict[str, Any]:
    """The costs of a network, and of its deployed form where that differs."""
    deployed_costs = asdict(estimate_costs(deployed(architecture))) if has_branches(architecture) else None
    return {**asdict(estimate_costs(architecture)), "deployed": deployed_costs}


def _costs_json(costs: DetailedCosts) -> dict[str, Any]:
    return {
        "params": costs.params,
        "macs": costs.macs,
        "product_macs": costs.product_macs,
        "peak_activation_bytes": costs.peak_activation_bytes,
        "model_bytes": {precision: costs.model_bytes(precision) for precision in PRECISIONS},
        "activation_bytes": {precision: costs.activation_bytes(precision) for precision in PRECISIONS},
        "intensity": {precision: costs.intensity(precision) for precision in PRECISIONS},
    }


def _cost_cells(costs: DetailedCosts) -> tuple[str, ...]:
    return (
        f"{costs.params:,}",
        f"{costs.macs:,}",
        f"{costs.peak_activation_bytes:,}",
        f"{costs.intensity():.2f}",
    )


def _layer_cells(layer: LayerFormat) -> dict[str, str]:
    cells = {"op": layer.op, "out": "" if layer.out is None else str(layer.out)}
    if layer.op in ("conv", "max_pool"):
        cells |= {"stride": str(layer.stride), "kernel": str(layer.kernel)}
    return cells | ({"act": layer.act} if layer.act != "none" else {})


def _stage_cells(stage: StageFormat) -> dict[str, str]:
    """A stage's settings that its operators use; where variants set a key, all of its choices."""
    variants = [variant.settings for variant in (stage.variants or {}).values()]
    cells = {"variants": str(len(variants) or ""), "stride": str(stage.stride)}
    for key in _SPACE_COLUMNS:
        used = key in ("op", "out", "depth") or any(key in STAGE_OPERATORS[operator] for operator in stage.operators)
        value = getattr(stage, key)
        if key in cells or value is None or not used:
            continue
        of_variants = [settings[key] for settings in variants if key in settings]
        of_stage = value if len(of_variants) < len(variants) or not variants else ()
        cells[key] = _choice(dict.fromkeys([*of_stage, *of_variants]))
    return cells


def _print_variants(stages: Sequence[StageFormat]) -> None:
    """A line for each variant; stages with the same variants share one list."""
    stages_of: dict[tuple[str, ...], list[str]] = {}
    for number, stage in enumerate(stages, start=1):
        lines = [
            f"  {label}: {', '.join(f'{key} {_choice([value])}' for key, value in variant.settings.items())}"
            for label, variant in (stage.variants or {}).items()
        ]
        if lines:
            stages_of.setdefault(tuple(lines), []).append(str(number))
    for variants, numbers in stages_of.items():
        print(f"\nvariants of stage {', '.join(numbers)}:")
        print("\n".join(variants))


def _shape(unit: Unit) -> str:
    return f"{unit.out_channels}x{unit.out_height}x{unit.out_width}"


def _choice(choices: Iterable[int | float | str]) -> str:
    """The choices as `3|5|7`."""
    return "|".join(f"{choice:g}" if isinstance(choice, float) else str(choice) for choice in choices)


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=2))
