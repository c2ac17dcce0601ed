"""Measure the speed of final training with each recipe, beside a plain PyTorch loop.

    python -m nas.benchmarks.final_training --recipe plain modern

The network, the images and the plain loop are those of `nas.benchmarks.training`. Each loop has a process of its own,
and the loops take turns. Some recipes do more work than the plain loop (RandAugment, erasing, averaging weights); they
are compared with it all the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from nas import console
from nas.accuracy.full_training.recipes import Recipe, find_recipe
from nas.accuracy.full_training.train import train_to_the_end
from nas.benchmarks.training import Turn, benchmark_network, benchmark_task, loop_process, plain_turn
from nas.errors import NasError
from nas.networks.build import build_network

PLAIN = "plain PyTorch"
MIN_ROUNDS = 5


def measure_recipes(
    recipes: Sequence[str], *, resolution: int, batch_size: int, seconds: float, workers: int = 2
) -> dict[str, list[float]]:
    """Images per second of each recipe and of the plain loop in each round: at least five, after one for warm-up."""
    shape = (resolution, batch_size, workers)
    loops = {name: partial(_final, find_recipe(name, {})) for name in recipes}
    with ExitStack() as stack:
        turns = {name: stack.enter_context(loop_process(name, loop, shape)) for name, loop in loops.items()}
        turns[PLAIN] = stack.enter_context(loop_process(PLAIN, plain_turn, shape))
        speeds: dict[str, list[float]] = {name: [] for name in turns}
        end = time.perf_counter() + seconds
        while len(speeds[PLAIN]) <= MIN_ROUNDS or time.perf_counter() < end:
            for name, turn in turns.items():
                speeds[name].append(turn())
    return {name: values[1:] for name, values in speeds.items()}


def _final(recipe: Recipe, resolution: int, batch_size: int, workers: int) -> Turn:  # noqa: ARG001
    _, dataset, _ = benchmark_task(resolution, batch_size)
    once = recipe.model_copy(
        update={"epochs": 1, "batch_size": batch_size, "device": "cpu", "mirror": "always", "warmup_epochs": 0.0}
    )
    architecture = benchmark_network(resolution)

    def turn() -> float:
        state = train_to_the_end(build_network(architecture, seed=0), dataset, once, seed=0)
        return state.history[-1].images_per_second

    return turn


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m nas.benchmarks.final_training",
        description="Measure the images per second of final training with each recipe, beside a plain PyTorch loop.",
    )
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        nargs="+",
        default=["plain", "modern"],
        help="recipes to measure (default: plain modern)",
    )
    parser.add_argument(
        "--resolution", metavar="N", type=int, default=32, help="image side in pixels (default: %(default)s)"
    )
    parser.add_argument(
        "--batch-size", metavar="N", type=int, default=64, help="images per batch (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds",
        metavar="S",
        type=float,
        default=60,
        help="approximate duration of the benchmark (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=int,
        default=2,
        help="worker processes of the plain loop's DataLoader (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    return console.run(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    if arguments.resolution < 8 or arguments.batch_size < 2 or arguments.workers < 0 or arguments.seconds < 0:
        raise NasError("--resolution must be at least 8, --batch-size 2, --workers and --seconds 0")
    for name in arguments.recipe:
        find_recipe(name, {})
    speeds = measure_recipes(
        arguments.recipe,
        resolution=arguments.resolution,
        batch_size=arguments.batch_size,
        seconds=arguments.seconds,
        workers=arguments.workers,
    )
    if arguments.json:
        print(json.dumps(speeds, indent=2))
        return 0
    columns = ("loop", "images/s", "of the plain loop", "rounds")
    rows = [
        (name, f"{statistics.median(values):.0f}", f"{_ratio(values, speeds[PLAIN]):.2f}", str(len(values)))
        for name, values in speeds.items()
    ]
    console.print_table(columns, rows, numbers=columns[1:])
    return 0


def _ratio(ours: Sequence[float], plain: Sequence[float]) -> float:
    """The median over the rounds of ours / plain."""
    return statistics.median(a / b for a, b in zip(ours, plain, strict=True))


if __name__ == "__main__":
    sys.exit(main())
