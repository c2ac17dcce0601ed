"""The training loop, its settings, its checkpoints, and what identifies a training."""
