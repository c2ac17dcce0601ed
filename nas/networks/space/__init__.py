"""Search spaces: their YAML format, their decisions, and exact counts and draws of their members."""
