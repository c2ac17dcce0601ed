"""Data sets: loading, augmentation and mixing."""
