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
    # Imported here: they bring torch and plotly, which --help does without.
    from nas.report.write import write_report
    from nas.search.run.directory import RunDirectory, claimed
    from nas.search.run.kept import load_weights
    from nas.search.run.load import load_result

    directory = RunDirectory(run)
    load_result(run)  # says what is wrong before anything is claimed
    # Held, because a search that goes on writes the same files.
    with claimed(directory):
        result = load_result(run)
        for path in write_report(result, run, weights=lambda trial: load_weights(directory, trial.number)):
            print(shown(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
