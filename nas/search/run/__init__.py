"""A run's directory: what lies in it, whose it is, and the storage of its trials."""
