"""Repeat the paper's tables and figures, each by its name: python -m scripts.reproduce NAME [options]

Every command first says what it needs and how long it takes; --dry-run stops there. Results go to
runs/reproduce/SCALE/NAME/ as Markdown, with the numbers as JSON and the figure as PNG. After an interruption the same
command goes on. docs/reproduce.md tells the whole way from files to tables.
"""

import sys
from importlib import import_module

from scripts.reproduce.experiments import EXPERIMENTS
from shared.config import parse
from shared.errors import UsageError, run_command


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        lines = (f"  {name:8s} {experiment.purpose}" for name, experiment in EXPERIMENTS.items())
        print("\n".join([__doc__ or "", *lines, "\noptions: python -m scripts.reproduce NAME --help"]))
        return 0
    name, *rest = argv
    if name not in EXPERIMENTS:
        raise UsageError(f"unknown experiment {name!r}: choose one of {', '.join(EXPERIMENTS)}")
    experiment = EXPERIMENTS[name]
    settings = parse(
        experiment.settings, rest, f"python -m scripts.reproduce {name}", experiment.purpose, experiment.without
    )
    from scripts.reproduce.lab import Lab

    lab = Lab(settings, name)
    work = import_module(f"scripts.reproduce.{experiment.module}")
    lab.announce(work.steps(lab))
    if not settings.dry_run:
        work.run(lab)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
