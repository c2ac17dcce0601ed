"""Compare the accuracy that NetAdapt loses with that of a width multiplier, at equal latency and equal training.

    python -m nas.benchmarks.netadapt --data cifar10 --images 6000 --seeds 3

For each seed the proxy of MobileNetV3-Large is trained, and then brought to a share of its latency in two ways: by
NetAdapt, and by a width multiplier whose network takes as long (or at most 1 % longer). Both carry over the weights of
the most important channels. The multiplier's network is trained for as many steps as the networks on NetAdapt's path;
so is the network that was not narrowed, which losses are counted from. Accuracy is top-1 on test images, which chose
nothing. Latency is that of the network at 224 pixels, by the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from nas import console
from nas.accuracy.data.dataset import Dataset, Split
from nas.accuracy.data.load import load_dataset, load_test_split
from nas.accuracy.training.batchnorm import recalibrate
from nas.accuracy.training.scores import score
from nas.accuracy.training.sealed_file import read_sealed, write_sealed
from nas.accuracy.training.settings import TrainingSettings
from nas.accuracy.training.train import train
from nas.accuracy.training.tuning import tune
from nas.deploy.pruning.netadapt import Latency, NetAdaptSettings, netadapt
from nas.deploy.pruning.table_latency import TableLatency
from nas.errors import NasError, RunFailedError
from nas.latency.table import load_table
from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.networks.channels import carried_weights
from nas.networks.proxy import ProxySettings, proxy_architecture
from nas.networks.references import find_network
from nas.networks.scaling import scale_width

_KIND = "trained start"
# A width multiplier's network may take longer than NetAdapt's by this share.
_SAME = 0.01
_MULTIPLIERS = tuple(np.round(np.arange(0.98, 0.3, -0.005), 3).tolist())
_DIVISORS = (8, 4, 2, 1)
# The fields of a setting that the trained start depends on.
_DECIDES_START = (
    "network",
    "data",
    "train_images",
    "resolution",
    "max_stride",
    "epochs",
    "batch_size",
    "learning_rate",
)


@dataclass(frozen=True)
class BenchmarkSetting:
    """The conditions of a comparison; `share` is the latency to reach as a share of the start's."""

    network: str
    device: str
    data: str
    train_images: int | None
    resolution: int
    max_stride: int
    epochs: int
    tuning_steps: int
    batch_size: int
    learning_rate: float
    tuning_rate: float
    share: float
    netadapt: NetAdaptSettings


@dataclass(frozen=True)
class SeedOutcome:
    """The result for one seed: top-1 on the test images in percent, and latencies in milliseconds.

    `start` is the trained network, and `start_tuned` the same after as many further steps as the others (`steps`);
    losses are counted from `start_tuned`.
    """

    seed: int
    start: float
    start_tuned: float
    netadapt: float
    uniform: float
    start_ms: float
    netadapt_ms: float
    uniform_ms: float
    steps: int
    changes: tuple[str, ...]
    seconds: float

    @property
    def netadapt_loss(self) -> float:
        """Percentage points of top-1 that NetAdapt's network lost."""
        return self.start_tuned - self.netadapt

    @property
    def uniform_loss(self) -> float:
        """Percentage points of top-1 that the width multiplier's network lost."""
        return self.start_tuned - self.uniform


@dataclass(frozen=True, eq=False)
class _Bench:
    setting: BenchmarkSetting
    base: Architecture
    latency_ms: Latency
    dataset: Dataset
    test: Split
    work: Path

    def proxy(self, architecture: Architecture) -> Architecture:
        settings = ProxySettings(resolution=self.setting.resolution, max_stride=self.setting.max_stride)
        classes = len(self.dataset.classes)
        return proxy_architecture(architecture, settings, largest_resolution=self.base.resolution, classes=classes)

    def training(self, rate: float) -> TrainingSettings:
        return TrainingSettings(epochs=self.setting.epochs, batch_size=self.setting.batch_size, learning_rate=rate)

    def tuned_top1(self, architecture: Architecture, weights: Mapping[str, Tensor], steps: int, seed: int) -> float:
        """Top-1 on the test images after so many steps, with batch statistics measured anew."""
        network = build_network(self.proxy(architecture))
        network.load_state_dict(dict(weights))
        tune(network, self.dataset, self.training(self.setting.tuning_rate), steps=steps, seed=seed)
        recalibrate(network, self.dataset, seed=seed)
        return score(network, self.test, self.dataset).top1


