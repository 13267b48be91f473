"""Draw rows of datasets or test sets: an HR crop, its LR image in each task, and the degradation in plain words.

A name that ends in .html gives a page, with histograms of everything that was drawn. A folder of datasets shows all
its tasks side by side.

Examples:
realsr preview shards --out sheet.html
realsr preview shards/noise --out sheet.png
realsr preview testsets/div2k4level --out sheet.html
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gen.preview_html import draw_page
from gen.preview_rows import Example, Group, dataset_groups, testset_group
from shared.command import next_step, spelling
from shared.config import argument, option, parse
from shared.contact_sheet import Line, contact_sheet
from shared.errors import UsageError, require_at_least, run_command
from shared.progress import progress_bar
from shared.shards.manifest import MANIFEST
from shared.shards.reader import Dataset
from shared.shards.testset import TESTSET
from shared.storage.atomic import write_bytes
from shared.storage.places import Place, folders_below, place

SIDE = 256
"""Smallest side of an image on the sheet; smaller ones are upscaled by a whole factor, nearest neighbour."""


@dataclass(frozen=True)
class PreviewSettings:
    """What `gen.preview` can be asked for."""

    path: list[str] = argument("dataset folders, folders of datasets, urls of either, or test sets")  # noqa: RUF009 -- a field, not a list
    out: str = option("sheet.png", "file to write: .png, or .html for a page with histograms")
    rows: int = option(8, "rows to show of each task, evenly spread over it")


def main(argv: list[str]) -> int:
    """The command; see `PreviewSettings`. Returns the exit code."""
    settings = parse(PreviewSettings, argv, spelling("preview"), __doc__ or "")
    require_at_least(1, settings, "rows")
    out = Path(settings.out)
    if out.suffix not in (".png", ".html"):
        raise UsageError(f"out is {settings.out!r}: its name must end in .png or .html")
    groups = find_groups(settings.path, settings.rows)
    is_page = out.suffix == ".html"
    data = draw_page(groups) if is_page else draw_sheet(groups)
    write_bytes(out, data)
    print(f"{out}: {len(data) / 1e6:.1f} MB, open it in {'a browser' if is_page else 'an image viewer'}")
    print(next_step("verify", settings.path[0]))
    return 0


def find_groups(paths: Sequence[str], num_rows: int) -> list[Group]:
    """What lies at the paths: the datasets by their splits, then the test sets.

    Raises `UsageError` for a path that is no folder, and `RunError` for a folder without rows or with a damaged one.
    """
    testsets = [Path(path) for path in paths if (Path(path) / TESTSET).is_file()]
    datasets = [Dataset(folder) for path in paths if Path(path) not in testsets for folder in _folders(place(path))]
    with progress_bar(sum(map(len, datasets)), "row", disable=not datasets) as bar:
        groups = dataset_groups(datasets, num_rows, bar.update)
    return groups + [testset_group(folder, num_rows) for folder in testsets]


def _folders(path: Place) -> list[Place]:
    """The folder itself, or the datasets directly below it when it is none."""
    if not path.is_dir():
        raise UsageError(f"path is {str(path)!r}: no such folder")
    if (path / MANIFEST).is_file():
        return [path]
    return [folder for folder in folders_below(path) if (folder / MANIFEST).is_file()] or [path]


def draw_sheet(groups: Sequence[Group]) -> bytes:
    """The sheet, PNG: a line for each example, with the plan in words where there is one task."""
    lines = [_line(group, example) for group in groups for example in group.examples]
    side = max(len(example.tiles[0].hr) for group in groups for example in group.examples)
    names = dict.fromkeys(task.name for group in groups for task in group.tasks)
    facts = groups[0].tasks[0].facts
    title = f"{', '.join(names)}: space {facts['space']}, partition {facts['partition']}"
    return contact_sheet(lines, side * math.ceil(SIDE / side), title)


def _line(group: Group, example: Example) -> Line:
    """HR and LR of each task; HR once where all tasks show the same crop."""
    first, names = example.tiles[0], [task.name for task in group.tasks]
    if len(names) == 1:
        return Line([example.title, first.where, "", *first.words], [("HR", first.hr), ("LR", first.lr)])
    if example.is_one_crop:
        tiles = [("HR", first.hr), *((name, tile.lr) for name, tile in zip(names, example.tiles, strict=True))]
        return Line([group.title, example.title, first.where], tiles)
    tiles = []
    for name, tile in zip(names, example.tiles, strict=True):
        tiles += [(f"{name}, HR", tile.hr), (f"{name}, LR", tile.lr)]
    return Line([group.title, example.title], tiles)


if __name__ == "__main__":
    sys.exit(run_command(main))
