"""What the architect reads: tables, pictures and one page about a search."""
