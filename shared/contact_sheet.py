"""Contact sheets: words and images side by side, a line for each image, as one PNG."""

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARGIN, CAPTION, FONT_SIZE, SPACING = 8, 20, 14, 22
MAX_LETTERS = 72
"""Letters in one line of words; longer lines are folded."""
INK, PAPER, RULE = "#1a1a1a", "#ffffff", "#dcdcdc"


class Line(NamedTuple):
    """words: lines of text, shown at the left. tiles: (caption, uint8 [h, w, 3] RGB), shown from left to right."""

    words: Sequence[str]
    tiles: Sequence[tuple[str, np.ndarray]]


def contact_sheet(lines: Sequence[Line], side: int = 192, title: str = "") -> bytes:
    """Draw the lines below each other. Returns a PNG.

    side: width and height of a tile in pixels. Smaller images are upscaled by nearest neighbour, so that each pixel
    shown is one of the image; larger ones are reduced.
    """
    words = [[part for text in line.words for part in _folded(text)] for line in lines]
    label = max((int(_font().getlength(text)) for texts in words for text in texts), default=0)
    left = MARGIN + (label + 2 * MARGIN if label else 0)
    cell = side + MARGIN
    columns = max(len(line.tiles) for line in lines)
    heights = [max(cell + CAPTION, SPACING * len(texts)) + MARGIN for texts in words]
    top = MARGIN + (SPACING + MARGIN if title else 0)
    size = (left + columns * cell, top + sum(heights))
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), _fitted(title, size[0] - 2 * MARGIN), INK, _font())
    for line, texts, height in zip(lines, words, heights, strict=True):
        pen.line([(MARGIN, top), (size[0] - MARGIN, top)], RULE)
        for number, text in enumerate(texts):
            pen.text((MARGIN, top + CAPTION + SPACING * number), text, INK, _font())
        for column, tile in enumerate(line.tiles):
            _place(sheet, tile, left + column * cell, top, side)
        top += height
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _place(sheet: Image.Image, tile: tuple[str, np.ndarray], left: int, top: int, side: int) -> None:
    """Put a tile into a square, with its caption above."""
    caption, image = tile
    height, width = image.shape[:2]
    ratio = side / max(height, width)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    method = Image.Resampling.NEAREST if ratio >= 1 else Image.Resampling.LANCZOS
    ImageDraw.Draw(sheet).text((left + side / 2, top + 2), _fitted(caption, side), INK, _font(), anchor="ma")
    shown = Image.fromarray(np.ascontiguousarray(image)).resize(size, method)
    sheet.paste(shown, (left + (side - size[0]) // 2, top + CAPTION + (side - size[1]) // 2))


def _fitted(text: str, width: float) -> str:
    """The end of the text that is no wider than so many pixels: names differ at their ends."""
    text = _shown(text)[-MAX_LETTERS:]
    while text and _font().getlength(text) > width:
        text = text[1:]
    return text


def _folded(text: str) -> list[str]:
    text = _shown(text)
    return [text[first : first + MAX_LETTERS] for first in range(0, max(len(text), 1), MAX_LETTERS)]


def _shown(text: str) -> str:
    """The text in the characters that Pillow's own font has."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)


@lru_cache(maxsize=1)
def _font() -> Any:
    return ImageFont.load_default(size=FONT_SIZE)
