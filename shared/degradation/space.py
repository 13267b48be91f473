"""Degradation spaces as data: every range and probability of the second-order model (`Space`).

The spaces that have a name are in `presets`; `space_file` reads others from YAML.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..errors import UsageError

MIN_PATCH = 74
"""Smallest side of an HR image, pixels, for resize factors from 0.15 on; `Space.least_patch` is the general rule."""
KERNEL_FAMILIES = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
KERNEL_SIZES = (7, 9, 11, 13, 15, 17, 19, 21)  # 2m+1, m in range(3, 11)
RESIZE_DIRECTIONS = ("up", "down", "keep")
RESIZE_MODES = ("area", "bilinear", "bicubic")
NOISE_KINDS = ("gaussian", "poisson")
FINAL_ORDERS = ("resize_sinc_jpeg", "jpeg_resize_sinc")


@dataclass(frozen=True)
class Range:
    """An interval of the real line, [low, high] or, when not `closed`, [low, high)."""

    low: float
    high: float
    closed: bool = True

    def cut(self, index: int, parts: int) -> "Range":
        """Part `index` of `parts` equal parts: half-open, except that the last keeps this range's end."""
        last = index == parts - 1
        low, high = (round(self.low + (self.high - self.low) * i / parts, 12) for i in (index, index + 1))
        return Range(low, self.high if last else high, self.closed and last)

    def __contains__(self, value: float) -> bool:
        return self.low <= value < self.high or (self.closed and value == self.high)

    def at(self, position: float) -> float:
        """The value at a position along the range, 0 at its low end and 1 at its high one; it goes on beyond both."""
        return round(self.low + position * (self.high - self.low), 12)


@dataclass(frozen=True)
class BlurSpace:
    """Kernels of one stage: sizes in pixels, sigma in pixels, angles in radians."""

    sigma: Range
    families: Mapping[str, float]
    apply: float = 1.0
    sizes: tuple[int, ...] = KERNEL_SIZES
    sinc: float = 0.1
    beta_generalized: Range = Range(0.5, 4.0)
    beta_plateau: Range = Range(1.0, 2.0)
    theta: Range = Range(-math.pi, math.pi)

    def cut(self, index: int, parts: int) -> "BlurSpace":
        """Part `index` of `parts` equal parts of sigma."""
        return replace(self, sigma=self.sigma.cut(index, parts))


@dataclass(frozen=True)
class ResizeSpace:
    """Resize factors of one stage; `keep` is the stage's own target size, a factor of 1."""

    directions: Mapping[str, float]
    factor: Range
    modes: tuple[str, ...] = RESIZE_MODES

    def factors(self, direction: str) -> tuple[float, float]:
        """Lowest and highest factor of a direction."""
        low, high = self.factor.low, self.factor.high
        return {"down": (low, min(1.0, high)), "keep": (1.0, 1.0), "up": (max(1.0, low), high)}[direction]

    def cut(self, index: int, parts: int) -> "ResizeSpace":
        """Part `index` of `parts` equal parts of the factors, with the directions that have factors in it.

        Raises `UsageError` when none has.
        """
        factor = self.factor.cut(index, parts)
        within = {"down": factor.low < 1, "keep": 1 in factor, "up": factor.high > 1}
        kept = {name: p for name, p in self.directions.items() if within[name]}
        if not sum(kept.values()):
            raise UsageError(
                f"part {index} of {parts} of the resize factors, {factor.low} .. {factor.high}, holds none that the "
                f"directions {', '.join(self.directions)} can draw: ask for fewer parts"
            )
        return ResizeSpace({name: p / sum(kept.values()) for name, p in kept.items()}, factor, self.modes)


@dataclass(frozen=True)
class NoiseSpace:
    """Noise levels of one stage: Gaussian sigma of 255, Poisson scale without unit."""

    gaussian_sigma_255: Range
    poisson_scale: Range
    kinds: Mapping[str, float]
    grey: float = 0.4

    def cut(self, index: int, parts: int) -> "NoiseSpace":
        """Part `index` of `parts` equal parts of the levels of both kinds."""
        gaussian, poisson = (each.cut(index, parts) for each in (self.gaussian_sigma_255, self.poisson_scale))
        return replace(self, gaussian_sigma_255=gaussian, poisson_scale=poisson)


@dataclass(frozen=True)
class JpegSpace:
    """JPEG quality, integers low .. high, both included."""

    low: int = 30
    high: int = 95

    def cut(self, index: int, parts: int) -> "JpegSpace":
        """Part `index` of `parts` runs of qualities, nearly equal. Raises `UsageError` for too many parts."""
        count = self.high - self.low + 1
        if parts > count:
            raise UsageError(f"{parts} parts of the {count} JPEG qualities {self.low} .. {self.high}: ask for fewer")
        return JpegSpace(self.low + count * index // parts, self.low + count * (index + 1) // parts - 1)


@dataclass(frozen=True)
class FinalSpace:
    """The last step: the order of resize and JPEG is a fair coin, the sinc filter has its own probability."""

    sinc: float = 0.8
    orders: tuple[str, ...] = FINAL_ORDERS
    modes: tuple[str, ...] = RESIZE_MODES
    sizes: tuple[int, ...] = KERNEL_SIZES
    omega: Range = Range(math.pi / 3, math.pi)


@dataclass(frozen=True)
class Space:
    """A degradation space, whole or one box of it: the ranges of both stages and of the final step."""

    name: str
    blur1: BlurSpace
    resize1: ResizeSpace
    noise1: NoiseSpace
    jpeg1: JpegSpace
    blur2: BlurSpace
    resize2: ResizeSpace
    noise2: NoiseSpace
    jpeg2: JpegSpace
    final: FinalSpace
    default_partition: str = "2x2"

    def least_patch(self, scale: int) -> int:
        """Smallest side of an HR image, pixels: a multiple of the scale, at least `MIN_PATCH`.

        A blur with reflect borders needs an image whose sides exceed half the kernel size. The smallest images are
        those after resize 1, which blur 2 filters, and those of LR size, which the final sinc filter filters.
        """
        side = max(*self.blur1.sizes, *self.blur2.sizes, *self.final.sizes) // 2 + 1
        low = min(1.0, self.resize1.factor.low)
        patch = max(MIN_PATCH, math.ceil(side / low), side * scale)
        patch += -patch % scale
        return patch if math.floor(low * patch) >= side else patch + scale  # low * patch may be rounded down
