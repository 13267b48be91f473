"""Fig. 9: the gap between single-task and shared network along noise and along blur, over wider ranges.

Blur sigma [.4, 3.8] pixels and Gaussian noise [1, 19] (of 255) in stage 1; see the space `paper-wide`.
"""

import sys

from scripts.reproduce.lab import NO_TESTS, Lab
from scripts.reproduce.linearity import study
from shared.errors import run_command


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    lab = Lab.of_command("fig9", argv, __doc__, without=("seeds", *NO_TESTS))
    study(lab, "paper-wide", "fig9")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