def compare(setting: BenchmarkSetting, seed: int, work: Path) -> SeedOutcome:
    """Compare both ways for one seed. The trained start and NetAdapt's path are kept in `work` and reused."""
    began = time.monotonic()
    bench = _bench(setting, work)
    weights, start_top1 = _trained_start(bench, seed)
    start_ms = bench.latency_ms(bench.base)
    path = netadapt(
        bench.base,
        weights,
        bench.latency_ms,
        setting.share * start_ms,
        bench.dataset,
        bench.training(setting.tuning_rate),
        setting.netadapt,
        seed=seed,
        proxy=bench.proxy,
        checkpoint=work / f"path_{seed}.pt",
        on_point=lambda point: _say(
            f"seed {seed}: {point.latency_ms:.2f} ms, top-1 {point.top1:.2f} %  {point.change}"
        ),
    )
    end = path.points[-1]
    uniform = uniform_at(bench.base, bench.latency_ms, end.latency_ms)
    was = bench.proxy(bench.base)
    on_path = (len(path.points) - 1) * setting.netadapt.short_steps
    steps = on_path + setting.tuning_steps
    narrowed = carried_weights(weights, was, bench.proxy(uniform))
    return SeedOutcome(
        seed=seed,
        start=start_top1,
        start_tuned=bench.tuned_top1(bench.base, weights, steps, seed),
        netadapt=bench.tuned_top1(end.architecture, path.weights, setting.tuning_steps, seed),
        uniform=bench.tuned_top1(uniform, narrowed, steps, seed),
        start_ms=start_ms,
        netadapt_ms=end.latency_ms,
        uniform_ms=bench.latency_ms(uniform),
        steps=steps,
        changes=tuple(point.change for point in path.points[1:]),
        seconds=time.monotonic() - began,
    )


def uniform_at(base: Architecture, latency_ms: Latency, target_ms: float) -> Architecture:
    """`base` with all layers narrowed by one factor, with a latency from `target_ms` to 1 % above it.

    Channels are multiples of 8 where possible, else of 4, 2 or 1. Raises RunFailedError where no factor comes so close.
    """
    for divisor in _DIVISORS:
        networks = {scale_width(base, factor, divisor) for factor in _MULTIPLIERS}
        fitting = [n for n in networks if target_ms <= latency_ms(n) <= (1 + _SAME) * target_ms]
        if fitting:
            return min(fitting, key=latency_ms)
    raise RunFailedError(f"no width multiplier comes within {_SAME:.0%} of {target_ms:.4g} ms")


def summary(outcomes: Sequence[SeedOutcome]) -> dict[str, float]:
    """Mean losses in percentage points of top-1, NetAdapt's as a share of the multiplier's, and the latency left."""
    ours = float(np.mean([outcome.netadapt_loss for outcome in outcomes]))
    theirs = float(np.mean([outcome.uniform_loss for outcome in outcomes]))
    left = float(np.mean([outcome.netadapt_ms / outcome.start_ms for outcome in outcomes]))
    share = ours / theirs if theirs > 0 else float("nan")
    return {"netadapt_loss": ours, "uniform_loss": theirs, "share": share, "latency_left": left}


def _bench(setting: BenchmarkSetting, work: Path) -> _Bench:
    base = find_network(setting.network)
    dataset = load_dataset(setting.data, image_size=setting.resolution, max_images=setting.train_images)
    test = load_test_split(setting.data, image_size=setting.resolution).at(setting.resolution)
    latency_ms = TableLatency(load_table(setting.device))
    return _Bench(setting, base, latency_ms, dataset.at(setting.resolution), test, work)


