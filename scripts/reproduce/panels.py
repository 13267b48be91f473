"""Pictures of crops as papers show them: the whole picture with a box on it, and beside it that box of every system."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

TILE = 192
"""Side of a crop as shown, pixels."""
ROWS = 2
CAPTION, MARGIN = 40, 8
MAX_ASPECT = 1.6
"""Of the space for the whole picture."""
RED = (220, 30, 30)


class Box(NamedTuple):
    """Top left corner and side of a square, HR pixels."""

    x: int
    y: int
    side: int


class Panel(NamedTuple):
    """title: below the whole picture. whole: uint8 [H, W, 3] RGB. crops: (two lines of caption, uint8 [n, n, 3])."""

    title: str
    whole: np.ndarray
    box: Box
    crops: Sequence[tuple[str, np.ndarray]]


def draw(panels: Sequence[Panel]) -> Image.Image:
    """The panels below each other. Crops are upscaled by nearest neighbour: every pixel is one that a system made."""
    columns = max(-(-len(panel.crops) // ROWS) for panel in panels)
    height = ROWS * (TILE + CAPTION) + MARGIN
    inner = height - CAPTION - MARGIN
    left = max(min(int(inner * p.whole.shape[1] / p.whole.shape[0]), int(inner * MAX_ASPECT)) for p in panels)
    size = (2 * MARGIN + left + columns * (TILE + MARGIN), len(panels) * (height + MARGIN) + MARGIN)
    canvas = Image.new("RGB", size, "white")
    for number, panel in enumerate(panels):
        _draw(canvas, panel, MARGIN + number * (height + MARGIN), left, inner)
    return canvas


def _draw(canvas: Image.Image, panel: Panel, top: int, left: int, inner: int) -> None:
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    height, width = panel.whole.shape[:2]
    ratio = min(left / width, inner / height)
    shown = Image.fromarray(panel.whole).resize((round(width * ratio), round(height * ratio)), Image.Resampling.LANCZOS)
    x, y = MARGIN + (left - shown.width) // 2, top + (inner - shown.height) // 2
    canvas.paste(shown, (x, y))
    corners = [ratio * value for value in (panel.box.x, panel.box.y)]
    end = [corner + ratio * panel.box.side for corner in corners]
    pen.rectangle((x + corners[0], y + corners[1], x + end[0], y + end[1]), outline=RED, width=3)
    pen.text((x + shown.width / 2, y + shown.height + 4), panel.title, "black", font, anchor="ma")
    per_row = -(-len(panel.crops) // ROWS)
    for number, (caption, crop) in enumerate(panel.crops):
        row, column = divmod(number, per_row)
        place = (2 * MARGIN + left + column * (TILE + MARGIN), top + row * (TILE + CAPTION))
        canvas.paste(Image.fromarray(cv2.resize(crop, (TILE, TILE), interpolation=cv2.INTER_NEAREST)), place)
        words = (place[0] + TILE / 2, place[1] + TILE + 2)
        pen.multiline_text(words, caption, "black", font, anchor="ma", align="center", spacing=2)
