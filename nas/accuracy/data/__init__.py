"""Data sets, how they are loaded, augmented and mixed."""
