"""python -m nas.search: from a search space and a device to a Pareto front."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nas import console
from nas.errors import ConfigError, NasError

if TYPE_CHECKING:
    from nas.search.experiment import Experiment
    from nas.search.prepare import Prepared
    from nas.search.results.progress import SearchProgress
    from nas.search.run.directory import RunDirectory

EPILOG = """\
examples:
  python -m nas.search --space mbv3 --device pixel_lut
  python -m nas.search --data folder:my_images --latency-max 40 --params-max 5M --trials 100
  python -m nas.search --objectives top1,latency_ms,peak_activation_bytes --fps-min 20
  python -m nas.search --objectives top1,latency_ms,latency_ms@my_board limits.latency_ms@my_board=15
  python -m nas.search experiments/quickstart.yaml trials=20 training.epochs=3

The run is kept in runs/SPACE-DEVICE-DATA (or --run). Repeating the command resumes it. Ctrl-C ends the search and
reports what it has so far. An experiment in YAML can hold what these options say; experiments/README.md lists its keys.

Objectives: top1 (learned by training) or score (of another evaluator), latency_ms, fps, energy_mj, params, macs and
peak_activation_bytes. All that are not learned can also be limits. For a device other than --device, append its table
to latency_ms, fps or energy_mj, as in latency_ms@note10_lut.
"""

# Options that stand for keys of the experiment.
OPTIONS: Mapping[str, tuple[str, str, str]] = {
    "--space": ("space", "NAME", "search space: a name, or the path of a YAML file (default: mbv3)"),
    "--device": ("device", "NAME", "latency table: a name, or the path of a YAML file (default: pixel_lut)"),
    "--objectives": ("objectives", "A,B", "objectives of the front, listed below (default: top1,latency_ms)"),
    "--data": ("data", "SOURCE", "images to train on: digits (default), folder:PATH, cifar10 or cifar10:PATH"),
    "--trials": ("trials", "N", "number of networks to train (default: 24)"),
    "--minutes": ("minutes", "M", "start no training after this many minutes"),
    "--epochs": ("training.epochs", "N", "epochs to train each network for"),
    "--seed": ("seed", "N", "seed of sampling and training (default: 0)"),
    "--evaluator": (
        "evaluator",
        "NAME",
        "evaluator that scores candidates: short (default), or module:function of your own",
    ),
    "--workers": (
        "workers",
        "N",
        "candidates to score at a time, each in a process with one thread (default: 1, in this process)",
    ),
    "--sampler": (
        "sampler",
        "NAME",
        "sampler that proposes networks: front (default), nsga2, nsga3, tpe, gp or random",
    ),
    "--latency-max": ("limits.latency_ms", "MS", "train no network with a higher latency than this"),
    "--params-max": ("limits.params", "N", "train no network with more parameters than this, such as 5M"),
    "--fps-min": ("limits.fps", "N", "train no network with fewer frames per second than this"),
    "--energy-max": ("limits.energy_mj", "MJ", "train no network that takes more energy per image than this"),
    "--macs-max": ("limits.macs", "N", "train no network with more multiply-accumulates than this, such as 300M"),
    "--stopping": (
        "stopping.method",
        "NAME",
        "early stopping of trainings far from the front: none (default), halving or hyperband",
    ),
    "--repeats": (
        "repeats",
        "N",
        "after the search, train each member of the front again with this many new seeds (default: 0)",
    ),
    "--score-cache": (
        "score_cache",
        "PATH",
        "file that keeps the scores of all runs, or none (default: in the user's cache folder)",
    ),
    "--storage": ("storage", "URL", "URL of an Optuna storage to use instead of the run's own journal"),
}

# Keys whose words stand for themselves, whatever they look like.
TEXTS = frozenset(
    {"space", "device", "objectives", "data", "evaluator", "sampler", "stopping.method", "score_cache", "storage"}
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = _parser().parse_intermixed_args(argv)
    return console.run(lambda: _search(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nas.search",
        description="Search a space of networks for those that are best on a device: most accurate for their latency, "
        "or for whatever else they cost.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="EXPERIMENT | KEY=VALUE", help="a YAML experiment, and changes")
    for option, (key, metavar, text) in OPTIONS.items():
        parser.add_argument(option, dest=key, metavar=metavar, help=text)
    parser.add_argument(
        "--budget-ms", dest="budgets_ms", action="append", metavar="MS", help="pick the best within this; repeatable"
    )
    parser.add_argument("--run", metavar="DIR", type=Path, help="the run's directory (default: runs/SPACE-DEVICE-DATA)")
    parser.add_argument("--json", action="store_true", help="print the front as JSON")
    parser.add_argument("--quiet", action="store_true", help="print results only")
    return parser


def _search(arguments: argparse.Namespace) -> int:
    experiment = _experiment(arguments)

    from nas.api import search_and_report
    from nas.search.experiment import default_run_path
    from nas.search.prepare import prepare
    from nas.search.results.progress import SearchProgress
    from nas.search.results.summary import print_summary
    from nas.search.run.directory import RunDirectory, claimed

    run = RunDirectory(arguments.run or default_run_path(experiment))
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    prepared = prepare(experiment, progress=sys.stderr.isatty() and not arguments.quiet)
    progress = SearchProgress(
        experiment.trials, minutes=experiment.minutes, quiet=arguments.quiet, objectives=experiment.objectives
    )
    with claimed(run), progress:
        _announce(progress, prepared, run)
        outcome, files = search_and_report(prepared, run, progress)
    if arguments.json:
        print((run.path / "pareto.json").read_text(encoding="utf-8"), end="")
    else:
        print_summary(outcome.result, outcome.ending, run.path, files)
    return {"interrupted": console.INTERRUPTED, "failing": 1}.get(outcome.ending, 0)


def _experiment(arguments: argparse.Namespace) -> Experiment:
    names = [word for word in arguments.words if "=" not in word]
    if len(names) > 1:
        raise NasError(f"one experiment at a time, but got {', '.join(names)}; changes have the form key=value")
    document = None
    if names:
        from nas.config import load_document
        from nas.files import find_file

        document = load_document(find_file("experiments", names[0]))
    overrides = dict(_key_and_value(word) for word in arguments.words if "=" in word)
    for key, *_ in OPTIONS.values():
        text = getattr(arguments, key)
        if text is not None:
            overrides[key] = text if key in TEXTS else _number(text)
    if arguments.budgets_ms:
        overrides["budgets_ms"] = [_number(part) for text in arguments.budgets_ms for part in text.split(",")]

    from nas.search.experiment import resolve_experiment

    return resolve_experiment(document, overrides)


def _key_and_value(word: str) -> tuple[str, Any]:
    """`training.epochs=3`, the value as YAML reads it."""
    from nas.config import parse_value

    key, _, text = word.partition("=")
    try:
        return key, parse_value(text)
    except yaml.YAMLError as error:
        raise ConfigError([f"cannot read {text!r} as the value of {key}"]) from error


def _number(text: str) -> int | float | str:
    """A number, or the text itself, for the checks to read (5M) or refuse."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _announce(progress: SearchProgress, prepared: Prepared, run: RunDirectory) -> None:
    from nas.search.quantities import DEFAULT_OBJECTIVES, label_of
    from nas.search.results.wording import large

    setting = prepared.setting
    progress.message(f"{setting.space}: {large(setting.space_size)} networks; run: {run.path}")
    progress.message(f"{label_of(setting.learned)} is of {setting.trained}; latency is of {setting.deployed}.")
    if setting.objectives != DEFAULT_OBJECTIVES:
        progress.message(f"the front is of {', '.join(label_of(name) for name in setting.objectives)}.")
    for name, table in prepared.left_out.items():
        progress.message(f"{name} is left out: the table {table} does not have all of its units")


if __name__ == "__main__":
    sys.exit(main())
