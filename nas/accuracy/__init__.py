"""How good a network is: data sets, the training loop, and evaluators."""
