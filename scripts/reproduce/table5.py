"""Table 5: re-sampling against re-weighting, and the number of tasks (2, 3, 4, 5)."""

import sys
from dataclasses import replace

from scripts.reproduce.comparison import REBALANCE, REWEIGHT, UNIFORM, Arm
from scripts.reproduce.lab import Lab
from scripts.reproduce.table import write_tables
from shared.errors import run_command

ARMS = (
    UNIFORM,
    replace(REWEIGHT, label="re-weighting"),
    replace(REBALANCE, label="re-sampling, 4 tasks"),
    *(Arm(f"rebalance, {n} tasks", "rebalance", cut=f"1x{n}", label=f"re-sampling, {n} tasks") for n in (2, 3, 5)),
)


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    lab = Lab.of_command("table5", argv, __doc__)
    write_tables(lab, "table5", [ARMS], lab.testsets())
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
