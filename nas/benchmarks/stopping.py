"""Measure the epochs that early stopping saves, and the hypervolume that it costs.

    python -m nas.benchmarks.stopping --space mbv3_small --device runs/tables/pixel_lut.yaml --max-images 500

Networks drawn at random from a space are each trained to the end once, and scored at every rung. Searches with and
without stopping are then replayed over the same networks in the same order. Epochs that a search with stopping would
not have trained do not count, and it does not know the final score of a network that it stopped. Fronts are made of
networks trained to the end.

For comparison there is a search without stopping that ends after as many epochs. The order of the networks is chance,
so the comparison is repeated for many random orders. The scores are kept in the output folder, so that the command goes
on where it was killed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas import console, palette
from nas.accuracy.data.load import load_dataset
from nas.accuracy.evaluators.score_cache import FILE_NAME, ScoreCache
from nas.accuracy.evaluators.short_training import ShortTraining
from nas.accuracy.training.failures import TrainingFailedError
from nas.accuracy.training.settings import TrainingSettings
from nas.files import check_writable, shown, write_files
from nas.latency.table import LatencyTable, load_table
from nas.networks.architecture import Architecture
from nas.networks.deployed import deployed
from nas.networks.proxy import ProxySettings
from nas.networks.space.search_space import SearchSpace, load_space
from nas.search.pareto import front_of, hypervolume
from nas.search.scoring.rungs import Standing, StoppingSettings, bracket_of, brackets, decide, rungs

EPILOG = """\
example (40 minutes on one busy core; mbv3_small needs a table that has its units):
  python -m nas.latency extend pixel_lut --space mbv3_small --out runs/tables
  python -m nas.benchmarks.stopping --space mbv3_small --device runs/tables/pixel_lut.yaml --max-images 500
"""

COMPARED = ("none", "halving", "hyperband")
ORDERS = 200


@dataclass(frozen=True)
class Candidate:
    """A network: its latency on the device, and its top-1 in percent by epochs trained, up to the whole training."""

    latency_ms: float
    top1: Mapping[int, float]


@dataclass(frozen=True)
class Search:
    """One search through the candidates: the epochs that it trained each for, and its front as candidates' indices."""

    name: str
    epochs: tuple[int, ...]
    front: tuple[int, ...]

    @property
    def total_epochs(self) -> int:
        """The epochs of all candidates together."""
        return sum(self.epochs)


@dataclass(frozen=True)
class SeedComparison:
    """The searches through one seed's candidates; the first search trains each of them to the end."""

    seed: int
    candidates: tuple[Candidate, ...]
    searches: tuple[Search, ...]
    reference: tuple[float, float]

    def volume(self, search: Search, *, close: bool = False) -> float:
        """Hypervolume of a search's front, in percent times milliseconds.

        The reference point is top-1 by chance and the latency of the space's slowest network. With `close` it lies just
        beyond the least accurate and the slowest network of the whole front, so that every point of accuracy counts.
        """
        points = _points(self.candidates)
        reference = self.reference
        if close:
            worst = points[list(self.searches[0].front)].max(axis=0)
            reference = (worst[0] + 1.0, worst[1] * 1.01)
        return hypervolume(points[list(search.front)], reference)

    def epochs_share(self, search: Search) -> float:
        """Epochs of a search as a share of training everything."""
        return search.total_epochs / self.searches[0].total_epochs

    def volume_share(self, search: Search, *, close: bool = False) -> float:
        """Hypervolume of a search's front as a share of the whole front's."""
        return self.volume(search, close=close) / self.volume(self.searches[0], close=close)


def draw(
    space: SearchSpace, table: LatencyTable, proxy_of: Callable[[Architecture], Architecture], count: int, seed: int
) -> list[tuple[Architecture, float]]:
    """`count` networks of `space`, uniform over its decisions, and their latencies. No two have the same proxy.

    Raises NasError where `table` misses one of their units.
    """
    rng = np.random.default_rng(seed)
    drawn: dict[str, Architecture] = {}
    for _ in range(100 * count):
        architecture = space.decode(space.sample_parameters(rng))
        drawn.setdefault(proxy_of(architecture).fingerprint, architecture)
        if len(drawn) == count:
            break
    return [(network, table.estimate(deployed(network)).latency_ms) for network in drawn.values()]


