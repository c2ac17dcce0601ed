"""Files at work: predictions, times, memory and profiles."""
