"""python -m nas.deploy finish: what does it take, and what does it print?"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import NasError

if TYPE_CHECKING:
    from torch import nn

    from nas.accuracy.data.dataset import Dataset
    from nas.accuracy.full_training.distillation import Teacher
    from nas.accuracy.full_training.recipes import Recipe
    from nas.accuracy.full_training.state import FinalTraining
    from nas.accuracy.training.processes import Processes
    from nas.deploy.find import FoundNetwork
    from nas.deploy.finish.finish import Finished
    from nas.networks.architecture import Architecture

EXAMPLES = """\
examples:
  python -m nas.deploy finish runs/my_run --pick knee --data folder:flowers --recipe modern --epochs 300
  python -m nas.deploy finish mobilenet_v3_small --data digits --resolution 32 --epochs 30 --batch-size 64
  python -m nas.deploy finish mobilenet_v3_large --data folder:flowers --weights mobilenet_v3_large-5c1a4163.pth \\
      --freeze-features --set learning_rate=0.05
  python -m nas.deploy finish runs/my_run --data cifar10 --teacher trained/large --temperature 4 --alpha 0.9
  torchrun --nproc-per-node 4 -m nas.deploy finish runs/my_run --data folder:imagenet --batch-size 1024
"""


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
        help="a run's directory (--pick), a trained network's folder, an architecture's .json, or a published name",
    )
    parser.add_argument("--pick", metavar="NAME", help="of a run: knee, 30ms, a pick's name, or a trial's number")
    parser.add_argument("--data", metavar="SOURCE", required=True, help="digits, folder:PATH, cifar10[:PATH]")
    parser.add_argument("--out", metavar="DIR", type=Path, help="default: trained/NAME")
    parser.add_argument("--resolution", metavar="N", type=int, help="pixels of the images (default: the network's)")
    parser.add_argument(
        "--max-stride", metavar="N", type=int, help="small images: earliest strides become 1, to shrink by N at most"
    )
    _add_training(parser.add_argument_group("training"))
    _add_start(parser.add_argument_group("what to start from"))
    _add_teacher(parser.add_argument_group("distillation"))
    parser.add_argument("--tensorboard", action="store_true", help="write event files, too (needs tensorboard)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_training(group: Any) -> None:
    group.add_argument(
        "--recipe",
        metavar="NAME",
        default="modern",
        help="mobilenet, efficientnet, modern, modern_adamw or plain (default: %(default)s)",
    )
    group.add_argument("--epochs", metavar="N", type=int, help="default: the recipe's")
    group.add_argument("--batch-size", metavar="N", type=int, help="images of a step, over all processes")
    group.add_argument("--accumulate", metavar="N", type=int, help="compute a step in N parts, to save memory")
    group.add_argument(
        "--set", metavar="NAME=VALUE", nargs="+", default=[], dest="changes", help="settings of the recipe"
    )
    group.add_argument("--seed", metavar="N", type=int, default=0, help="default: %(default)s")


def _add_start(group: Any) -> None:
    group.add_argument(
        "--weights",
        metavar="WHICH",
        help="fresh, own (a trained folder's, or those that the search trained for a short while), or a file of "
        "torchvision's or timm's weights (default: own of a trained folder, else fresh)",
    )
    group.add_argument("--new-classes", action="store_true", help="a new classifier, for other classes")
    group.add_argument("--freeze-features", action="store_true", help="train the classifier alone")
    group.add_argument(
        "--layer-decay", metavar="SHARE", type=float, default=1.0, help="rate of a block, of the next one's (e.g. 0.8)"
    )


def _add_teacher(group: Any) -> None:
    group.add_argument("--teacher", metavar="PATH", type=Path, help="a trained network's folder, or an .onnx file")
    group.add_argument("--temperature", metavar="T", type=float, help="of both's probabilities (default: 4)")
    group.add_argument("--alpha", metavar="SHARE", type=float, help="the teacher's part of the loss (default: 0.9)")


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand."""
    _check_options(arguments)

    from nas.accuracy.full_training.recipes import find_recipe, parse_changes
    from nas.accuracy.training.devices import resolve_device
    from nas.accuracy.training.processes import joined_processes

    given = {name: getattr(arguments, name) for name in ("epochs", "batch_size", "accumulate")}
    changes = parse_changes(arguments.changes) | {name: value for name, value in given.items() if value is not None}
    recipe = find_recipe(arguments.recipe, changes)
    with joined_processes(resolve_device(recipe.device)) as processes:
        return _finish(arguments, recipe, processes)


