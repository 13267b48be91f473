"""Draw a sheet of rows: the HR crop, its LR upscaled to the same size, and the degradation in plain words.

A name that ends in .html gives a page, with histograms of everything that was drawn; several datasets share one page.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gen.preview_html import Shown, draw_page, read_plans
from shared.command import spelling
from shared.config import argument, option, parse
from shared.degradation.plan import Blur, Noise, Plan, Resize
from shared.errors import RunError, UsageError, require_at_least, run_command
from shared.images import encode_png
from shared.progress import progress_bar
from shared.shards.format import Pair
from shared.shards.manifest import MANIFEST, Manifest
from shared.shards.reader import Dataset
from shared.storage.atomic import write_bytes
from shared.storage.remote import Place, folders_below, place

PICTURE = 256
"""Least side of a picture on the sheet; smaller ones are upscaled by a whole factor, nearest neighbour."""
MARGIN, GAP, INDENT, LABEL, TEXT_WIDTH = 44, 22, 14, 62, 450
TITLE, HEADING, BODY, LINE = 32, 17, 15, 22
INK, GREY, RULE, PAPER = "#1a1a1a", "#707070", "#dcdcdc", "#ffffff"
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

    path: list[str] = argument("dataset folders, folders of datasets, or urls of either")  # noqa: RUF009 -- a field, not a list
    out: str = option("sheet.png", "file to write: .png, or .html for a page with histograms")
    rows: int = option(8, "rows to show of each dataset, evenly spread over it")


def main(argv: list[str]) -> int:
    """The command; see `PreviewSettings`. Returns the exit code."""
    settings = parse(PreviewSettings, argv, spelling("preview"), __doc__ or "")
    require_at_least(1, settings, "rows")
    datasets = [Dataset(folder) for path in settings.path for folder in _folders(place(path))]
    for dataset in datasets:
        if not len(dataset):
            raise RunError(f"{dataset.folder} holds no rows")
    if settings.out.endswith(".html"):
        page = draw_page(_shown(datasets, settings.rows))
        write_bytes(Path(settings.out), page)
        print(f"{settings.out}: {len(page) / 1e6:.1f} MB, open it in a browser")
        return 0
    if len(datasets) > 1:
        raise UsageError(f"{len(datasets)} datasets fit no PNG sheet: give one, or a name that ends in .html to --out")
    sheet = draw_sheet(datasets[0], settings.rows)
    write_bytes(Path(settings.out), encode_png(sheet))
    print(f"{settings.out}: {sheet.shape[1]} x {sheet.shape[0]} pixels")
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
    """One line `operator: what it does` for each step that changes the picture, in the order of execution.

    A resize is called up or down by what it does to the picture it gets, not by the name of its draw: a second resize
    "up" starts from the LR size and may well shrink.
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
    """size: of the picture that comes in; None for the first resize, whose draw starts from that picture."""
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


def draw_sheet(dataset: Dataset, num_rows: int) -> np.ndarray:
    """The sheet, uint8 [height, width, 3], RGB: `num_rows` rows evenly spread over the dataset."""
    pairs, words = zip(*_picked(dataset, num_rows), strict=True)
    side = pairs[0].row.patch * math.ceil(PICTURE / pairs[0].row.patch)
    heights = [2 * GAP + max(side, _words_height(lines)) for lines in words]
    width, top = 2 * MARGIN + 2 * (side + GAP) + INDENT + TEXT_WIDTH, MARGIN + TITLE + 76
    sheet = Image.new("RGB", (width, top + sum(heights) + MARGIN - GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    _draw_title(pen, dataset.manifest, side)
    for pair, lines, height in zip(pairs, words, heights, strict=True):
        pen.line([(MARGIN, top), (width - MARGIN, top)], fill=RULE)
        sheet.paste(_enlarged(pair.hr, side), (MARGIN, top + GAP))
        sheet.paste(_enlarged(pair.lr, side), (MARGIN + side + GAP, top + GAP))
        _draw_words(pen, pair, lines, _text_column(side), top + GAP)
        top += height
    return np.asarray(sheet)


def _text_column(side: int) -> int:
    return MARGIN + 2 * (side + GAP) + INDENT


def _words_height(lines: list[str]) -> int:
    return HEADING + 12 + LINE * len(lines)


def _draw_title(pen: ImageDraw.ImageDraw, manifest: Manifest, side: int) -> None:
    recipe, top = manifest.recipe, MARGIN - 6
    count = f"{manifest.rows:,}".replace(",", " ")
    made = f"{count} rows,  space {recipe.get('space')},  partition {recipe.get('partition')}"
    made += f",  recipe {manifest.digest}"
    pen.text((MARGIN, top), _plain(manifest.name), INK, _font(TITLE))
    pen.text((MARGIN, top + TITLE + 12), _plain(made), GREY, _font(BODY))
    top += TITLE + 52
    pairs = (("HR", MARGIN), ("LR, upscaled", MARGIN + side + GAP), ("degradation, in order", _text_column(side)))
    for heading, x in pairs:
        pen.text((x, top), heading, GREY, _font(BODY))


def _draw_words(pen: ImageDraw.ImageDraw, pair: Pair, lines: list[str], x: int, y: int) -> None:
    number = f"row {pair.row.row}"
    pen.text((x, y - 4), number, INK, _font(HEADING))
    room = TEXT_WIDTH - _font(HEADING).getlength(number) - GAP
    pen.text((x + TEXT_WIDTH, y - 2), _fitted(_plain(pair.row.hr_id), room), GREY, _font(BODY), anchor="ra")
    for below, line in enumerate(lines):
        operator, _, text = line.partition(": ")
        height = y + HEADING + 12 + LINE * below
        pen.text((x, height), operator, GREY, _font(BODY))
        pen.text((x + LABEL, height), _fitted(text, TEXT_WIDTH - LABEL), INK, _font(BODY))


def _enlarged(image: np.ndarray, side: int) -> Image.Image:
    return Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST)


def _plain(text: str) -> str:
    """Text in the characters that Pillow's own font has."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def _fitted(text: str, room: float) -> str:
    """Text that is no wider than `room` pixels; the beginning is given up first, since names differ at the end."""
    if _font(BODY).getlength(text) <= room:
        return text
    while text and _font(BODY).getlength("..." + text) > room:
        text = text[1:]
    return "..." + text


@lru_cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size=size)


if __name__ == "__main__":
    sys.exit(run_command(main))
