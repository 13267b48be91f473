"""Fig. 8: the gap between single-task and shared network along noise and along blur, over the ranges of the tables."""

import sys

from scripts.reproduce.lab import Lab, Settings
from scripts.reproduce.linearity import study
from shared.config import parse
from shared.errors import run_command


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    study(Lab(parse(Settings, argv, "python -m scripts.reproduce.fig8", __doc__ or ""), "fig8"), "paper", "fig8")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
