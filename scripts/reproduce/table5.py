"""Table 5: re-sampling against re-weighting, and the number of tasks (2, 3, 4, 5)."""

import sys

from scripts.reproduce.comparison import Arm, markdown, run_arms
from scripts.reproduce.lab import Lab, Settings
from shared.config import parse
from shared.errors import run_command

ARMS = (
    Arm("uniform"),
    Arm("re-weighting", "reweight"),
    Arm("re-sampling, 4 tasks", "rebalance"),
    Arm("re-sampling, 2 tasks", "rebalance", cut="1x2"),
    Arm("re-sampling, 3 tasks", "rebalance", cut="1x3"),
    Arm("re-sampling, 5 tasks", "rebalance", cut="1x5"),
)


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    lab = Lab(parse(Settings, argv, "python -m scripts.reproduce.table5", __doc__ or ""), "table5")
    testsets = lab.testsets()
    means = run_arms(lab, ARMS, testsets)
    numbers = {name: values.tolist() for name, values in means.items()}
    lab.write("table5", {"testsets": [*testsets], "psnr_db": numbers}, markdown(means, [*testsets], "uniform"))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