def _finish(arguments: argparse.Namespace, recipe: Recipe, processes: Processes) -> int:
    from nas.accuracy.full_training.fine_tuning import Tuning
    from nas.deploy.find import find_network
    from nas.deploy.finish.finish import check_classes, check_folder, finish, finished_architecture, load_training_data

    found = find_network(arguments.network, pick=arguments.pick)
    out = arguments.out or Path("trained") / found.name
    check_folder(out)
    resolution = arguments.resolution or found.architecture.resolution
    images = load_training_data(arguments.data, resolution, progress=processes.first and sys.stderr.isatty())
    check_classes(found, images.dataset, new_classes=arguments.new_classes)
    architecture = finished_architecture(
        found.architecture, len(images.dataset.classes), resolution=resolution, max_stride=arguments.max_stride
    )
    network, start = _start(arguments, found, architecture)
    finished = finish(
        network,
        architecture,
        images,
        recipe,
        out,
        seed=arguments.seed,
        tuning=Tuning(arguments.freeze_features, arguments.layer_decay),
        teacher=_teacher(arguments, images.dataset, recipe),
        processes=processes,
        record={"network": found.name, "recipe_name": arguments.recipe, "start": start},
        on_epoch=_reporter(recipe, out / "events" if arguments.tensorboard else None),
    )
    if processes.first:
        _print(finished, out, arguments.json)
    return 0


def _start(arguments: argparse.Namespace, found: FoundNetwork, architecture: Architecture) -> tuple[nn.Sequential, str]:
    """The network to train, with its first weights, and a sentence about them."""
    from nas.deploy.finish.finish import start_network

    which = arguments.weights or ("own" if found.fully_trained else "fresh")
    if which == "own" and found.weights is None:
        raise NasError(f"--weights own: there are no weights of {found.name}. Choices: fresh, or a file.")
    weights = found.weights if which == "own" else None
    network = start_network(architecture, weights, new_classifier=arguments.new_classes, seed=arguments.seed)
    if which in ("own", "fresh"):
        return network, f"trained on {found.trained_on}" if weights is not None else "fresh weights"
    if not Path(which).is_file():
        raise NasError(f"--weights must be fresh, own, or a file of weights, but got {which!r}")

    from nas.networks.pretrained import load_pretrained

    return network, str(load_pretrained(network, architecture, which))


def _teacher(arguments: argparse.Namespace, dataset: Dataset, recipe: Recipe) -> Teacher | None:
    if arguments.teacher is None:
        return None
    from nas.deploy.finish.teachers import load_teacher

    return load_teacher(
        arguments.teacher,
        dataset,
        temperature=4.0 if arguments.temperature is None else arguments.temperature,
        alpha=0.9 if arguments.alpha is None else arguments.alpha,
        device=recipe.device,
    )


def _check_options(arguments: argparse.Namespace) -> None:
    """Raise NasError for options that would have no effect, and for those that torch would choke on."""
    if arguments.teacher is None and (arguments.temperature is not None or arguments.alpha is not None):
        raise NasError("--temperature and --alpha: only with --teacher")
    if arguments.resolution is not None and arguments.resolution < 8:
        raise NasError(f"--resolution must be at least 8 pixels, but got {arguments.resolution}")
    if arguments.max_stride is not None and not 1 <= arguments.max_stride <= 64:
        raise NasError(f"--max-stride must be 1 to 64, but got {arguments.max_stride}")
    if not 0 <= arguments.seed < 2**31:
        raise NasError(f"--seed must be a whole number from 0 to {2**31 - 1}, but got {arguments.seed}")


def _reporter(recipe: Recipe, events: Path | None) -> Callable[[FinalTraining], None]:
    """What tells of each epoch: a line on stderr, and event files where they are asked for."""
    write = _event_writer(events) if events else None

    def report(state: FinalTraining) -> None:
        done, epoch = len(state.history), state.history[-1]
        best = " *" if state.best_epoch == done else ""
        print(
            f"epoch {done}/{recipe.epochs}: loss {epoch.train_loss:.4f}, val loss {epoch.val_loss:.4f}, "
            f"top-1 {epoch.top1:.2f} %{best}, {epoch.images_per_second:.0f} images/s",
            file=sys.stderr,
            flush=True,
        )
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
        if not writers:  # not before the folder is known to be this training's
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
