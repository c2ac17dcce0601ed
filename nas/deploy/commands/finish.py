"""python -m nas.deploy finish: train a network to the end, and test it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nas.config import Settings
from nas.deploy.help import DATA_HELP, NETWORK_HELP, PICK_HELP
from nas.errors import NasError
from nas.options import Seed, checked_options, refuse_without_effect

if TYPE_CHECKING:
    from nas.accuracy.data.dataset import Dataset
    from nas.accuracy.full_training.distillation import Teacher
    from nas.accuracy.full_training.recipes import Recipe
    from nas.accuracy.full_training.state import FinalTraining
    from nas.accuracy.training.processes import Processes
    from nas.console import WorkProgress
    from nas.deploy.finish.finish import Finished

EXAMPLES = """\
examples:
  python -m nas.deploy finish runs/my_run --pick knee --data folder:flowers --recipe modern --epochs 300
  python -m nas.deploy finish mobilenet_v3_small --data digits --resolution 32 --epochs 30 --batch-size 64
  python -m nas.deploy finish mobilenet_v3_large --data folder:flowers --weights mobilenet_v3_large-5c1a4163.pth \\
      --freeze-features --set learning_rate=0.05
  python -m nas.deploy finish runs/my_run --data cifar10 --teacher trained/large --temperature 4 --alpha 0.9
  torchrun --nproc-per-node 4 -m nas.deploy finish runs/my_run --data folder:imagenet --batch-size 1024
"""


class FinishOptions(Settings):
    """The options of `finish` that are numbers; the recipe checks those that are its own."""

    resolution: int | None = Field(default=None, ge=8, json_schema_extra={"unit": "pixels"})
    max_stride: int | None = Field(default=None, ge=1, le=64)
    seed: Seed = 0
    layer_decay: float = 1.0
    temperature: float = 4.0
    alpha: float = 0.9


_DEFAULTS = FinishOptions()


def add_command(commands: Any) -> None:
    """Add the subcommand to those of `python -m nas.deploy`."""
    parser = commands.add_parser(
        "finish",
        help="train a network to the end",
        description="Train a network to the end by one of the field's recipes, choose its best weights by the "
        "validation images, and test them on images that neither the search nor this training saw. Stopped or "
        "killed, the same command goes on where it was, to the same weights. With torchrun, on several GPUs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "network",
        metavar="NETWORK",
        help=NETWORK_HELP,
    )
    parser.add_argument("--pick", metavar="NAME", help=PICK_HELP)
    parser.add_argument("--data", metavar="SOURCE", required=True, help=DATA_HELP)
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="folder of the trained network (default: trained/NAME, the network's)"
    )
    parser.add_argument(
        "--resolution", metavar="N", type=int, help="size of the images, in pixels (default: the network's)"
    )
    parser.add_argument(
        "--max-stride",
        metavar="N",
        type=int,
        help="for small images: make the earliest strides 1, so that the network shrinks images by N at most",
    )
    _add_training(parser.add_argument_group("training"))
    _add_start(parser.add_argument_group("what to start from"))
    _add_teacher(parser.add_argument_group("distillation"))
    parser.add_argument(
        "--tensorboard", action="store_true", help="write TensorBoard's event files, too (needs tensorboard)"
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_training(group: Any) -> None:
    group.add_argument(
        "--recipe",
        metavar="NAME",
        default="modern",
        help="recipe to train by: mobilenet, efficientnet, modern, modern_adamw or plain (default: %(default)s)",
    )
    group.add_argument("--epochs", metavar="N", type=int, help="epochs to train (default: the recipe's)")
    group.add_argument(
        "--batch-size", metavar="N", type=int, help="images of a step, over all processes (default: the recipe's)"
    )
    group.add_argument("--accumulate", metavar="N", type=int, help="compute each step in N parts, to save memory")
    group.add_argument(
        "--set", metavar="NAME=VALUE", nargs="+", default=[], dest="changes", help="settings of the recipe to change"
    )
    group.add_argument("--seed", metavar="N", type=int, help=f"seed of the training (default: {_DEFAULTS.seed})")


def _add_start(group: Any) -> None:
    group.add_argument(
        "--weights",
        metavar="WHICH",
        help="weights to start from: fresh, own (those of the trained folder, or those that the search trained for a "
        "short while), or a file of torchvision's or timm's weights (default: own for a trained folder, else fresh)",
    )
    group.add_argument("--new-classes", action="store_true", help="start with a new classifier, for other classes")
    group.add_argument("--freeze-features", action="store_true", help="train the classifier alone")
    group.add_argument(
        "--layer-decay",
        metavar="SHARE",
        type=float,
        help="learning rate of each block, as a share of that of the block after it, such as 0.8 "
        f"(default: {_DEFAULTS.layer_decay:g})",
    )


def _add_teacher(group: Any) -> None:
    group.add_argument(
        "--teacher", metavar="PATH", type=Path, help="teacher: a trained network's folder, or an .onnx file"
    )
    group.add_argument(
        "--temperature",
        metavar="T",
        type=float,
        help=f"temperature that softens the probabilities of teacher and student (default: {_DEFAULTS.temperature:g})",
    )
    group.add_argument(
        "--alpha", metavar="SHARE", type=float, help=f"share of the teacher in the loss (default: {_DEFAULTS.alpha})"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand."""
    if arguments.teacher is None:
        refuse_without_effect(arguments, ("temperature", "alpha"), "--teacher")
    options = checked_options(FinishOptions, arguments)

    from nas.accuracy.full_training.recipes import find_recipe, parse_changes
    from nas.accuracy.training.devices import resolve_device
    from nas.accuracy.training.processes import joined_processes

    of_recipe = {name: getattr(arguments, name) for name in ("epochs", "batch_size", "accumulate")}
    changes = parse_changes(arguments.changes) | {name: value for name, value in of_recipe.items() if value is not None}
    recipe = find_recipe(arguments.recipe, changes)
    with joined_processes(resolve_device(recipe.device)) as processes:
        return _finish(arguments, options, recipe, processes)