def record(
    evaluator: ShortTraining, architecture: Architecture, at: Sequence[int], seed: int, cache: ScoreCache
) -> dict[int, float]:
    """Top-1 after each of the epochs `at`, the last of which is the budget. Scores in `cache` are not trained again.

    Empty where training fails.
    """
    training = evaluator.identity(architecture, at[-1], seed)
    cached_scores = {epochs: cache.get(training, epochs) for epochs in at}
    top1 = {epochs: score.top1 for epochs, score in cached_scores.items() if score is not None}
    if len(top1) == len(at):
        return top1
    with tempfile.TemporaryDirectory() as folder:
        for epochs in at:
            try:
                evaluation = evaluator.advance(
                    architecture, at[-1], seed, until=epochs, checkpoint=Path(folder) / "checkpoint"
                )
            except TrainingFailedError:
                return {}
            cache.put(training, evaluation.score)
            top1[epochs] = evaluation.score.top1
    return top1


def go_through(candidates: Sequence[Candidate], settings: StoppingSettings, budget: int) -> Search:
    """The search with these settings, replayed over the candidates one after the other."""
    shapes = brackets(settings, budget)
    reached: dict[tuple[int, int], list[Standing]] = {}
    epochs = []
    for number, candidate in enumerate(candidates):
        bracket = bracket_of(number, shapes, settings.eta)
        trained = 0
        for trained in shapes[bracket]:
            standing = Standing((-candidate.top1[trained], candidate.latency_ms))
            others = reached.setdefault((bracket, trained), [])
            stops = trained < budget and not decide(standing, others, settings.eta).goes_on
            others.append(standing)
            if stops:
                break
        epochs.append(trained)
    return _search(settings.method, candidates, epochs, budget)


def cut_short(candidates: Sequence[Candidate], epochs: int, budget: int) -> Search:
    """A search without stopping of about `epochs` epochs in all: the first candidates, each trained to the end."""
    count = max(1, round(epochs / budget))
    trained = [budget if number < count else 0 for number in range(len(candidates))]
    return _search(f"none, first {count}", candidates, trained, budget)


def compare(
    candidates: Sequence[Candidate], settings: StoppingSettings, budget: int, reference: tuple[float, float], seed: int
) -> SeedComparison:
    """Replay every kind of search over the candidates of one seed."""
    kinds = [settings.model_copy(update={"method": method}) for method in COMPARED]
    searches = [go_through(candidates, kind, budget) for kind in kinds]
    short = cut_short(candidates, searches[1].total_epochs, budget)
    return SeedComparison(seed, tuple(candidates), (*searches, short), reference)


