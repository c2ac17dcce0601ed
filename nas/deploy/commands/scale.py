"""python -m nas.deploy scale: scale a network to a family of smaller and larger ones, by latency."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nas import console
from nas.config import Settings
from nas.deploy.help import DATA_HELP
from nas.errors import NasError
from nas.options import Seed, checked_options, refuse_without_effect

if TYPE_CHECKING:
    from nas.accuracy.evaluators.short_training import ShortTraining
    from nas.deploy.scaling.compound import ScaledNetwork
    from nas.deploy.scaling.family import Family
    from nas.networks.architecture import Architecture
    from nas.networks.scaling import CompoundScaling

EXAMPLES = """\
examples:
  python -m nas.deploy scale mobilenet_v3_large --device pixel_lut --multiples 0.5,1,2,4
  python -m nas.deploy scale mobilenet_v3_large --device pixel_lut --data digits --candidates 4 --out family
  python -m nas.deploy scale runs/mbv3-pixel_lut-digits/picks/knee.json --scaling 1.2,1.1,1.1
"""
# Options of choosing by training, which have no effect without it.
_TRAINING_OPTIONS = ("epochs", "seed", "candidates", "tolerance")


class ScaleOptions(Settings):
    """The options of `scale` that are numbers; the grid and the scaling check those that are theirs."""

    epochs: int = Field(default=3, ge=1)
    seed: Seed = 0
    candidates: int = 6
    tolerance: float = 0.1
    divisor: int = 8


_DEFAULTS = ScaleOptions()


def add_command(commands: Any) -> None:
    """Add the subcommand to those of `python -m nas.deploy`."""
    scale = commands.add_parser(
        "scale",
        help="make a family of smaller and larger networks, by the device's latency",
        description="Scale a network in depth (alpha), width (beta) and resolution (gamma) at once, as EfficientNet "
        "does, but so that phi = 1 doubles its latency on the device, not its FLOPs. With --data the scaling is the "
        "one of a small grid whose network is best after short training, without it EfficientNet's proportions are "
        "kept. Units that the table has no rows for are modelled by the table's cost model.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    scale.add_argument("network", metavar="NETWORK", help="a published network, or an architecture's .json file")
    scale.add_argument("--device", metavar="NAME", default="pixel_lut", help="latency table (default: pixel_lut)")
    scale.add_argument(
        "--multiples",
        metavar="M,M",
        default="1,2,4",
        help="latencies of the family's members, as multiples of the network's (default: %(default)s)",
    )
    scale.add_argument("--scaling", metavar="A,B,G", help="alpha, beta and gamma, instead of searching for them")
    scale.add_argument("--data", metavar="SOURCE", help=f"train candidates to choose the scaling by; {DATA_HELP}")
    scale.add_argument(
        "--epochs",
        metavar="N",
        type=int,
        help=f"with --data: epochs that each candidate is trained (default: {_DEFAULTS.epochs})",
    )
    scale.add_argument(
        "--seed", metavar="N", type=int, help=f"with --data: seed of the training (default: {_DEFAULTS.seed})"
    )
    scale.add_argument(
        "--candidates",
        metavar="N",
        type=int,
        help=f"with --data: number of scalings of the grid to train (default: {_DEFAULTS.candidates})",
    )
    scale.add_argument(
        "--tolerance",
        metavar="SHARE",
        type=float,
        help="with --data: how far from twice the latency a candidate may be, as a share of it "
        f"(default: {_DEFAULTS.tolerance})",
    )
    scale.add_argument(
        "--divisor",
        metavar="N",
        type=int,
        help=f"round channels to multiples of N, such as 4 in GhostNet (default: {_DEFAULTS.divisor})",
    )
    scale.add_argument(
        "--head",
        choices=("scale", "widen", "keep"),
        default="scale",
        help="how the layer before the classifier is scaled: as all others (scale, the default), never below its "
        "width (widen, as in MobileNetV2), or not at all (keep)",
    )
    scale.add_argument("--quiet", action="store_true", help="show no progress")
    scale.add_argument("--json", action="store_true", help="print JSON")
    scale.add_argument("--out", metavar="DIR", type=Path, help="write the family's architectures there")


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand."""
    multiples = _numbers("--multiples", arguments.multiples)
    scaling = _scaling(arguments.scaling)
    if arguments.data is None:
        refuse_without_effect(arguments, _TRAINING_OPTIONS, "--data, without which nothing is trained")
    elif scaling is not None:
        raise NasError("--scaling and --data exclude one another: the scaling is either given or chosen by training")
    options = checked_options(ScaleOptions, arguments)

    from nas.deploy.scaling.family import build_family, family_json, save_family
    from nas.files import check_writable
    from nas.latency.table import load_table
    from nas.networks.scaling import compound_scale

    base, table = _network(arguments.network), load_table(arguments.device)
    if arguments.out:
        check_writable(arguments.out)
    evaluator, trained = _evaluator(arguments, options)
    with console.WorkProgress("candidates", quiet=arguments.quiet) as progress:

        def announce(number: int, total: int, network: ScaledNetwork) -> None:
            progress.step(number - 1, total, f"training {number} of {total}: {network.scaling}")

        family = build_family(
            Path(arguments.network).stem,
            base,
            table,
            multiples,
            scale=partial(compound_scale, divisor=options.divisor, head=arguments.head),
            scaling=scaling,
            evaluator=evaluator,
            epochs=options.epochs,
            seed=options.seed,
            most=options.candidates,
            tolerance=options.tolerance,
            on_training=announce,
        )
    paths = save_family(family, arguments.out) if arguments.out else []
    if arguments.json:
        print(json.dumps({**family_json(family), "trained": trained or None}, indent=2))
        return 0
    _print_family(family, trained)
    for path in paths:
        print(f"wrote {path}")
    return 0