def _finish(arguments: argparse.Namespace, options: FinishOptions, recipe: Recipe, processes: Processes) -> int:
    """Train, test and write the network; returns the exit code."""
    from nas.accuracy.full_training.fine_tuning import Tuning
    from nas.console import WorkProgress
    from nas.deploy.find import find_network
    from nas.deploy.tasks import FinishPlan, finish_network

    source = find_network(arguments.network, pick=arguments.pick)
    out = arguments.out or Path("trained") / source.name
    quiet = arguments.quiet or not processes.first
    plan = FinishPlan(
        recipe=recipe,
        recipe_name=arguments.recipe,
        weights=arguments.weights,
        resolution=options.resolution,
        max_stride=options.max_stride,
        new_classes=arguments.new_classes,
        seed=options.seed,
        tuning=Tuning(arguments.freeze_features, options.layer_decay),
        teacher=_teacher(arguments, options, recipe),
    )
    with WorkProgress("epochs", quiet=quiet) as progress:
        finished = finish_network(
            source,
            arguments.data,
            out,
            plan,
            processes=processes,
            on_epoch=_reporter(progress, recipe, out / "events" if arguments.tensorboard else None),
            progress=sys.stderr.isatty() and not quiet,
        )
    if processes.first:
        _print(finished, out, arguments.json)
    return 0


def _teacher(
    arguments: argparse.Namespace, options: FinishOptions, recipe: Recipe
) -> Callable[[Dataset], Teacher] | None:
    """What loads the teacher for a data set, where one is given."""
    if arguments.teacher is None:
        return None
    from nas.deploy.finish.teachers import load_teacher

    return partial(
        load_teacher,
        arguments.teacher,
        temperature=options.temperature,
        alpha=options.alpha,
        device=recipe.device,
    )


def _reporter(progress: WorkProgress, recipe: Recipe, events: Path | None) -> Callable[[FinalTraining], None]:
    """What reports each epoch: on stderr, and in event files where their folder is given."""
    write = _event_writer(events) if events else None

    def report(state: FinalTraining) -> None:
        done, epoch = len(state.history), state.history[-1]
        best = " *" if state.best_epoch == done else ""
        facts = (
            f"epoch {done}/{recipe.epochs}: loss {epoch.train_loss:.4f}, val loss {epoch.val_loss:.4f}, "
            f"top-1 {epoch.top1:.2f} %{best}, {epoch.images_per_second:.0f} images/s"
        )
        progress.step(done, recipe.epochs, facts)
        if write is not None:
            write(state)

    return report


def _event_writer(folder: Path) -> Callable[[FinalTraining], None]:
    """What writes TensorBoard's event files into `folder`. Raises NasError at once where the package is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise NasError("--tensorboard needs the package tensorboard: pip install tensorboard") from error
    writers: list[SummaryWriter] = []

    def write(state: FinalTraining) -> None:
        if not writers:  # not before `finish` has checked that the folder is this training's
            writers.append(SummaryWriter(folder))
        for name, value in vars(state.history[-1]).items():
            writers[0].add_scalar(name, value, len(state.history))
        writers[0].flush()

    return write


def _print(finished: Finished, out: Path, as_json: bool) -> None:
    scores, split = finished.scores, "test" if finished.tested else "val"
    if as_json:
        figures = {"top1": scores.top1, "top5": scores.top5, "images": scores.images, "split": split}
        print(json.dumps({"out": str(out), "best_epoch": finished.best_epoch, **figures}, indent=2))
        return
    best = finished.history[finished.best_epoch - 1]
    print(f"best weights: epoch {finished.best_epoch}, top-1 {best.top1:.2f} % on the validation images")
    if finished.tested:
        print(f"{split}: top-1 {scores.top1:.2f} %, top-5 {scores.top5:.2f} % on {scores.images:,} images never seen")
    else:
        print("test: none, the data has no test images (folder:PATH takes them from PATH/test)")
    print(f"wrote {out}: the trained network, last/, history, curves.png, test.json, confusion.csv and .png")