def in_other_orders(
    comparison: SeedComparison, settings: StoppingSettings, budget: int, count: int
) -> NDArray[np.float64]:
    """(count, searches, 3): each search over the same candidates in `count` random orders.

    The last axis holds the shares of epochs, of hypervolume, and of hypervolume close to the front.
    """
    rng = np.random.default_rng(comparison.seed)
    shares = []
    for _ in range(count):
        order = rng.permutation(len(comparison.candidates))
        candidates = [comparison.candidates[index] for index in order]
        shares.append(_shares(compare(candidates, settings, budget, comparison.reference, comparison.seed)))
    return np.array(shares)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    return console.run(lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nas.benchmarks.stopping",
        description="Compare searches with and without early stopping on the same networks, by the epochs they train.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--space", default="mbv3", help="search space: a name, or the path of a YAML file (default: %(default)s)"
    )
    parser.add_argument(
        "--device", default="pixel_lut", help="latency table: a name, or the path of a YAML file (default: %(default)s)"
    )
    parser.add_argument(
        "--data", default="digits", help="images to train on: digits (default), folder:PATH, cifar10 or cifar10:PATH"
    )
    parser.add_argument("--max-images", type=_positive, help="number of images to train on (default: all)")
    parser.add_argument(
        "--resolution", type=_positive, default=16, help="image side of the proxies in pixels (default: %(default)s)"
    )
    parser.add_argument(
        "--max-stride", type=_positive, default=16, help="largest total stride of the proxies (default: %(default)s)"
    )
    parser.add_argument("--seeds", type=_positive, default=3, help="number of seeds (default: %(default)s)")
    parser.add_argument(
        "--trials", type=_positive, default=60, help="number of networks per seed (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=_positive, default=9, help="epochs of a whole training (default: %(default)s)")
    parser.add_argument("--batch-size", type=_positive, default=32, help="images per batch (default: %(default)s)")
    parser.add_argument(
        "--eta",
        type=_positive,
        default=3,
        help="one of this many candidates goes on at each rung (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/stopping"),
        help="folder of the scores and results (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    check_writable(arguments.out)
    settings = StoppingSettings(method="halving", eta=arguments.eta)
    budget = rungs(settings, arguments.epochs)[-1]
    comparisons = tuple(_comparisons(arguments, settings))
    orders = np.concatenate([in_other_orders(c, settings, budget, ORDERS) for c in comparisons])
    facts = to_json(comparisons, orders) | {"settings": {k: str(v) for k, v in vars(arguments).items() if k != "json"}}
    text = json.dumps(facts, indent=1) + "\n"
    write_files(arguments.out, {"stopping.json": text})
    save_picture(arguments.out / "stopping.png", comparisons)
    if arguments.json:
        print(text, end="")
    else:
        _print(comparisons, orders)
        print(f"written: {shown(arguments.out / 'stopping.json')}, {shown(arguments.out / 'stopping.png')}")
    return 0


def _comparisons(arguments: argparse.Namespace, settings: StoppingSettings) -> Iterator[SeedComparison]:
    at = rungs(settings, arguments.epochs)
    space, table = load_space(arguments.space), load_table(arguments.device)
    table.require(space.units())
    dataset = load_dataset(arguments.data, image_size=arguments.resolution, max_images=arguments.max_images)
    training = TrainingSettings(epochs=arguments.epochs, batch_size=arguments.batch_size)
    proxy = ProxySettings(resolution=arguments.resolution, max_stride=arguments.max_stride)
    evaluator = ShortTraining(dataset, training, proxy, space.largest_resolution)
    slowest = table.estimate(deployed(space.decode(space.largest_parameters()))).latency_ms
    with console.WorkProgress("networks trained") as progress:
        cache = ScoreCache(arguments.out / FILE_NAME, say=progress.say)
        for seed in range(arguments.seeds):
            candidates = []
            for network, latency_ms in draw(space, table, evaluator.proxy_of, arguments.trials, seed):
                top1 = record(evaluator, network, at, seed, cache)
                if top1:
                    candidates.append(Candidate(latency_ms, top1))
                    done = seed * arguments.trials + len(candidates)
                    progress.count(done, arguments.seeds * arguments.trials)
            yield compare(candidates, settings, at[-1], (-100 / len(dataset.classes), slowest), seed)


def to_json(comparisons: Sequence[SeedComparison], orders: NDArray[np.float64]) -> dict[str, Any]:
    """Every candidate and search, the means over the seeds, and the means over other orders (`in_other_orders`)."""
    drawn = np.array([_shares(comparison) for comparison in comparisons])
    return {
        "seeds": [
            {
                "seed": comparison.seed,
                "candidates": [{"latency_ms": c.latency_ms, "top1": c.top1} for c in comparison.candidates],
                "searches": [_figures(comparison, search) for search in comparison.searches],
            }
            for comparison in comparisons
        ],
        "as_drawn": _summary(comparisons, drawn),
        "other_orders": _summary(comparisons, orders),
    }


def _summary(comparisons: Sequence[SeedComparison], shares: NDArray[np.float64]) -> list[dict[str, Any]]:
    """For each search the means of `shares` (runs, searches, 3) over all runs, and the least hypervolume of a run."""
    names = [*COMPARED, "none, cut short"]
    assert len(names) == len(comparisons[0].searches)
    return [
        {
            "search": name,
            "runs": len(shares),
            "epochs_share": float(runs[:, 0].mean()),
            "hypervolume_share": float(runs[:, 1].mean()),
            "least_hypervolume_share": float(runs[:, 1].min()),
            "close_hypervolume_share": float(runs[:, 2].mean()),
        }
        for name, runs in zip(names, shares.transpose(1, 0, 2), strict=True)
    ]


def save_picture(path: Path, comparisons: Sequence[SeedComparison]) -> None:
    """Draw one panel per seed: every candidate, and the fronts with and without stopping."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(comparisons), 4.0), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for number, comparison in enumerate(comparisons, start=1):
        whole, halving = comparison.searches[:2]
        points = _points(comparison.candidates) * (-1, 1)
        axes = figure.add_subplot(1, len(comparisons), number)
        axes.plot(points[:, 1], points[:, 0], "o", ms=4, alpha=0.5, color=palette.DOMINATED, label="trained to the end")
        for search, colour, mark in ((whole, palette.FRONT, "o-"), (halving, palette.REFERENCE, "s--")):
            front = points[sorted(search.front, key=lambda i: comparison.candidates[i].latency_ms)]
            share = comparison.epochs_share(search)
            label = f"{search.name}: {share:.0%} of the epochs"
            axes.plot(front[:, 1], front[:, 0], mark, ms=5, color=colour, drawstyle="steps-post", label=label)
        axes.set_xlabel("latency (ms)")
        axes.set_ylabel("top-1 after the whole training (%)")
        axes.set_title(
            f"seed {comparison.seed}: {comparison.volume_share(halving):.2%} of the hypervolume", fontsize=10
        )
        axes.legend(loc="lower right", frameon=False, fontsize=8)
    figure.savefig(path, format="png")


def _print(comparisons: Sequence[SeedComparison], orders: NDArray[np.float64]) -> None:
    columns = ("candidates", "stopping", "epochs", "to the end", "hypervolume", "least", "close")
    rows = []
    for comparison in comparisons:
        for search, (epochs, volume, close) in zip(comparison.searches, _shares(comparison), strict=True):
            ended = str(_figures(comparison, search)["to_the_end"])
            name = f"seed {comparison.seed}"
            rows.append((name, search.name, f"{epochs:.1%}", ended, f"{volume:.2%}", "", f"{close:.1%}"))
    facts = to_json(comparisons, orders)
    for title, summary in (("mean of seeds", facts["as_drawn"]), (f"{len(orders)} orders", facts["other_orders"])):
        for mean in summary:
            epochs, volume, least, close = list(mean.values())[2:]
            rows.append((title, mean["search"], f"{epochs:.1%}", "", f"{volume:.2%}", f"{least:.2%}", f"{close:.1%}"))
    console.print_table(columns, rows, numbers=columns[2:])
    print(
        "\nshares are relative to the search that trains every network to the end; hypervolume is measured from top-1 "
        "by chance\nand the slowest network of the space, close from the ends of the whole front"
    )


def _shares(comparison: SeedComparison) -> list[tuple[float, float, float]]:
    """The shares of epochs, hypervolume, and hypervolume close to the front, of each search."""
    return [
        (comparison.epochs_share(s), comparison.volume_share(s), comparison.volume_share(s, close=True))
        for s in comparison.searches
    ]


def _figures(comparison: SeedComparison, search: Search) -> dict[str, Any]:
    budget = max(comparison.searches[0].epochs)
    return {
        "search": search.name,
        "epochs": search.total_epochs,
        "epochs_share": comparison.epochs_share(search),
        "to_the_end": sum(epochs == budget for epochs in search.epochs),
        "hypervolume_share": comparison.volume_share(search),
        "close_hypervolume_share": comparison.volume_share(search, close=True),
        "front": list(search.front),
        "epochs_of_each": list(search.epochs),
    }


def _search(name: str, candidates: Sequence[Candidate], epochs: Sequence[int], budget: int) -> Search:
    whole = [number for number, trained in enumerate(epochs) if trained == budget]
    front = front_of(_points([candidates[number] for number in whole]))
    return Search(name, tuple(epochs), tuple(whole[index] for index in front))


def _points(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """(n, 2): final top-1 negated, and latency in milliseconds."""
    return np.array([(-c.top1[max(c.top1)], c.latency_ms) for c in candidates]).reshape(-1, 2)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but got {value}")
    return value


if __name__ == "__main__":
    sys.exit(main())
