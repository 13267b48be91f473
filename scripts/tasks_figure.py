"""Draw one HR crop and the same crop in each task: python -m scripts.tasks_figure shards/demo --out tasks.png

Validation row r shows the same HR crop in every task. The rows shown are typical: for each task the PSNR of bicubic
upscaling ranks its rows, and the rows are those that lie nearest to the middle of all rankings, one of each HR image.
Tasks differ in blur and noise; resizing and JPEG vary within every task.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.config import argument, option, parse
from shared.errors import run_command

CAPTION = "One HR crop and its LR image in each task, typical rows. Resizing and JPEG vary within every task."


@dataclass(frozen=True)
class TasksFigureSettings:
    """What is drawn."""

    shards: str = argument("folder with the validation datasets of all tasks")
    out: str = option("tasks.png", "PNG file to write")
    rows: int = option(2, "HR crops to show")


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    settings = parse(TasksFigureSettings, argv, "python -m scripts.tasks_figure", __doc__ or "")
    from shared.contact_sheet import Line, contact_sheet
    from shared.mixing.tasks import find_tasks
    from shared.storage.atomic import write_bytes
    from train.report.runs import bicubic_psnr_of

    tasks = find_tasks(Path(settings.shards), on_the_fly=True)
    rows = {task.name: task.val_rows() for task in tasks}
    first = rows[tasks[0].name]
    photographs = [first.meta(number).hr_sha256 for number in range(len(first))]
    psnr_db = [
        [bicubic_psnr_of(pairs[number], tasks[0].scale) for number in range(len(pairs))] for pairs in rows.values()
    ]
    lines = []
    for number in typical(psnr_db, photographs)[: settings.rows]:
        tiles = [("HR", first[number].hr), *((name, pairs[number].lr) for name, pairs in rows.items())]
        lines.append(Line([], tiles))
    write_bytes(Path(settings.out), contact_sheet(lines, side=len(first[0].hr)))
    print(f"{settings.out}: {CAPTION}")
    return 0


def typical(psnr_db: Sequence[Sequence[float]], photographs: Sequence[str]) -> list[int]:
    """Rows by how near they are to the middle of every task's ranking, nearest first, one of each photograph.

    psnr_db: by task, then row. A row's distance is its largest over the tasks.
    """
    count = len(photographs)
    ranks = [{row: rank for rank, row in enumerate(sorted(range(count), key=each.__getitem__))} for each in psnr_db]
    distance = [max(abs(rank[row] - (count - 1) / 2) for rank in ranks) for row in range(count)]
    chosen: dict[str, int] = {}
    for row in sorted(range(count), key=lambda row: (distance[row], row)):
        chosen.setdefault(photographs[row], row)
    return [*chosen.values()]


if __name__ == "__main__":
    sys.exit(run_command(main))
