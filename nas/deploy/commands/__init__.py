"""The subcommands of `python -m nas.deploy`, one a file."""
