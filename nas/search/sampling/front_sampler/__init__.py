"""The `front` sampler: the network that should enlarge the front most, when all but its accuracy is known."""
