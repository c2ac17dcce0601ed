"""From a network to files, each compared with torch in its own runtime."""
