"""What a network is: its description, its costs, the spaces it is drawn from, and its torch modules."""
