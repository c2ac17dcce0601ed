"""What scores a network, and the cache of scores."""
