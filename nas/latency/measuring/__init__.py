"""From units and networks to measured samples: plan, models, runner, targets, and agreement with whole networks."""
