"""Print the numbers of a degradation space as YAML, or draw what it does.

SPACE is a name or a YAML file: our own printout, or an option file such as Real-ESRGAN's. The printout can be edited
and used: `realsr space paper > my.yaml`, then `realsr render --space my.yaml`. With --draw N a picture is
written instead, with histograms of N plans and examples of one HR image.

Examples:
realsr space paper
realsr space my.yaml --draw 1000 --out my.png
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gen.drawn import drawn_numbers, kernel_shares
from shared.command import next_step, spelling
from shared.config import argument, option, parse
from shared.degradation.partition import get_subspace
from shared.degradation.plan import Plan, draw_plan
from shared.degradation.presets import SPACES
from shared.degradation.space import Space
from shared.degradation.space_file import find_space, print_space
from shared.errors import UsageError, require_at_least, run_command

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

COLUMNS, EXAMPLES = 6, 11
PATCH, SCALE = 256, 4
BINS = 20
HEADER = """# Degradation space {name}. A range is [low, high]; sigmas are in pixels, angles in radians.
# Use an edited copy with: {render} --space FILE
"""


@dataclass(frozen=True)
class SpaceSettings:
    """What `gen.space` can be asked for."""

    space: str = argument(f"{', '.join(SPACES)}, or a YAML file")
    draw: int = option(0, "number of plans to draw; 0 prints the space instead")
    out: str | None = option(None, "picture to write with --draw (default: NAME.png, by the name of the space)")
    hr: str | None = option(None, f"HR image of the examples; its middle {PATCH} x {PATCH} pixels are used")
    seed: int = option(0, "seed of the plans")


def main(argv: list[str]) -> int:
    """The command; see `SpaceSettings`. Returns the exit code."""
    settings = parse(SpaceSettings, argv, spelling("space"), __doc__ or "")
    require_at_least(0, settings, "draw", "seed")
    space = find_space(settings.space)
    if not settings.draw:
        if settings.out or settings.hr:
            raise UsageError("--out and --hr belong to --draw N: without it the space is printed")
        print(HEADER.format(name=space.name, render=spelling("render")) + print_space(space), end="")
        return 0
    hr = _hr_image(settings.hr)
    out = Path(settings.out or f"{space.name}.png")
    if not out.resolve().parent.is_dir():
        raise UsageError(f"out is {str(out)!r}: there is no such folder")
    draw_space(space, settings.draw, settings.seed, hr, out)
    print(f"{out}: {settings.draw} plans of {space.name}")
    print(next_step("render", "--space", settings.space, "--dry-run"))
    return 0


def _hr_image(path: str | None) -> "np.ndarray":
    """The middle of an image, uint8 [PATCH, PATCH, 3], RGB: of scikit-image's astronaut if none is given."""
    from shared.images import decode

    if path is None:
        from skimage import data

        image = data.astronaut()
    elif Path(path).is_file():
        try:
            image = decode(Path(path).read_bytes(), path)
        except ValueError as error:
            raise UsageError(f"hr is {path!r}, which cannot be read: {error}") from error
    else:
        raise UsageError(f"hr is {path!r}: no such file")
    top, left = ((side - PATCH) // 2 for side in image.shape[:2])
    if min(top, left) < 0:
        raise UsageError(f"hr is {path!r}, {image.shape[1]} x {image.shape[0]} pixels: both must be at least {PATCH}")
    return image[top : top + PATCH, left : left + PATCH]


def draw_space(space: Space, count: int, seed: int, hr: "np.ndarray", out: Path) -> None:
    """Write a picture: histograms of `count` plans of the whole space, a row for each stage, then some LR images."""
    from matplotlib.figure import Figure

    from shared.degradation.cpu import render

    whole = get_subspace(space, "full", "full")
    plans = [
        draw_plan(whole, seed=seed, split="train", row=row, height=PATCH, width=PATCH, scale=SCALE)
        for row in range(count)
    ]
    figure = Figure(figsize=(3 * COLUMNS, 12), layout="constrained")
    figure.suptitle(f"Degradation space {space.name}: {count} plans, and examples for {PATCH} x {PATCH} pixels")
    axes = figure.subplots(4, COLUMNS)
    for stage, row in enumerate(axes[:2], start=1):
        _draw_histograms(row, plans, stage)
    pictures = [("HR", hr)]
    pictures += [(f"LR of plan {row}", render(hr, plan, SCALE)) for row, plan in enumerate(plans[:EXAMPLES])]
    for axis in axes[2:].flat:
        axis.axis("off")
    for axis, (title, picture) in zip(axes[2:].flat, pictures, strict=False):
        axis.set_title(title, fontsize=9)
        axis.imshow(picture, interpolation="nearest")
    figure.savefig(out, dpi=80)


def _draw_histograms(axes: "Sequence[Axes]", plans: Sequence[Plan], stage: int) -> None:
    shares = kernel_shares(plans, stage)
    axes[0].barh(list(shares), list(shares.values()))
    axes[0].set_title(f"Stage {stage}, Blur: share of kernel families", fontsize=9)
    bases = [PATCH if stage == 1 else PATCH // SCALE] * len(plans)
    for axis, (title, values, _) in zip(axes[1:], drawn_numbers(plans, stage, bases), strict=True):
        axis.set_title(f"Stage {stage}, {title} ({len(values)} values)", fontsize=9)
        if values:
            axis.hist(values, range(int(min(values)), int(max(values)) + 2) if isinstance(values[0], int) else BINS)
        axis.set_yticks([])


if __name__ == "__main__":
    sys.exit(run_command(main))
