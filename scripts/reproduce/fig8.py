"""Fig. 8: the gap between single-task and shared network along noise and along blur, over the ranges of the tables."""

import sys

from scripts.reproduce.lab import NO_TESTS, Lab
from scripts.reproduce.linearity import study
from shared.errors import run_command


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    lab = Lab.of_command("fig8", argv, __doc__, without=("seeds", *NO_TESTS))
    study(lab, "paper", "fig8")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
