"""Table 3: the systems on real pictures, RealSR and DRealSR, and on DIV2K-random.

The real ones are given: --testset RealSR=RealSR_V3 DRealSR=Test_x4. Which systems and sets stand in which of Tables 1
to 3 is a reading: see docs/results.md.
"""

import sys

from scripts.reproduce.systems import NO_ARMS
from scripts.reproduce.systems_table import TableSettings, write_systems_table
from shared.config import parse
from shared.errors import run_command


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    settings = parse(TableSettings, argv, "python -m scripts.reproduce.table3", __doc__ or "", without=NO_ARMS)
    write_systems_table(settings, "table3", "DIV2K-random")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
