"""Words of `--help` that several commands share: what NETWORK, --pick and --data take."""

from __future__ import annotations

NETWORK_HELP = "a trained network's folder, a run's directory (--pick), an architecture's .json, or a published name"
PICK_HELP = "network of a run: knee, 30ms (the best within it), a pick's name, or a trial's number (default: knee)"
DATA_HELP = "images: digits, folder:PATH, or cifar10[:PATH]"
