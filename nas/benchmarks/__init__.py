"""The experiments behind the project's figures, each a command; nothing imports them."""
