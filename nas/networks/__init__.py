"""Networks: their description, their costs, the search spaces they are drawn from, and their torch modules."""
