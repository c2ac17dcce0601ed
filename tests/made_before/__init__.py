"""Files that version 0.1.0 made, and tests that they are still read."""
