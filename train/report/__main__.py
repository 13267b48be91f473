"""Make one self-contained HTML page about one run or several.

The page shows the settings that differ, where the runs ended, weights with their bands, gaps, PSNR of each task,
delivered volumes, throughput, and crops with a before/after slider. The figures also lie beside the page as PNG.

Examples:
realsr report runs/default
realsr report runs/default runs/uniform --out report
"""

import os
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from shared.command import spelling
from shared.config import argument, option, parse
from shared.errors import UsageError, run_command
from train.report.runs import names_of, read_run


@dataclass(frozen=True)
class ReportSettings:
    """What the report is about."""

    run: list[str] = argument("run folders, each with at least one finished interval")  # noqa: RUF009
    out: str | None = option(
        None, "the page (default: RUN/report.html; of several, report.html in the folder that holds them all)"
    )


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    settings = parse(ReportSettings, argv, spelling("report"), __doc__ or "")
    folders = [Path(run) for run in settings.run]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError("a run is given twice")
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"no folder {folder}: train one with {spelling('train')}")
    common = folders[0] if len(folders) == 1 else Path(os.path.commonpath([f.resolve() for f in folders]))
    out = Path(settings.out) if settings.out else common / "report.html"
    if out.suffix != ".html":
        raise UsageError(f"out is {str(out)!r}: it must end in .html")
    runs = [read_run(folder, name) for folder, name in zip(folders, names_of(folders), strict=True)]
    import_module("train.report.figures").write_page(runs, out)
    print(f"open {out}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
