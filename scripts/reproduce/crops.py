"""Figs. 4, 6, 10 and 11: a box of a picture as every system makes it, between LR and HR.

Systems and test sets are those of Tables 2 and 3, and what these have measured is not measured again. --image
SET/IMAGE or SET/IMAGE:X,Y,SIDE (HR pixels) says what to show; without a box it is where the systems differ most,
without --image the pictures on which they do. A system that lacks a picture is left out of its line.
"""

import io
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scripts.reproduce.comparison import num_steps
from scripts.reproduce.lab import Lab
from scripts.reproduce.panels import Box, Panel, draw
from scripts.reproduce.systems import NO_ARMS, Evaluated, SystemSettings, arms_of, evaluate_systems, read_systems
from shared.config import option, parse
from shared.errors import RunError, UsageError, require_at_least, run_command
from shared.images import decode
from shared.storage.atomic import write_bytes
from train.evaluation.results import PICTURES
from train.evaluation.sheets import most_different
from train.evaluation.testsets import TestSet, open_testsets


@dataclass(frozen=True)
class CropSettings(SystemSettings):
    """What crop sheets can be asked for."""

    name: str = option("fig4", "of the figure: fig4, fig6, fig10, fig11, or any other")
    image: list[str] | None = option(None, "what to show: SET/IMAGE or SET/IMAGE:X,Y,SIDE (default: largest spread)")
    rows: int = option(4, "pictures, without --image")
    side: int = option(96, "of a box that --image does not give, HR pixels")


class Wish(NamedTuple):
    """A picture to show, and where."""

    testset: str
    image: str
    box: Box | None


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    settings = parse(
        CropSettings, argv, "python -m scripts.reproduce.crops", __doc__ or "", without=(*NO_ARMS, "lpips")
    )
    require_at_least(1, settings, "rows", "side")
    wishes = [read_wish(text) for text in settings.image or ()]
    lab, entries = Lab(settings, "crops"), read_systems(settings.file)
    lab.announce(num_steps(lab, arms_of(entries), seeds=1))
    paths = lab.whole_images("DIV2K4Level") | lab.whole_images("DIV2K-random") | lab.further_testsets()
    testsets = {testset.name: testset for testset in open_testsets([f"{n}={p}" for n, p in paths.items()])}
    for wish in wishes:
        _require(wish, testsets)
    systems = evaluate_systems(lab, entries, paths)
    wishes = wishes or [Wish(*key, None) for key in largest_spread(systems)[: settings.rows]]
    if not wishes:
        raise RunError("no two systems have a picture in common: there is nothing to show side by side")
    panels = [panel_of(wish, systems, testsets[wish.testset], settings.side) for wish in wishes]
    buffer = io.BytesIO()
    draw(panels).save(buffer, "PNG", optimize=True)
    write_bytes(lab.folder / f"{settings.name}.png", buffer.getvalue())
    shown = [{"image": panel.title, "box": panel.box._asdict()} for panel in panels]
    missing = {system.name: system.missing for system in systems if system.missing}
    lab.write(settings.name, {"shown": shown, "missing": missing}, _words(panels, missing))
    print(f"open {lab.folder / settings.name}.png")
    return 0


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
    """Test set and image by how much PSNR-Y differs between systems, largest first; one line for each photograph."""
    values: dict[tuple[str, str], list[float]] = {}
    photographs = {}
    for system in systems:
        for result in system.results:
            values.setdefault((result.testset, result.image), []).append(result.values["psnr_db"])
            photographs[result.testset, result.image] = result.photograph
    spread = {key: max(found) - min(found) for key, found in values.items() if len(found) > 1}
    chosen: dict[str, tuple[str, str]] = {}
    for key in sorted(spread, key=lambda key: (-spread[key], key)):
        chosen.setdefault(photographs[key], key)
    return list(chosen.values())


def panel_of(wish: Wish, systems: Sequence[Evaluated], testset: TestSet, side: int) -> Panel:
    """LR, every system that has the picture, HR. Raises `UsageError` for a box outside the picture."""
    image = testset[list(testset.names).index(wish.image)]
    scale = testset.scale or 1
    if image.hr is None:
        raise UsageError(f"{wish.testset} has no HR pictures to show")
    pictures: dict[str, np.ndarray] = {}
    for system in systems:
        path = system.folder / PICTURES / wish.testset / f"{wish.image}.png"
        value = [r.values["psnr_db"] for r in system.results if (r.testset, r.image) == (wish.testset, wish.image)]
        if value and path.is_file():
            pictures[f"{system.name}\n{value[0]:.2f} dB"] = decode(path.read_bytes(), str(path))
    height, width, _ = image.hr.shape
    side = min(side, height, width) // scale * scale
    y, x = most_different([*pictures.values()], side) if pictures else (0, 0)
    box = wish.box or Box(x // scale * scale, y // scale * scale, side)
    if box.x + box.side > width or box.y + box.side > height:
        raise UsageError(
            f"box {box.x},{box.y},{box.side} leaves {wish.testset}/{wish.image}, {width} x {height} pixels"
        )
    low = Box(*(value // scale for value in box))
    crops = [("LR", _cut(image.lr, low)), *((name, _cut(p, box)) for name, p in pictures.items())]
    return Panel(f"{wish.testset}/{wish.image}", image.hr, box, [*crops, ("HR", _cut(image.hr, box))])


def _cut(picture: np.ndarray, box: Box) -> np.ndarray:
    side = max(box.side, 1)
    return np.ascontiguousarray(picture[box.y : box.y + side, box.x : box.x + side])


def _words(panels: Sequence[Panel], missing: Mapping[str, str]) -> str:
    lines = [f"* {p.title}, box {p.box.x},{p.box.y},{p.box.side}: {len(p.crops) - 2} systems" for p in panels]
    lines += [f"* missing: {name}, {' '.join(reason.split())}" for name, reason in missing.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(run_command(main))