def _trained_start(bench: _Bench, seed: int) -> tuple[dict[str, Tensor], float]:
    """The start's weights and its top-1 on the test images, trained once and then read from `work`."""
    setting = bench.setting
    place = bench.work / f"start_{seed}.pt"
    identity = json.dumps({name: getattr(setting, name) for name in _DECIDES_START})
    if place.exists():
        content = read_sealed(place, _KIND)
        if content["identity"] != identity:
            raise NasError(f"{place} is of another setting. Give another --work.")
        return content["weights"], content["top1"]
    network = build_network(bench.proxy(bench.base), seed=seed)
    settings = bench.training(setting.learning_rate)
    result = train(
        network,
        bench.dataset,
        settings,
        seed=seed,
        on_epoch=lambda done, epoch: _say(f"seed {seed}: epoch {done}/{setting.epochs}, loss {epoch.loss:.3f}"),
    )
    top1 = score(network, bench.test, bench.dataset).top1
    _say(f"seed {seed}: start has top-1 {result.top1:.2f} % on validation, {top1:.2f} % on test images")
    weights = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    write_sealed(place, _KIND, {"identity": identity, "weights": weights, "top1": top1})
    return weights, top1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns its exit code."""
    arguments = _parser().parse_args(argv)
    return console.run(lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nas.benchmarks.netadapt",
        description="Compare NetAdapt with a width multiplier at equal latency and equal training.",
    )
    parser.add_argument(
        "--data",
        metavar="SOURCE",
        required=True,
        help="images to train on: digits, folder:PATH, cifar10 or cifar10:PATH",
    )
    parser.add_argument("--images", metavar="N", type=int, help="number of images to train on (default: all)")
    parser.add_argument("--seeds", metavar="N", type=int, default=3, help="number of seeds (default: %(default)s)")
    parser.add_argument(
        "--network", metavar="NAME", default="mobilenet_v3_large", help="network to narrow (default: %(default)s)"
    )
    parser.add_argument("--device", metavar="NAME", default="pixel_lut", help="latency table (default: %(default)s)")
    parser.add_argument(
        "--share", type=float, default=0.75, help="share of the start's latency to reach (default: %(default)s)"
    )
    parser.add_argument(
        "--resolution",
        metavar="N",
        type=int,
        default=32,
        help="image side of the proxy in pixels (default: %(default)s)",
    )
    parser.add_argument(
        "--max-stride",
        metavar="N",
        type=int,
        default=32,
        help="largest total stride of the proxy (default: %(default)s)",
    )
    parser.add_argument(
        "--epochs", metavar="N", type=int, default=10, help="epochs to train the start for (default: %(default)s)"
    )
    parser.add_argument(
        "--steps", metavar="N", type=int, default=10, help="training steps after narrowing (default: %(default)s)"
    )
    parser.add_argument(
        "--short-steps", metavar="N", type=int, default=3, help="training steps of each proposal (default: %(default)s)"
    )
    parser.add_argument(
        "--step",
        type=float,
        default=0.05,
        help="share of the start's latency that one step of NetAdapt saves (default: %(default)s)",
    )
    parser.add_argument(
        "--shortlist",
        metavar="N",
        type=int,
        default=3,
        help="number of proposals trained in each step (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size", metavar="N", type=int, default=64, help="images per batch (default: %(default)s)"
    )
    parser.add_argument(
        "--rate", type=float, default=0.4, help="learning rate of the start for batches of 256 (default: %(default)s)"
    )
    parser.add_argument(
        "--tuning-rate", type=float, default=0.05, help="learning rate after narrowing (default: %(default)s)"
    )
    parser.add_argument(
        "--work",
        metavar="DIR",
        type=Path,
        default=Path("runs/netadapt_benchmark"),
        help="folder of the trained starts and paths (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    setting = BenchmarkSetting(
        network=arguments.network,
        device=arguments.device,
        data=arguments.data,
        train_images=arguments.images,
        resolution=arguments.resolution,
        max_stride=arguments.max_stride,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.rate,
        tuning_rate=arguments.tuning_rate,
        tuning_steps=arguments.steps,
        share=arguments.share,
        netadapt=NetAdaptSettings(
            step_share=arguments.step, shortlist=arguments.shortlist, short_steps=arguments.short_steps
        ),
    )
    outcomes = []
    for seed in range(arguments.seeds):
        outcomes.append(compare(setting, seed, arguments.work))
        _say(_line(outcomes[-1]))
    if arguments.json:
        print(json.dumps({"outcomes": [asdict(o) for o in outcomes], "summary": summary(outcomes)}, indent=2))
        return 0
    columns = ("seed", "start", "start, tuned", "NetAdapt", "uniform", "start ms", "NetAdapt ms", "uniform ms", "steps")
    console.print_table(columns, [_row(outcome) for outcome in outcomes], numbers=columns)
    figures = summary(outcomes)
    print(
        f"mean loss of top-1 on test images: NetAdapt {figures['netadapt_loss']:.2f} points, "
        f"uniform {figures['uniform_loss']:.2f} points (share {figures['share']:.2f}), "
        f"at {figures['latency_left']:.1%} of the latency on {setting.device}"
    )
    return 0


def _row(outcome: SeedOutcome) -> tuple[str, ...]:
    accuracies = (outcome.start, outcome.start_tuned, outcome.netadapt, outcome.uniform)
    latencies = (outcome.start_ms, outcome.netadapt_ms, outcome.uniform_ms)
    return (str(outcome.seed), *(f"{value:.2f}" for value in (*accuracies, *latencies)), str(outcome.steps))


def _line(outcome: SeedOutcome) -> str:
    return (
        f"seed {outcome.seed}: lost {outcome.netadapt_loss:.2f} (NetAdapt) and {outcome.uniform_loss:.2f} points "
        f"(uniform) of {outcome.start_tuned:.2f} %, in {outcome.seconds:.0f} s"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
