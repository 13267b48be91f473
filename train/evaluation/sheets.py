"""Contact sheets: a line for each image, its crops side by side with their captions."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

TILE = 192
"""Side of a tile, pixels."""
MARGIN, LABEL, CAPTION = 6, 150, 20
LETTERS = 19
"""In a line of a label."""


class Line(NamedTuple):
    """label: what the line shows, lines of text. crops: (caption, uint8 [n, n, 3] RGB) from left to right."""

    label: str
    crops: Sequence[tuple[str, np.ndarray]]


def sheet(lines: Sequence[Line]) -> bytes:
    """PNG. Crops are upscaled by nearest neighbour, so that every pixel is one that a system made."""
    columns = max(len(line.crops) for line in lines)
    height = TILE + CAPTION + MARGIN
    canvas = Image.new("RGB", (LABEL + columns * (TILE + MARGIN), len(lines) * height + MARGIN), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=13)
    for number, line in enumerate(lines):
        top = MARGIN + number * height
        draw.multiline_text((6, top + CAPTION + TILE / 2), _fold(line.label), "black", font, anchor="lm", spacing=6)
        for column, (caption, crop) in enumerate(line.crops):
            left = LABEL + column * (TILE + MARGIN)
            draw.text((left + TILE / 2, top + 2), caption, "black", font, anchor="ma")
            large = cv2.resize(crop, (TILE, TILE), interpolation=cv2.INTER_NEAREST)
            canvas.paste(Image.fromarray(large), (left, top + CAPTION))
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def most_different(pictures: Sequence[np.ndarray], side: int) -> tuple[int, int]:
    """Top left corner of the crop in which the pictures differ most from each other."""
    return busiest(np.stack(pictures).astype(np.float32).var(axis=0).sum(axis=2), side)


def busiest(energy: np.ndarray, side: int) -> tuple[int, int]:
    """Top left corner of the crop with the largest sum, of float32 [H, W]."""
    sums = cv2.boxFilter(energy, -1, (side, side), borderType=cv2.BORDER_CONSTANT)
    centre = np.unravel_index(int(sums.argmax()), sums.shape)
    y, x = (max(0, min(int(c) - side // 2, n - side)) for c, n in zip(centre, energy.shape, strict=True))
    return y, x


def _fold(text: str) -> str:
    return "\n".join(line[i : i + LETTERS] for line in text.split("\n") for i in range(0, max(len(line), 1), LETTERS))
