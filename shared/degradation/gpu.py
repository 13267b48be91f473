"""The torch backend: executes a batch of plans on one device, step by step (docs/method.md).

Plans differ from sample to sample, launches are shared: at each turn the samples whose next step is the same operator
lie on a few common canvases (`gpu_canvas`) and take the step together. Everything the host must know is in the plans,
so it never waits for the device. With noise off an LR image is the same on every device, in every batch and canvas:
filters and JPEG are exact integer arithmetic (`gpu_filter`, `gpu_jpeg`), the rest is done one pixel at a time.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .gpu_canvas import WASTED_PIXELS, WASTED_PIXELS_ELSEWHERE, Canvas, canvas_side, group, merge, to_device, to_levels
from .gpu_filter import filtered, prepare
from .gpu_jpeg import jpeg
from .gpu_noise import noise
from .gpu_steps import Filter, Steps, steps_of
from .plan import Plan
from .space import MIN_PATCH

Operator = Callable[[Canvas, Sequence[Any]], Canvas]
OPERATORS: Mapping[str, Operator] = {"blur": filtered, "resize": filtered, "noise": noise, "jpeg": jpeg}
SCHEDULE: tuple[Operator, ...] = (filtered, noise, jpeg) * 2 + (filtered, filtered, jpeg)
"""Order in which operators take turns: that of the longest plan, with both places of its second JPEG. It repeats."""
BYTES_PER_PIXEL, BYTES_PER_TERM = 192, 64
"""Upper bounds of the memory in use at once: bytes per pixel of a sample's largest canvas, and bytes per pixel for each
further term of its kernel. A test measures them."""
BUDGET_BYTES = 3 << 30


def render(hr: Tensor, plans: Sequence[Plan], scale: int = 4, budget_bytes: int = BUDGET_BYTES) -> Tensor:
    """Degrade each HR image as its own plan says, on the device of `hr`.

    hr: uint8 [B, 3, H, W] RGB, or float32 in [0, 1] (a sharpened HR).
    budget_bytes: working memory; a batch that could need more is rendered in parts (one sample at least), which changes
    nothing in the result. Tables (40 MB a device), the workspace of matrix products and the result come on top.
    Returns the LR images, uint8 [B, 3, H // scale, W // scale], RGB.
    Raises ValueError when plans and images differ in number or a side is under 74 pixels.
    """
    lr_height, lr_width = hr.shape[2] // scale, hr.shape[3] // scale
    return execute(hr, [steps_of(plan, lr_height, lr_width) for plan in plans], scale, budget_bytes)


def execute(hr: Tensor, steps: Sequence[Steps], scale: int = 4, budget_bytes: int = BUDGET_BYTES) -> Tensor:
    """`render` for plans whose steps were prepared before by `gpu_steps.steps_of`."""
    if len(steps) != len(hr):
        raise ValueError(f"there are {len(steps)} plans for {len(hr)} images: one each is needed")
    height, width = hr.shape[2:]
    if min(height, width) < MIN_PATCH:
        raise ValueError(f"the HR images are {height} x {width} pixels: both sides must be {MIN_PATCH} or more")
    out = torch.empty(len(hr), 3, height // scale, width // scale, dtype=torch.uint8, device=hr.device)
    for start, end in _parts([_work(s, height, width) for s in steps], budget_bytes):
        _render_part(hr[start:end], steps[start:end], out[start:end])
    return out


def working_bytes(plan: Plan, height: int, width: int) -> int:
    """Upper bound of a sample's working memory, bytes, for an HR image of height x width pixels and scale 4."""
    pixels, bytes_per_pixel = _work(steps_of(plan, height // 4, width // 4), height, width)
    return math.ceil(pixels * bytes_per_pixel)


def _work(steps: Steps, height: int, width: int) -> tuple[int, float]:
    """Pixels of a sample's largest canvas, and bytes per pixel. Canvases count as squares: matrices are."""
    side = canvas_side(max(height, width))
    largest, most = side**2, BYTES_PER_PIXEL * side**2
    for blur, resize in (parameters for _, parameters in steps if isinstance(parameters, Filter)):
        before, side = side, canvas_side(max(resize.height, resize.width)) if resize else side
        num_terms, pixels = len(blur[0]) if blur else 1, max(before, side) ** 2
        most = max(most, (BYTES_PER_PIXEL + (num_terms - 1) * BYTES_PER_TERM) * pixels)
        largest = max(largest, pixels)
    return largest, most / largest


def _parts(work: Sequence[tuple[int, float]], budget: int) -> Iterator[tuple[int, int]]:
    """Ranges (start, end) of samples that share a budget when all lie on canvases of the largest."""
    start, largest, total = 0, 0, 0.0
    for index, (pixels, bytes_per_pixel) in enumerate(work):
        if index > start and max(largest, pixels) * (total + bytes_per_pixel) > budget:
            yield start, index
            start, largest, total = index, 0, 0.0
        largest, total = max(largest, pixels), total + bytes_per_pixel
    if work:
        yield start, len(work)


def _render_part(hr: Tensor, steps: Sequence[Steps], out: Tensor) -> None:
    count, _, height, width = hr.shape
    canvases = [merge([Canvas(hr.contiguous(), tuple(range(count)), (height,) * count, (width,) * count)])]
    queues = _queues(steps, height, width, hr.device)
    for operator in cycle(SCHEDULE):
        if not any(queues):
            break
        ready = {sample for sample, queue in enumerate(queues) if queue and queue[0][0] is operator}
        pieces, canvases = _split(canvases, ready)
        for canvas in _arranged(pieces, queues):
            canvases.append(operator(canvas, [queues[sample].popleft()[1] for sample in canvas.samples]))
    for canvas in canvases:
        levels = to_levels(canvas.pixels[:, :, : out.shape[2], : out.shape[3]])
        out[to_device(np.array(canvas.samples), out.device)] = levels


def _queues(steps: Sequence[Steps], height: int, width: int, device: torch.device) -> list[deque[tuple[Operator, Any]]]:
    """The steps of each sample, with prepared filters and without resizes to the size that the image has."""
    queues: list[list[tuple[Operator, Any]]] = []
    filters: list[Filter] = []
    sizes: list[tuple[int, int]] = []
    for sample in steps:
        queues.append([])
        size = height, width
        for operator, parameters in sample:
            if isinstance(parameters, Filter):
                before, size = size, parameters.size_after(size)
                if not parameters.blur and size == before:
                    continue
                sizes.append(before)
                filters.append(parameters)
            queues[-1].append((OPERATORS[operator], parameters))
    ready = iter(prepare(filters, sizes, device))
    return [deque((act, next(ready) if isinstance(p, Filter) else p) for act, p in queue) for queue in queues]


def _split(canvases: Sequence[Canvas], wanted: set[int]) -> tuple[list[Canvas], list[Canvas]]:
    """The images of the wanted samples, and those of the others."""
    chosen: list[Canvas] = []
    others: list[Canvas] = []
    for canvas in canvases:
        for pieces, is_wanted in ((chosen, True), (others, False)):
            rows = [row for row, sample in enumerate(canvas.samples) if (sample in wanted) == is_wanted]
            if rows:
                pieces.append(canvas.pick(rows))
    return chosen, others


def _arranged(pieces: Sequence[Canvas], queues: Sequence[deque[tuple[Operator, Any]]]) -> Iterator[Canvas]:
    """The images of all pieces on few canvases of similar sizes, before and after the step that is next."""
    places = [(piece, row) for piece in range(len(pieces)) for row in range(len(pieces[piece].samples))]
    shapes = []
    for piece, row in places:
        operator, parameters = queues[pieces[piece].samples[row]][0]
        after = [(parameters.height, parameters.width)] if operator is filtered else []
        shapes.append([pieces[piece].sizes[row], *after])
    device = pieces[0].device.type if pieces else ""
    for members in group(shapes, WASTED_PIXELS.get(device, WASTED_PIXELS_ELSEWHERE)):
        rows: dict[int, list[int]] = {}
        for member in sorted(members):
            piece, row = places[member]
            rows.setdefault(piece, []).append(row)
        yield merge([pieces[piece].pick(chosen) for piece, chosen in rows.items()])