def _network(name: str) -> Architecture:
    """The network called `name`. Raises NasError for other names, and for a search space, which is many networks."""
    from nas.files import known_names
    from nas.networks.references import REFERENCES, find_network

    if name not in REFERENCES and (name in known_names("search_spaces") or name.endswith((".yaml", ".yml"))):
        raise NasError(
            f"{name} is a search space, not a network: search it (python -m nas.search), and give the .json file of "
            "one of the run's picks"
        )
    if Path(name).is_dir():
        file = Path(name) / "network.json"
        raise NasError(
            f"scale takes a published network's name or an architecture's .json file, but {name} is a folder: give "
            + (str(file) if file.is_file() else "the network.json of a trained network, or a file of a run's picks/")
        )
    return find_network(name)


def _evaluator(
    arguments: argparse.Namespace, options: ScaleOptions
) -> tuple[Callable[[int], ShortTraining] | None, str]:
    """What makes the evaluator of candidates from their largest resolution, and a sentence about its scores."""
    if arguments.data is None:
        return None, ""
    from nas.accuracy.data.load import load_dataset
    from nas.accuracy.evaluators.short_training import ShortTraining
    from nas.accuracy.training.settings import TrainingSettings
    from nas.networks.proxy import ProxySettings

    training, proxy = TrainingSettings(), ProxySettings()
    live = sys.stderr.isatty() and not arguments.quiet
    dataset = load_dataset(arguments.data, image_size=proxy.resolution, progress=live)
    trained = (
        f"top-1 after {options.epochs} epochs on {len(dataset.train):,} images of {dataset.name}, "
        f"at {proxy.resolution} pixels for the largest resolution (a higher gamma is also trained on larger images), "
        "one seed: small differences mean nothing"
    )
    return (lambda largest: ShortTraining(dataset, training, proxy, largest)), trained


def _scaling(text: str | None) -> CompoundScaling | None:
    """The scaling that --scaling gives, if any."""
    if text is None:
        return None
    from nas.networks.scaling import CompoundScaling

    bases = _numbers("--scaling", text)
    if len(bases) != 3:
        raise NasError(f"--scaling must be three numbers, alpha,beta,gamma, such as 1.2,1.1,1.15, but got {text!r}")
    return CompoundScaling(*bases)


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise NasError(f"{option} must be numbers with commas between them, but got {text!r}") from error


def _print_family(family: Family, trained: str) -> None:
    from nas.networks.deployed import deployed
    from nas.networks.operators import estimate_costs

    costs = estimate_costs(deployed(family.base))
    latency = family.estimate(family.base).latency_ms
    print(
        f"{family.name} on {family.table.name} ({family.table.conditions.device}): {latency:.2f} ms, "
        f"{costs.params:,} params, {costs.macs:,} MACs, {family.base.resolution} pixels"
    )
    if family.candidates:
        print("\nscalings that about double the latency (a spread of the grid):")
        _print_candidates(family)
    print(f"\nscaling: {family.scaling}\n{_why(family, trained)}\n")
    _print_members(family)


def _print_candidates(family: Family) -> None:
    columns = ("alpha", "beta", "gamma", "ms", "ratio", "params", "MACs", "pixels", "top-1")
    rows = []
    for candidate in family.candidates:
        scaling = candidate.network.scaling
        bases = (f"{base:g}" for base in (scaling.alpha, scaling.beta, scaling.gamma))
        rows.append((*bases, *_costs(candidate.network), _top1(candidate.top1)))
    console.print_table(columns, rows, numbers=columns)


def _print_members(family: Family) -> None:
    columns = ("multiple", "phi", "ms", "ratio", "params", "MACs", "pixels", "modelled")
    rows = []
    for multiple, network in family.members.items():
        modelled = family.estimate(network.architecture).share("modelled")
        rows.append((f"{multiple:g}", f"{network.phi:.3f}", *_costs(network), f"{modelled:.0%}"))
    console.print_table(columns, rows, numbers=columns)


def _why(family: Family, trained: str) -> str:
    """Where the scaling comes from, in plain words."""
    if family.reason == "top-1":
        return f"chosen by {trained}"
    if family.reason == "given":
        return "given, not searched for"
    return (
        "not chosen by accuracy: EfficientNet's proportions, to the power at which phi = 1 doubles the latency here; "
        "--data chooses by short training"
    )


def _costs(network: ScaledNetwork) -> tuple[str, ...]:
    return (
        f"{network.latency_ms:.2f}",
        f"{network.ratio:.2f}",
        f"{network.params:,}",
        f"{network.macs:,}",
        str(network.architecture.resolution),
    )


def _top1(top1: float) -> str:
    return f"{top1:.1f}" if top1 >= 0 else "failed"
