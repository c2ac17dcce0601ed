"""python -m nas.report: write a run's report again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nas import console
from nas.files import shown

_EXAMPLE = """example:
  python -m nas.report runs/mbv3-pixel_lut-digits
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report of a run as far as it has got; returns the exit code: 0, 1 (failed) or 2 (bad usage)."""
    arguments = _parser().parse_args(argv)
    return console.run(lambda: _report(arguments.run))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nas.report",
        description="Write the report of a run again: report.html, pareto.png, pareto.json, trials.csv and picks/.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the directory of a run, made by python -m nas.search")
    return parser


def _report(run: Path) -> int:
    # Imported here, as these bring torch and Plotly, which take seconds to load and which --help does not need.
    from nas.report.write import write_report
    from nas.search.run.directory import RunDirectory, claimed
    from nas.search.run.kept import load_weights
    from nas.search.run.load import load_result

    directory = RunDirectory(run)
    load_result(run)  # a folder that is no run is refused before a lock is written into it
    # A search that is still running writes the same files, so the directory is locked.
    with claimed(directory):
        result = load_result(run)
        for path in write_report(result, run, weights=lambda trial: load_weights(directory, trial.number)):
            print(shown(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
