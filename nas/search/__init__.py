"""Which networks to keep: the search for the front of accuracy against latency."""
