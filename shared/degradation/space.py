"""Degradation spaces as data: every range and probability of the model, with the table it comes from.

Numbers: paper Tables 6-9 (the same in all four tasks unless a comment says so); what the tables leave open is
read as docs/method.md says, or taken from Real-ESRGAN's published options.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..errors import UsageError

MIN_PATCH = 74
"""Of an HR image: below it a kernel of 21 pixels has no reflect border after the smallest resize (factor .15)."""


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
    sizes: tuple[int, ...] = (7, 9, 11, 13, 15, 17, 19, 21)  # 2m+1, m in range(3, 11)
    sinc: float = 0.1
    beta_generalized: Range = Range(0.5, 4.0)
    beta_plateau: Range = Range(1.0, 2.0)
    theta: Range = Range(-math.pi, math.pi)


@dataclass(frozen=True)
class ResizeSpace:
    """Resize factors of one stage; `keep` is the stage's own target size, a factor of 1."""

    directions: Mapping[str, float]
    factor: Range
    modes: tuple[str, ...] = ("area", "bilinear", "bicubic")

    def factors(self, direction: str) -> tuple[float, float]:
        """Lowest and highest factor of a direction."""
        low, high = self.factor.low, self.factor.high
        return {"down": (low, min(1.0, high)), "keep": (1.0, 1.0), "up": (max(1.0, low), high)}[direction]

    def cut(self, index: int, parts: int) -> "ResizeSpace":
        """Part `index` of `parts` equal parts of the factors, with the directions that have factors in it."""
        factor = self.factor.cut(index, parts)
        within = {"down": factor.low < 1, "keep": 1 in factor, "up": factor.high > 1}
        kept = {name: p for name, p in self.directions.items() if within[name]}
        return ResizeSpace({name: p / sum(kept.values()) for name, p in kept.items()}, factor, self.modes)


@dataclass(frozen=True)
class NoiseSpace:
    """Noise levels of one stage: Gaussian sigma of 255, Poisson scale without unit."""

    gaussian_sigma_255: Range
    poisson_scale: Range
    kinds: Mapping[str, float]
    grey: float = 0.4


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
    orders: tuple[str, ...] = ("resize_sinc_jpeg", "jpeg_resize_sinc")
    modes: tuple[str, ...] = ("area", "bilinear", "bicubic")
    sizes: tuple[int, ...] = (7, 9, 11, 13, 15, 17, 19, 21)
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


ISO_ANISO = {"iso": 0.69, "aniso": 0.31}  # Tables 6-9: "iso/aniso with probability .69/.31"
SIX_FAMILIES = {  # Real-ESRGAN's options; the iso kinds sum to .69, the aniso kinds to .31
    "iso": 0.45,
    "aniso": 0.25,
    "generalized_iso": 0.12,
    "generalized_aniso": 0.03,
    "plateau_iso": 0.12,
    "plateau_aniso": 0.03,
}
HALF_HALF = {"gaussian": 0.5, "poisson": 0.5}
# Tables 6-9 list [.2, .7, .1] under "down / same / up"; Real-ESRGAN lists the same numbers as up / down / keep.
AS_LABELLED = ResizeSpace({"down": 0.2, "keep": 0.7, "up": 0.1}, Range(0.15, 1.5))
AS_REALESRGAN = ResizeSpace({"up": 0.2, "down": 0.7, "keep": 0.1}, Range(0.15, 1.5))


def _paper(name: str, families: Mapping[str, float], resize: ResizeSpace) -> Space:
    """The union of Tables 6 (mild), 7 (blur), 8 (noise) and 9 (severe), which meet at the middle of every range."""
    return Space(
        name=name,
        blur1=BlurSpace(Range(1.6, 3.0), families),  # Tables 6, 8: [1.6, 2.3]; Tables 7, 9: [2.3, 3]
        resize1=resize,
        noise1=NoiseSpace(  # Tables 6, 7: [1, 4.5] and [.1, .4]; Tables 8, 9: [4.5, 8] and [.4, .7]
            Range(1.0, 8.0), Range(0.1, 0.7), HALF_HALF
        ),
        jpeg1=JpegSpace(),
        blur2=BlurSpace(Range(0.8, 1.6), families, apply=0.8),  # Tables 6, 8: [.8, 1.2]; Tables 7, 9: [1.2, 1.6]
        resize2=resize,
        noise2=NoiseSpace(  # Tables 6, 7: [1, 4] and [.1, .35]; Tables 8, 9: [4, 7] and [.35, .6]
            Range(1.0, 7.0), Range(0.1, 0.6), HALF_HALF
        ),
        jpeg2=JpegSpace(),
        final=FinalSpace(),
    )


def _widened(space: Space, sigma1: tuple[float, float], gaussian1: tuple[float, float]) -> Space:
    """`space` with other ranges of stage 1; stage 2 and the Poisson scales go on in the proportion of the tables."""

    def wider(bounds: Range, like: Range, ends: tuple[float, float]) -> Range:
        low, high = (bounds.at((end - like.low) / (like.high - like.low)) for end in ends)
        return Range(low, high)

    def blur(ranges: BlurSpace) -> BlurSpace:
        return replace(ranges, sigma=wider(ranges.sigma, space.blur1.sigma, sigma1))

    def noise(ranges: NoiseSpace) -> NoiseSpace:
        gaussian, poisson = (
            wider(bounds, space.noise1.gaussian_sigma_255, gaussian1)
            for bounds in (ranges.gaussian_sigma_255, ranges.poisson_scale)
        )
        return replace(ranges, gaussian_sigma_255=gaussian, poisson_scale=poisson)

    return replace(
        space,
        name=f"{space.name}-wide",
        blur1=blur(space.blur1),
        blur2=blur(space.blur2),
        noise1=noise(space.noise1),
        noise2=noise(space.noise2),
    )


PAPER = _paper("paper", ISO_ANISO, AS_LABELLED)

SPACES: dict[str, Space] = {
    space.name: space
    for space in (
        PAPER,
        _widened(PAPER, (0.4, 3.8), (1.0, 19.0)),  # Fig. 9: where the linear trend of imbalance was looked for
        _paper("paper-realesrgan", SIX_FAMILIES, AS_REALESRGAN),
        Space(  # Real-ESRGAN's options for x4plus
            name="realesrgan",
            blur1=BlurSpace(Range(0.2, 3.0), SIX_FAMILIES),
            resize1=AS_REALESRGAN,
            noise1=NoiseSpace(Range(1.0, 30.0), Range(0.05, 3.0), HALF_HALF),
            jpeg1=JpegSpace(),
            blur2=BlurSpace(Range(0.2, 1.5), SIX_FAMILIES, apply=0.8),
            resize2=ResizeSpace({"up": 0.3, "down": 0.4, "keep": 0.3}, Range(0.3, 1.2)),
            noise2=NoiseSpace(Range(1.0, 25.0), Range(0.05, 2.5), HALF_HALF),
            jpeg2=JpegSpace(),
            final=FinalSpace(),
            default_partition="full",
        ),
    )
}


def get_space(name: str) -> Space:
    """The space of that name. Raises `UsageError` for an unknown one."""
    if name not in SPACES:
        raise UsageError(f"unknown space {name!r}: choose one of {', '.join(SPACES)}")
    return SPACES[name]
