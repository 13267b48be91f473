"""A contact sheet that shows where systems differ: a line for each image with LR, the systems' outputs and HR."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from shared.contact_sheet import Line
from train.evaluation.results import OUTPUTS
from train.evaluation.summaries import ImageResult
from train.evaluation.testsets import TestSet, decode_file

Key = tuple[str, str]
"""Names of a test set and of an image."""


class Shown(NamedTuple):
    """A system on the sheet, the folder of its evaluation, and the results of that."""

    name: str
    folder: Path
    results: Sequence[ImageResult]

    def output(self, key: Key) -> Path:
        """The file of the system's output, if outputs were kept."""
        return self.folder / OUTPUTS / key[0] / f"{key[1]}.png"


def most_different_images(systems: Sequence[Shown]) -> list[Key]:
    """Images by the spread of PSNR-Y over the systems, largest first; one image of each photograph."""
    values: dict[Key, list[float]] = {}
    photographs = {}
    for system in systems:
        for result in system.results:
            values.setdefault((result.testset, result.image), []).append(result.values["psnr_db"])
            photographs[result.testset, result.image] = result.photograph
    spread = {key: max(found) - min(found) for key, found in values.items() if len(found) > 1}
    chosen: dict[str, Key] = {}
    for key in sorted(spread, key=lambda key: (-spread[key], key)):
        chosen.setdefault(photographs[key], key)
    return list(chosen.values())


def lines_of(
    systems: Sequence[Shown], testsets: Mapping[str, TestSet], images: Sequence[Key], side: int
) -> Iterator[Line]:
    """The lines of the images of which two systems at least have kept their output.

    Each line shows the crop of `side` HR pixels in which the outputs differ most. LR and HR stand beside the outputs
    where `testsets` has the image.
    """
    for key in images:
        outputs = {}
        for system in systems:
            psnr_db = [r.values["psnr_db"] for r in system.results if (r.testset, r.image) == key]
            if psnr_db and system.output(key).is_file():
                caption = f"{system.name} {psnr_db[0]:.2f} dB"
                outputs[caption] = decode_file(system.output(key))
        if len(outputs) < 2:
            continue
        testset, (y, x) = testsets.get(key[0]), most_different([*outputs.values()], side)
        tiles = [(caption, output[y : y + side, x : x + side]) for caption, output in outputs.items()]
        if testset and testset.scale and key[1] in testset.names:
            image, scale = testset.read(list(testset.names).index(key[1])), testset.scale
            assert image.hr is not None
            low = image.lr[y // scale : (y + side) // scale, x // scale : (x + side) // scale]
            tiles = [("LR", low), *tiles, ("HR", image.hr[y : y + side, x : x + side])]
        yield Line(key, tiles)


def most_different(images: Sequence[np.ndarray], side: int) -> tuple[int, int]:
    """Top left corner of the crop in which the images differ most from each other."""
    return busiest(np.stack(images).astype(np.float32).var(axis=0).sum(axis=2), side)


def busiest(energy: np.ndarray, side: int) -> tuple[int, int]:
    """Top left corner of the crop with the largest sum, of float32 [H, W]."""
    sums = cv2.boxFilter(energy, -1, (side, side), borderType=cv2.BORDER_CONSTANT)
    centre = np.unravel_index(int(sums.argmax()), sums.shape)
    y, x = (max(0, min(int(c) - side // 2, n - side)) for c, n in zip(centre, energy.shape, strict=True))
    return y, x
