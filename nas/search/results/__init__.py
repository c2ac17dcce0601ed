"""What came out of a search: fronts, noise, portfolios, comparisons, and the words for them."""
