"""Full training: recipes, distillation, fine-tuning, and their checkpoints."""
