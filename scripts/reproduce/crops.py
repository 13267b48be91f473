"""Figs. 4, 6, 10 and 11: crops of images between LR and HR, as every system makes them.

Figs. 4, 10 and 11 show the rows of Tables 1 and 2, Fig. 6 those of Table 3; what the tables have measured is not
measured again. --image names the images; without it they are those on which the systems differ most. A crop is where
the systems differ most, and a system that lacks an image is left out of its line.
"""

from collections.abc import Mapping
from itertools import islice

from scripts.reproduce.comparison import num_steps
from scripts.reproduce.lab import Lab
from scripts.reproduce.tables import arms_of, evaluate, rows_of
from shared.contact_sheet import contact_sheet
from shared.errors import RunError, UsageError, require_at_least
from shared.storage.atomic import write_bytes
from train.evaluation.sheet import Key, Shown, lines_of, most_different_images
from train.evaluation.testsets import TestSet, open_testsets


def steps(lab: Lab) -> int:
    """Training steps of the rows that are trained here."""
    return num_steps(lab, arms_of(rows_of(lab, _table(lab))))


def _table(lab: Lab) -> str:
    return "table3" if lab.experiment == "fig6" else "table1"


def run(lab: Lab) -> None:
    """Evaluate what is not yet, and draw the sheet. Raises `RunError` when no two systems have an image in common."""
    settings = lab.settings
    require_at_least(1, settings, "rows", "side")
    paths = lab.whole_images("DIV2K4Level") | lab.whole_images("DIV2K-random") | lab.further_testsets()
    testsets = {testset.name: testset for testset in open_testsets([f"{n}={p}" for n, p in paths.items()])}
    asked = [find_image(text, testsets) for text in settings.image or ()]
    found = evaluate(lab, rows_of(lab, _table(lab)), paths)
    systems = [Shown(each.name, each.folders[0], each.runs[0]) for each in found.values() if each.runs]
    images = asked or most_different_images(systems)
    lines = [*islice(lines_of(systems, testsets, images, settings.side), len(asked) or settings.rows)]
    if not lines:
        raise RunError("no two systems have an image in common: there is nothing to show side by side")
    write_bytes(lab.folder / f"{lab.experiment}.png", contact_sheet(lines))
    missing = {name: system.missing for name, system in found.items() if system.missing}
    words = [f"* {'/'.join(line.words)}: {len(line.tiles) - 2} systems" for line in lines]
    words += [f"* missing: {name}, {' '.join(reason.split())}" for name, reason in missing.items()]
    shown = ["/".join(line.words) for line in lines]
    lab.write(lab.experiment, {"shown": shown, "missing": missing}, "\n".join(words) + "\n")
    print(f"open {lab.folder / lab.experiment}.png")


def find_image(text: str, testsets: Mapping[str, TestSet]) -> Key:
    """The image that SET/IMAGE names. Raises `UsageError` for one that is not there."""
    name, _, image = text.partition("/")
    if name not in testsets:
        raise UsageError(f"image is {text!r}: it must be SET/IMAGE, the test sets are {', '.join(testsets)}")
    if image not in testsets[name].names:
        names = ", ".join(list(testsets[name].names)[:5])
        raise UsageError(f"image is {text!r}: {name} has {names} ...")
    return name, image
