"""Who runs the jobs of a search: this process, or several."""
