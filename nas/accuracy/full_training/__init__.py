"""Training to the end: recipes, distillation, fine-tuning, and their checkpoints."""
