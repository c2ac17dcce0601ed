"""How a network earns its score, and which trainings are stopped early."""
