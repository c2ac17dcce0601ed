"""Draw a training's curves, and its confusion matrix."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from nas.accuracy.full_training.state import FinalEpoch
from nas.palette import DOMINATED, FRONT, KNEE, REFERENCE

_DOTS_PER_INCH = 150
# The names and counts of more classes could not be read.
_MOST_NAMED = 30


def save_curves(path: Path, title: str, history: Sequence[FinalEpoch], best_epoch: int) -> None:
    """Draw losses, top-1 and top-5 (percent) and the learning rate over epochs as a PNG of 1200 by 1200 pixels."""
    figure = Figure(figsize=(8, 8), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    losses, accuracies, rates = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1))
    epochs = range(1, len(history) + 1)
    losses.set_title(title, loc="left", fontweight="bold")
    losses.plot(epochs, [epoch.train_loss for epoch in history], "--", color=DOMINATED, label="training")
    losses.plot(epochs, [epoch.val_loss for epoch in history], color=FRONT, label="validation")
    losses.set_ylabel("loss")
    accuracies.plot(epochs, [epoch.top5 for epoch in history], "--", color=DOMINATED, label="top-5, validation")
    accuracies.plot(epochs, [epoch.top1 for epoch in history], color=FRONT, label="top-1, validation")
    best = history[best_epoch - 1]
    accuracies.plot(best_epoch, best.top1, "*", color=KNEE, markersize=13, label=f"best: {best.top1:.2f} %")
    accuracies.set_ylabel("%")
    rates.plot(epochs, [epoch.learning_rate for epoch in history], color=REFERENCE)
    rates.set_ylabel("learning rate")
    rates.set_xlabel("epochs")
    for axes in (losses, accuracies, rates):
        axes.grid(color="#e3e5e8", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in (losses, accuracies):
        axes.legend(frameon=False, fontsize=9)
    _save(figure, path)


def save_confusion(path: Path, title: str, labels: Sequence[str], confusion: Tensor) -> None:
    """Draw the share of each true class (rows) that was put into each class (columns), as a PNG."""
    side = 4 + 0.3 * min(len(labels), _MOST_NAMED)
    figure = Figure(figsize=(side, side), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shares = 100 * confusion.double() / confusion.sum(1, keepdim=True).clamp(min=1)
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=100)
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(labels) <= _MOST_NAMED:
        axes.set_xticks(range(len(labels)), labels, rotation=90)
        axes.set_yticks(range(len(labels)), labels)
        for row, column in confusion.nonzero().tolist():
            colour = "white" if shares[row, column] > 60 else "black"
            count = str(int(confusion[row, column]))
            axes.text(column, row, count, ha="center", va="center", fontsize=7, color=colour)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    path.write_bytes(content.getvalue())
