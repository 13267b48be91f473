"""Table 4: the method against other ways to weigh tasks, at equal samples."""

import sys
from dataclasses import replace

from scripts.reproduce.comparison import REBALANCE, REWEIGHT, UNIFORM, Arm
from scripts.reproduce.lab import Lab
from scripts.reproduce.table import write_tables
from shared.errors import run_command

ARMS = (
    UNIFORM,
    Arm("rlw", "rlw", label="RLW"),
    Arm("dwa", "dwa", label="DWA"),
    Arm("gls", "gls", label="GLS"),
    Arm("achievement", "achievement"),
    Arm("tgsr", "tgsr", label="TGSR-style"),
    replace(REWEIGHT, label="re-weighting"),
    replace(REBALANCE, label="rebalancing"),
)


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    lab = Lab.of_command("table4", argv, __doc__)
    write_tables(lab, "table4", [ARMS], lab.testsets())
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
