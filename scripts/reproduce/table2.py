"""Table 2: the systems on DIV2K4Level, one test set for each of the four tasks.

Which systems and sets stand in which of Tables 1 to 3 is a reading: see docs/results.md. Further test sets of --testset
are measured beside them.
"""

import sys

from scripts.reproduce.systems import NO_ARMS
from scripts.reproduce.systems_table import TableSettings, write_systems_table
from shared.config import parse
from shared.errors import run_command


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    settings = parse(TableSettings, argv, "python -m scripts.reproduce.table2", __doc__ or "", without=NO_ARMS)
    write_systems_table(settings, "table2", "DIV2K4Level")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
