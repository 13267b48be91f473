"""Compare evaluations image by image: mean differences with intervals, tests, and a sheet of the largest differences.

Give folders that `realsr evaluate` has written, as NAME=PATH or PATH. All are compared with the first, image by
image. The interval is a 95 % bootstrap that resamples photographs; p is that of Wilcoxon's signed-rank test. Each p
holds for its own line: of twenty lines without a true difference, expect one below 0.05. Neither contains the spread
over training seeds.

Examples:
realsr compare ev/ours ev/other
realsr compare ours=ev/ours uniform=ev/uniform --out comparison
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from shared.command import spelling
from shared.config import argument, option, parse
from shared.contact_sheet import contact_sheet
from shared.errors import RunError, UsageError, require_at_least, run_command
from shared.storage.atomic import write_bytes, write_text
from train.evaluation.paired import bootstrap_mean, caution, wilcoxon_p
from train.evaluation.results import read_config, read_results, unfinished
from train.evaluation.summaries import COLUMNS, LOWER_IS_BETTER, ImageResult, latex, markdown
from train.evaluation.testsets import named_path, open_testsets

NOTE = "Differences to the base, paired by image; p of each line alone, not corrected for their number."


@dataclass(frozen=True)
class CompareSettings:
    """What `train.compare` can be asked for."""

    evaluations: list[str] = argument("two evaluations or more, as NAME=PATH or PATH; the first is the base")  # noqa: RUF009 -- a field, not a list
    out: str = option("comparison", "folder for comparison.md, .tex, .json and sheet.png")
    testset: list[str] | None = option(None, "the test sets again, as NAME=PATH: adds LR and HR to the sheet")
    rows: int = option(8, "images on the sheet")
    crop: int = option(96, "side of the crops on the sheet, HR pixels")
    partial: bool = option(False, "compare unfinished evaluations on the images that all have")


@dataclass(frozen=True)
class Difference:
    """A measure of two systems on the images of a test set that both have; positive `mean` means a larger value.

    low, high: 95 % bootstrap interval of the mean. p: Wilcoxon's. wins: share of images on which `system` is better.
    """

    system: str
    base: str
    testset: str
    measure: str
    images: int
    photographs: int
    system_mean: float
    base_mean: float
    mean: float
    low: float
    high: float
    p: float
    wins: float


def main(argv: list[str]) -> int:
    """The command; see `CompareSettings`. Returns the exit code."""
    settings = parse(CompareSettings, argv, spelling("compare"), __doc__ or "")
    require_at_least(1, settings, "rows", "crop")
    folders = dict(map(named_path, settings.evaluations))
    if len(folders) < 2 or len(folders) < len(settings.evaluations):
        raise UsageError("give at least two evaluations with different names, NAME=PATH (see --help)")
    testsets = {testset.name: testset for testset in open_testsets(settings.testset or [])}
    _require_alike(folders)
    parts = [f"{name}: {words}" for name, folder in folders.items() for words in unfinished(folder)]
    if parts and not settings.partial:
        raise RunError(
            f"an evaluation is not finished ({'; '.join(parts)}): give the same command to "
            f"{spelling('evaluate')} again, or compare the images that all have (--partial)"
        )
    results = {name: read_results(folder) for name, folder in folders.items()}
    base = next(iter(folders))
    differences = [d for name in list(folders)[1:] for d in compare(name, results[name], base, results[base])]
    if not differences:
        raise RunError(
            f"{' and '.join(map(str, folders.values()))} have no image in common: evaluate them on one test set"
        )
    out = Path(settings.out)
    write_text(out / "comparison.json", json.dumps([asdict(d) for d in differences], indent=1) + "\n")
    head, cells = _table(differences)
    note = f"{NOTE} {caution(min(d.photographs for d in differences))}".rstrip()
    note += f" Not finished: {'; '.join(parts)}." * bool(parts)
    write_text(out / "comparison.md", f"{markdown(head, cells)}\n{note}\n")
    write_text(out / "comparison.tex", latex(head, cells, note))
    print((out / "comparison.md").read_text())
    from train.evaluation.sheet import Shown, lines_of, most_different_images  # here, because it imports OpenCV

    systems = [Shown(name, folder, results[name]) for name, folder in folders.items()]
    lines = lines_of(systems, testsets, most_different_images(systems), settings.crop)
    if shown := [*islice(lines, settings.rows)]:
        write_bytes(out / "sheet.png", contact_sheet(shown))
        print(f"largest differences: {out / 'sheet.png'}")
    print(f"tables: {out / 'comparison.md'}, .tex and .json")
    return 0


def _require_alike(folders: dict[str, Path]) -> None:
    """Raises `UsageError` when the evaluations were not measured alike, `RunError` for a folder that holds none."""
    first: dict[str, object] = {}
    for name, folder in folders.items():
        config = read_config(folder)
        how = {key: config[key] for key in ("border", "rounded")}
        if how != (first := first or how):
            raise UsageError(f"{name} was measured with {how}, {next(iter(folders))} with {first}: measure them alike")


def compare(
    name: str, results: Sequence[ImageResult], base: str, base_results: Sequence[ImageResult]
) -> list[Difference]:
    """Every measure that both have, on every test set that both have, over the images that both have."""
    of_base = {(result.testset, result.image): result for result in base_results}
    pairs = [(r, of_base[r.testset, r.image]) for r in results if (r.testset, r.image) in of_base]
    found = []
    for testset in dict.fromkeys(ours.testset for ours, _ in pairs):
        group = [pair for pair in pairs if pair[0].testset == testset]
        photographs = [ours.photograph for ours, _ in group]
        for measure in COLUMNS:
            if measure == "bicubic_db" or not all(measure in side.values for pair in group for side in pair):
                continue
            ours, theirs = (np.array([pair[side].values[measure] for pair in group]) for side in (0, 1))
            better = theirs > ours if measure in LOWER_IS_BETTER else ours > theirs
            mean, low, high = bootstrap_mean(ours - theirs, photographs, (name, base, testset, measure))
            p, sizes = wilcoxon_p(ours - theirs, photographs), (len(group), len(set(photographs)))
            means = (float(ours.mean()), float(theirs.mean()))
            found.append(
                Difference(name, base, testset, measure, *sizes, *means, mean, low, high, p, float(better.mean()))
            )
    return found


def _table(differences: Sequence[Difference]) -> tuple[list[str], list[list[str]]]:
    head = ["system", "test set", "measure", "images (photographs)"]
    head += ["base", "system's", "difference [95 %]", "p", "better on"]
    lines = []
    for d in differences:
        title, form = COLUMNS[d.measure]
        signed = form.replace(":", ":+")
        interval = f"{signed.format(d.mean)} [{signed.format(d.low)}, {signed.format(d.high)}]"
        values = [form.format(d.base_mean), form.format(d.system_mean)]
        sizes = f"{d.images} ({d.photographs})"
        lines.append(
            [f"{d.system} - {d.base}", d.testset, title, sizes, *values, interval, f"{d.p:.2g}", f"{d.wins:.0%}"]
        )
    return head, lines


if __name__ == "__main__":
    sys.exit(run_command(main))
