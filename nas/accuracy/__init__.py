"""How good a network is: data sets, the training loops, and evaluators."""
