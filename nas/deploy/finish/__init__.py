"""From a pick to a network that is trained to the end."""
