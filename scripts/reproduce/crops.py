"""Figs. 4, 6, 10 and 11: a box of an image as every system makes it, between LR and HR.

Figs. 4, 10 and 11 show the rows of Tables 1 and 2, Fig. 6 those of Table 3; what the tables have measured is not
measured
again. --image says what to show; without a box it is where the systems differ most, without --image the images on which
they differ most. A system that lacks an image is left out of its line.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from scripts.reproduce.comparison import num_steps
from scripts.reproduce.lab import Lab
from scripts.reproduce.systems import Evaluated
from scripts.reproduce.tables import arms_of, evaluate, rows_of
from shared.contact_sheet import Line, contact_sheet
from shared.errors import RunError, UsageError, require_at_least
from shared.images import decode
from shared.storage.atomic import write_bytes
from train.evaluation.boxes import most_different
from train.evaluation.results import PICTURES
from train.evaluation.testsets import TestSet, open_testsets

RED = (220, 30, 30)


class Box(NamedTuple):
    """Top left corner and side of a square, HR pixels."""

    x: int
    y: int
    side: int


class Panel(NamedTuple):
    """title: set and image. whole: uint8 [H, W, 3] RGB. crops: (caption, uint8 [n, n, 3]) of LR, the systems and HR."""

    title: str
    whole: np.ndarray
    box: Box
    crops: list[tuple[str, np.ndarray]]

    def line(self) -> Line:
        """The whole image with the box marked on it, and the crops."""
        marked, (x, y, side) = Image.fromarray(self.whole), self.box
        width = max(1, max(marked.size) // 100)
        ImageDraw.Draw(marked).rectangle((x, y, x + side - 1, y + side - 1), outline=RED, width=width)
        return Line([], [(self.title, np.asarray(marked)), *self.crops])


class Wish(NamedTuple):
    """An image to show, and where; without a box, where the systems differ most."""

    testset: str
    image: str
    box: Box | None


def steps(lab: Lab) -> int:
    """Training steps of the rows that are trained here."""
    return num_steps(lab, arms_of(rows_of(lab, _table(lab))))


def _table(lab: Lab) -> str:
    return "table3" if lab.experiment == "fig6" else "table1"


def run(lab: Lab) -> None:
    """Evaluate what is not yet, and draw the sheet. Raises `RunError` when no two systems have an image in common."""
    settings = lab.settings
    require_at_least(1, settings, "rows", "side")
    wishes = [read_wish(text) for text in settings.image or ()]
    paths = lab.whole_images("DIV2K4Level") | lab.whole_images("DIV2K-random") | lab.further_testsets()
    testsets = {testset.name: testset for testset in open_testsets([f"{n}={p}" for n, p in paths.items()])}
    for wish in wishes:
        _require(wish, testsets)
    found = evaluate(lab, rows_of(lab, _table(lab)), paths)
    systems = [*found.values()]
    wishes = wishes or [Wish(*key, None) for key in largest_spread(systems)[: settings.rows]]
    if not wishes:
        raise RunError("no two systems have an image in common: there is nothing to show side by side")
    panels = [panel_of(wish, systems, testsets[wish.testset], settings.side) for wish in wishes]
    sheet = contact_sheet([panel.line() for panel in panels], rows=2)
    write_bytes(lab.folder / f"{lab.experiment}.png", sheet)
    shown = [{"image": panel.title, "box": panel.box._asdict()} for panel in panels]
    missing = {name: system.missing for name, system in found.items() if system.missing}
    lab.write(lab.experiment, {"shown": shown, "missing": missing}, _words(panels, missing))
    print(f"open {lab.folder / lab.experiment}.png")


def read_wish(text: str) -> Wish:
    """SET/IMAGE or SET/IMAGE:X,Y,SIDE. Raises `UsageError` for anything else."""
    found = re.fullmatch(r"([^/]+)/(.+?)(?::(\d+),(\d+),([1-9]\d*))?", text)
    if found is None:
        raise UsageError(f"image is {text!r}: it must be SET/IMAGE or SET/IMAGE:X,Y,SIDE in HR pixels")
    x, y, side = found.group(3, 4, 5)
    return Wish(found[1], found[2], Box(int(x), int(y), int(side)) if side else None)


def _require(wish: Wish, testsets: Mapping[str, TestSet]) -> None:
    if wish.testset not in testsets:
        raise UsageError(
            f"image {wish.testset}/{wish.image}: no test set {wish.testset}, there are {', '.join(testsets)}"
        )
    if wish.image not in testsets[wish.testset].names:
        names = ", ".join(list(testsets[wish.testset].names)[:5])
        raise UsageError(f"image {wish.testset}/{wish.image}: {wish.testset} has {names} ...")


def largest_spread(systems: Sequence[Evaluated]) -> list[tuple[str, str]]:
    """Test set and image by how much PSNR-Y differs between systems, largest first; one image of each photograph."""
    values: dict[tuple[str, str], list[float]] = {}
    photographs = {}
    for system in systems:
        for result in system.runs[0] if system.runs else ():
            values.setdefault((result.testset, result.image), []).append(result.values["psnr_db"])
            photographs[result.testset, result.image] = result.photograph
    spread = {key: max(found) - min(found) for key, found in values.items() if len(found) > 1}
    chosen: dict[str, tuple[str, str]] = {}
    for key in sorted(spread, key=lambda key: (-spread[key], key)):
        chosen.setdefault(photographs[key], key)
    return list(chosen.values())


def panel_of(wish: Wish, systems: Sequence[Evaluated], testset: TestSet, side: int) -> Panel:
    """LR, every system that has the image (an arm's first seed), HR. Raises `UsageError` for a box outside."""
    image = testset[list(testset.names).index(wish.image)]
    scale = testset.scale or 1
    if image.hr is None:
        raise UsageError(f"{wish.testset} has no HR images to show")
    outputs: dict[str, np.ndarray] = {}
    for system in systems:
        path = system.folders[0] / PICTURES / wish.testset / f"{wish.image}.png" if system.folders else None
        run = system.runs[0] if system.runs else []
        value = [r.values["psnr_db"] for r in run if (r.testset, r.image) == (wish.testset, wish.image)]
        if value and path and path.is_file():
            outputs[f"{system.name} {value[0]:.2f} dB"] = decode(path.read_bytes(), str(path))
    height, width, _ = image.hr.shape
    side = min(side, height, width) // scale * scale
    y, x = most_different([*outputs.values()], side) if outputs else (0, 0)
    box = wish.box or Box(x // scale * scale, y // scale * scale, side)
    if box.x + box.side > width or box.y + box.side > height:
        raise UsageError(
            f"box {box.x},{box.y},{box.side} leaves {wish.testset}/{wish.image}, {width} x {height} pixels"
        )
    low = Box(*(value // scale for value in box))
    crops = [("LR", _cut(image.lr, low)), *((name, _cut(p, box)) for name, p in outputs.items())]
    return Panel(f"{wish.testset}/{wish.image}", image.hr, box, [*crops, ("HR", _cut(image.hr, box))])


def _cut(image: np.ndarray, box: Box) -> np.ndarray:
    side = max(box.side, 1)
    return np.ascontiguousarray(image[box.y : box.y + side, box.x : box.x + side])


def _words(panels: Sequence[Panel], missing: Mapping[str, str]) -> str:
    lines = [f"* {p.title}, box {p.box.x},{p.box.y},{p.box.side}: {len(p.crops) - 2} systems" for p in panels]
    lines += [f"* missing: {name}, {' '.join(reason.split())}" for name, reason in missing.items()]
    return "\n".join(lines) + "\n"
