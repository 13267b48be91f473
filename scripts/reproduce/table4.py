"""Table 4: the method against other ways to weigh tasks, at equal samples."""

import sys

from scripts.reproduce.comparison import Arm, markdown, run_arms
from scripts.reproduce.lab import Lab, Settings
from shared.config import parse
from shared.errors import run_command

ARMS = (
    Arm("uniform"),
    Arm("RLW", "rlw"),
    Arm("DWA", "dwa"),
    Arm("GLS", "gls"),
    Arm("achievement", "achievement"),
    Arm("TGSR-style", "tgsr"),
    Arm("re-weighting", "reweight"),
    Arm("rebalancing", "rebalance"),
)


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    lab = Lab(parse(Settings, argv, "python -m scripts.reproduce.table4", __doc__ or ""), "table4")
    testsets = lab.testsets()
    means = run_arms(lab, ARMS, testsets)
    numbers = {name: values.tolist() for name, values in means.items()}
    lab.write("table4", {"testsets": [*testsets], "psnr_db": numbers}, markdown(means, [*testsets], "uniform"))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
