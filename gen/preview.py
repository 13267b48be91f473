"""Draw a sheet of rows: the HR crop, its LR upscaled to the same size, and the degradation in plain words.

A name that ends in .html gives a page, with histograms of everything that was drawn; several datasets share one page.

Examples:
realsr preview shards/noise --out sheet.png
realsr preview shards/mild shards/noise --out sheet.html
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gen.preview_html import Shown, draw_page, read_plans
from shared.command import next_step, spelling
from shared.config import argument, option, parse
from shared.contact_sheet import Line, contact_sheet
from shared.degradation.plan import Blur, Noise, Plan, Resize
from shared.errors import RunError, UsageError, require_at_least, run_command
from shared.images import decode_png
from shared.progress import progress_bar
from shared.shards.format import Pair
from shared.shards.manifest import MANIFEST
from shared.shards.reader import Dataset
from shared.shards.testset import TESTSET, hr_path, load_testset, lr_path, plan_path
from shared.storage.atomic import write_bytes
from shared.storage.remote import Place, folders_below, place

SIDE = 256
"""Smallest side of an image on the sheet; smaller ones are upscaled by a whole factor, nearest neighbour."""
FAMILIES = {
    "iso": "isotropic Gaussian",
    "aniso": "anisotropic Gaussian",
    "generalized_iso": "generalized isotropic Gaussian",
    "generalized_aniso": "generalized anisotropic Gaussian",
    "plateau_iso": "isotropic plateau",
    "plateau_aniso": "anisotropic plateau",
}


@dataclass(frozen=True)
class PreviewSettings:
    """What `gen.preview` can be asked for."""

    path: list[str] = argument("dataset folders, folders of datasets, urls of either, or one test set")  # noqa: RUF009 -- a field, not a list
    out: str = option("sheet.png", "file to write: .png, or .html for a page with histograms")
    rows: int = option(8, "rows to show of each dataset, evenly spread over it")


def main(argv: list[str]) -> int:
    """The command; see `PreviewSettings`. Returns the exit code."""
    settings = parse(PreviewSettings, argv, spelling("preview"), __doc__ or "")
    require_at_least(1, settings, "rows")
    if len(settings.path) == 1 and (Path(settings.path[0]) / TESTSET).is_file():
        if settings.out.endswith(".html"):
            raise UsageError(f"{settings.path[0]} is a test set, of which a PNG sheet is drawn: give --out NAME.png")
        write_bytes(Path(settings.out), draw_testset(Path(settings.path[0]), settings.rows))
        print(f"{settings.out}: open it in an image viewer")
        return 0
    datasets = [Dataset(folder) for path in settings.path for folder in _folders(place(path))]
    for dataset in datasets:
        if not len(dataset):
            raise RunError(f"{dataset.folder} holds no rows")
    if settings.out.endswith(".html"):
        page = draw_page(_shown(datasets, settings.rows))
        write_bytes(Path(settings.out), page)
        print(f"{settings.out}: {len(page) / 1e6:.1f} MB, open it in a browser")
        print(next_step("verify", settings.path[0]))
        return 0
    if len(datasets) > 1:
        raise UsageError(f"{len(datasets)} datasets fit no PNG sheet: give one, or a name that ends in .html to --out")
    write_bytes(Path(settings.out), draw_sheet(datasets[0], settings.rows))
    print(f"{settings.out}: open it in an image viewer")
    print(next_step("verify", settings.path[0]))
    return 0


def _folders(path: Place) -> list[Place]:
    """The folder itself, or the datasets directly below it when it is none."""
    if not path.is_dir():
        raise UsageError(f"path is {str(path)!r}: no such folder")
    if (path / MANIFEST).is_file():
        return [path]
    return [folder for folder in folders_below(path) if (folder / MANIFEST).is_file()] or [path]


def _shown(datasets: Sequence[Dataset], num_rows: int) -> list[Shown]:
    with progress_bar(sum(map(len, datasets)), "row") as bar:
        return [Shown(each.manifest, read_plans(each, bar.update), _picked(each, num_rows)) for each in datasets]


def _picked(dataset: Dataset, num_rows: int) -> list[tuple[Pair, list[str]]]:
    """Rows evenly spread over the dataset, at most all, with their plans in words."""
    count = min(num_rows, len(dataset))
    pairs = [dataset[(2 * i + 1) * len(dataset) // (2 * count)] for i in range(count)]
    return [(pair, plan_in_words(Plan.from_json(pair.row.plan))) for pair in pairs]


def plan_in_words(plan: Plan) -> list[str]:
    """One line `operator: what it does` for each step that changes the image, in the order of execution.

    "up" or "down" says what a resize does to the image that it gets, which may differ from the name of its draw: a
    second resize drawn as "up" starts from the LR size and may shrink the image.
    """
    lines, size = [], None
    for operator, parameters in plan.steps(0, 0):
        if operator == "resize":
            words = _resize_words(parameters, size)
            size = (parameters.height, parameters.width)
        else:
            words = WORDS[operator](parameters)
        if words:
            lines.append(words)
    return lines


def _resize_words(resize: Resize, size: tuple[int, int] | None) -> str:
    """size: of the image before the resize; None for the first resize, which starts from the HR image."""
    target = (resize.height, resize.width)
    if target == (0, 0):
        return f"resize: to the LR size, {resize.mode}"
    way = resize.direction
    if size is not None:
        way = "keep" if target == size else "up" if target > size else "down"
    return "" if way == "keep" else f"resize: {way} to {resize.height} x {resize.width}, {resize.mode}"


def _blur_words(blur: Blur) -> str:
    if blur.family == "sinc":
        return f"blur: sinc {blur.size} px, cutoff {blur.omega / math.pi:.2f} pi"
    words = f"blur: {FAMILIES[blur.family]} {blur.size} px, sigma {blur.sigma_x:.2f}"
    if blur.family.endswith("aniso"):
        words += f" x {blur.sigma_y:.2f}, {math.degrees(blur.theta):.0f} deg"
    return words + (f", beta {blur.beta:.2f}" if blur.beta else "")


def _noise_words(noise: Noise) -> str:
    strength = f"Gaussian, sigma {noise.level:.1f} of 255" if noise.kind == "gaussian" else f"Poisson {noise.level:.2f}"
    return f"noise: {strength}, {'grey' if noise.grey else 'colour'}"


WORDS: Mapping[str, Callable[[Any], str]] = {
    "blur": _blur_words,
    "noise": _noise_words,
    "jpeg": lambda quality: f"JPEG: quality {quality}",
}


def draw_sheet(dataset: Dataset, num_rows: int) -> bytes:
    """The sheet of `num_rows` rows evenly spread over the dataset, PNG: the plan in words, HR, and LR upscaled."""
    manifest, recipe = dataset.manifest, dataset.manifest.recipe
    title = f"{manifest.name}: {manifest.rows} rows, space {recipe.get('space')}, partition {recipe.get('partition')}"
    lines = [
        Line([f"row {pair.row.row}", Path(pair.row.hr_id).name, "", *words], [("HR", pair.hr), ("LR", pair.lr)])
        for pair, words in _picked(dataset, num_rows)
    ]
    patch = len(lines[0].tiles[0][1])
    return contact_sheet(lines, patch * math.ceil(SIDE / patch), f"{title}, recipe {manifest.digest}")


def draw_testset(folder: Path, num_images: int) -> bytes:
    """The sheet of `num_images` images evenly spread over a test set, PNG: a line for each image and task."""
    record, lines = load_testset(folder), []
    count = min(num_images, len(record.images))
    for image in [record.images[(2 * i + 1) * len(record.images) // (2 * count)] for i in range(count)]:
        for task in record.tasks:
            paths = {"HR": hr_path(folder, image.name), "LR": lr_path(folder, task, image.name)}
            plan = Plan.from_json(plan_path(folder, task, image.name).read_text())
            tiles = [(name, decode_png(path.read_bytes(), str(path))) for name, path in paths.items()]
            lines.append(Line([f"{image.name}, {task}", "", *plan_in_words(plan)], tiles))
    return contact_sheet(lines, SIDE, f"{record.name}: {len(record.images)} images in {len(record.tasks)} tasks")


if __name__ == "__main__":
    sys.exit(run_command(main))
