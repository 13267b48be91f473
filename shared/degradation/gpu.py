"""The torch backend: executes a batch of plans on one device, step by step (method notes, Section 3).

Plans differ from sample to sample, launches are shared: at each turn the samples whose next step is the same operator
lie on a few common canvases (`gpu_canvas`) and take the step together. Everything the host must know is in the plans,
so it never waits for the device. With noise off an LR image is the same on every device, in every batch and canvas:
filters and JPEG are exact integer arithmetic (`gpu_filter`, `gpu_jpeg`), the rest is done one pixel at a time.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.degradation.gpu_canvas import (
    WASTED_PIXELS,
    WASTED_PIXELS_ELSEWHERE,
    Canvas,
    canvas_side,
    group,
    merge,
    to_device,
)
from shared.degradation.gpu_filter import blur, resize
from shared.degradation.gpu_jpeg import from_levels, jpeg, to_levels
from shared.degradation.gpu_noise import noise
from shared.degradation.gpu_steps import Steps, steps_of
from shared.degradation.plan import Plan

OPERATORS: Mapping[str, Callable[[Canvas, Sequence[Any]], Canvas]] = {
    "blur": blur,
    "resize": resize,
    "noise": noise,
    "jpeg": jpeg,
}
SCHEDULE = ("blur", "resize", "noise", "jpeg") * 2 + ("resize", "blur", "jpeg")
"""Turns of the operators: the longest plan with both places of its second JPEG. It repeats for any other order."""
SMALLEST_SIDE = 74
"""Pixels of the HR side: what leaves 11, a reflect border for a 21 x 21 kernel, after the smallest resize (.15)."""
BYTES_PER_PIXEL = 192
"""Most bytes alive at once for each pixel of a plan's largest canvas (measured by a test)."""
BUDGET_BYTES = 2 << 30


def render(hr: Tensor, plans: Sequence[Plan], scale: int = 4, budget_bytes: int = BUDGET_BYTES) -> Tensor:
    """Degrade each HR image as its own plan says, on the device of `hr`.

    hr: uint8 [B, 3, H, W] RGB, or float32 in [0, 1] (a sharpened HR).
    budget_bytes: working memory; a batch that could need more is rendered in parts (one sample at least), which changes
    nothing in the result. Tables (40 MB a device), the workspace of matrix products and the result come on top.
    Returns the LR images, uint8 [B, 3, H // scale, W // scale], RGB.
    Raises ValueError when plans and pictures differ in number or a side is under 74 pixels.
    """
    lr_height, lr_width = hr.shape[2] // scale, hr.shape[3] // scale
    return execute(hr, [steps_of(plan, lr_height, lr_width) for plan in plans], scale, budget_bytes)


def execute(hr: Tensor, steps: Sequence[Steps], scale: int = 4, budget_bytes: int = BUDGET_BYTES) -> Tensor:
    """What `render` does, for plans whose steps were worked out before (`gpu_steps.steps_of`)."""
    if len(steps) != len(hr):
        raise ValueError(f"there are {len(steps)} plans for {len(hr)} pictures: one each is needed")
    height, width = hr.shape[2:]
    if min(height, width) < SMALLEST_SIDE:
        raise ValueError(f"the HR images are {height} x {width} pixels: both sides must be {SMALLEST_SIDE} or more")
    out = torch.empty(len(hr), 3, height // scale, width // scale, dtype=torch.uint8, device=hr.device)
    for start, end in _parts([_working_bytes(s, height, width) for s in steps], budget_bytes):
        _render_part(hr[start:end], steps[start:end], out[start:end])
    return out


def working_bytes(plan: Plan, height: int, width: int, scale: int = 4) -> int:
    """The most working memory that a sample of a batch needs, for an HR image of height x width pixels."""
    return _working_bytes(plan.steps(height // scale, width // scale), height, width)


def _working_bytes(steps: Iterable[tuple[str, Any]], height: int, width: int) -> int:
    sizes = [(height, width)] + [(p.height, p.width) for operator, p in steps if operator == "resize"]
    # Matrices of filters have the squares of the sides.
    return max(BYTES_PER_PIXEL * max(canvas_side(side) for side in size) ** 2 for size in sizes)


def _parts(costs: Sequence[int], budget: int) -> Iterator[tuple[int, int]]:
    """Ranges (start, end) of samples that share a budget when all lie on canvases of the largest."""
    start = largest = 0
    for index, cost in enumerate(costs):
        if index > start and max(largest, cost) * (index + 1 - start) > budget:
            yield start, index
            start, largest = index, 0
        largest = max(largest, cost)
    if costs:
        yield start, len(costs)


def _render_part(hr: Tensor, steps: Sequence[Steps], out: Tensor) -> None:
    count, _, height, width = hr.shape
    hr = hr.contiguous()
    pixels = from_levels(hr) if hr.dtype == torch.uint8 else hr
    canvases = [merge([Canvas(pixels, tuple(range(count)), (height,) * count, (width,) * count)])]
    queues = [deque(s) for s in steps]
    for operator in cycle(SCHEDULE):
        if not any(queues):
            break
        ready = {sample for sample, queue in enumerate(queues) if queue and queue[0][0] == operator}
        pieces, canvases = _split(canvases, ready)
        for canvas in _arranged(pieces, queues):
            canvases.append(OPERATORS[operator](canvas, [queues[sample].popleft()[1] for sample in canvas.samples]))
    for canvas in canvases:
        levels = to_levels(canvas.pixels[:, :, : out.shape[2], : out.shape[3]]).byte()
        out[to_device(np.array(canvas.samples), out.device)] = levels


def _split(canvases: Sequence[Canvas], wanted: set[int]) -> tuple[list[Canvas], list[Canvas]]:
    """The pictures of the wanted samples, and the others."""
    chosen: list[Canvas] = []
    others: list[Canvas] = []
    for canvas in canvases:
        for pieces, is_wanted in ((chosen, True), (others, False)):
            rows = [row for row, sample in enumerate(canvas.samples) if (sample in wanted) == is_wanted]
            if rows:
                pieces.append(canvas.pick(rows))
    return chosen, others


def _arranged(pieces: Sequence[Canvas], queues: Sequence[deque[tuple[str, Any]]]) -> Iterator[Canvas]:
    """The pictures of all pieces on few canvases of similar sizes, before and after the step that is next."""
    places = [(piece, row) for piece in range(len(pieces)) for row in range(len(pieces[piece].samples))]
    shapes = []
    for piece, row in places:
        operator, parameters = queues[pieces[piece].samples[row]][0]
        after = [(parameters.height, parameters.width)] if operator == "resize" else []
        shapes.append([pieces[piece].sizes[row], *after])
    device = pieces[0].device.type if pieces else ""
    for members in group(shapes, WASTED_PIXELS.get(device, WASTED_PIXELS_ELSEWHERE)):
        rows: dict[int, list[int]] = {}
        for member in sorted(members):
            piece, row = places[member]
            rows.setdefault(piece, []).append(row)
        yield merge([pieces[piece].pick(chosen) for piece, chosen in rows.items()])
