"""The subcommands of `python -m nas.latency`, one a file."""
