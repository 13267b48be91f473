"""Plans: the drawn numbers of one LR image as frozen data, and the drawing of them.

A plan is keyed by (seed, space, subspace, split, row) alone and says everything the degradation needs, in parameters
rather than pixels, so the same row can be rendered on any machine, by any backend, years later.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..seeds import Draws
from .partition import Subspace, get_subspace
from .presets import get_space
from .space import BlurSpace, FinalSpace, JpegSpace, NoiseSpace, Range, ResizeSpace, Space

PLAN_VERSION = 2


@dataclass(frozen=True)
class Blur:
    """A kernel by its parameters; those that its family does not use are 0.

    family: iso, aniso, generalized_iso, generalized_aniso, plateau_iso, plateau_aniso or sinc. size: pixels, odd.
    sigma_x, sigma_y: pixels. theta: rotation, radians. beta: shape. omega: cutoff of a sinc kernel, radians a pixel.
    """

    family: str
    size: int
    sigma_x: float = 0.0
    sigma_y: float = 0.0
    theta: float = 0.0
    beta: float = 0.0
    omega: float = 0.0


@dataclass(frozen=True)
class Resize:
    """direction: up, down or keep, as drawn. mode: area, bilinear or bicubic. height, width: of the result, pixels."""

    direction: str
    mode: str
    height: int
    width: int


@dataclass(frozen=True)
class Noise:
    """kind: gaussian (level is sigma of 255) or poisson (level is the scale). grey: one field for all channels."""

    kind: str
    level: float
    grey: bool
    seed: int


@dataclass(frozen=True)
class Sinc:
    """The final filter: size in pixels (odd), omega in radians a pixel."""

    size: int
    omega: float


@dataclass(frozen=True)
class Final:
    """order: resize_sinc_jpeg or jpeg_resize_sinc. The resize gives the LR size. sinc: None when it was not drawn."""

    order: str
    resize_mode: str
    sinc: Sinc | None = None


@dataclass(frozen=True)
class Plan:
    """All numbers drawn for one LR image; a skipped operator is None, and is absent from the JSON."""

    resize1: Resize
    noise1: Noise
    jpeg1: int
    resize2: Resize
    noise2: Noise
    jpeg2: int
    final: Final
    blur1: Blur | None = None
    blur2: Blur | None = None
    version: int = PLAN_VERSION

    def steps(self, lr_height: int, lr_width: int) -> Iterator[tuple[str, Any]]:
        """(operator, parameters) in the order of execution (docs/format.md, The plan), the final coin resolved."""
        yield from self._stage(self.blur1, self.resize1, self.noise1)
        yield "jpeg", self.jpeg1
        yield from self._stage(self.blur2, self.resize2, self.noise2)
        if self.final.order == "jpeg_resize_sinc":
            yield "jpeg", self.jpeg2
        yield "resize", Resize("keep", self.final.resize_mode, lr_height, lr_width)
        if self.final.sinc:
            yield "blur", Blur("sinc", self.final.sinc.size, omega=self.final.sinc.omega)
        if self.final.order == "resize_sinc_jpeg":
            yield "jpeg", self.jpeg2

    @staticmethod
    def _stage(blur: Blur | None, resize: Resize, noise: Noise) -> Iterator[tuple[str, Any]]:
        if blur:
            yield "blur", blur
        yield "resize", resize
        yield "noise", noise

    def to_json(self) -> str:
        """The published form: one line, numbers exact, skipped operators absent."""
        return _encode(self)

    @staticmethod
    def from_json(text: str) -> "Plan":
        """The plan that `to_json` wrote. Raises ValueError for another version or shape."""
        try:
            fields = json.loads(text)
            if fields["version"] != PLAN_VERSION:
                raise ValueError(f"plan version is {fields['version']}, this program reads {PLAN_VERSION}")
            final = dict(fields["final"])
            if "sinc" in final:
                final["sinc"] = Sinc(**final["sinc"])
            parts = {
                "final": Final(**final),
                **{key: Blur(**fields[key]) for key in ("blur1", "blur2") if key in fields},
                **{key: Resize(**fields[key]) for key in ("resize1", "resize2")},
                **{key: Noise(**fields[key]) for key in ("noise1", "noise2")},
            }
            return Plan(**{**fields, **parts})
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"not a plan: {error}") from error


def _present(part: Any) -> dict[str, Any]:
    """The fields of a part of a plan that are not None."""
    return {name: value for name, value in vars(part).items() if value is not None}


_encode = json.JSONEncoder(default=_present, separators=(",", ":"), sort_keys=True).encode


def draw_plan(subspace: Subspace, *, seed: int, split: str, row: int, height: int, width: int, scale: int = 4) -> Plan:
    """Draw the plan of one row from a subspace.

    height, width: size of the HR image in pixels; they scale the resize targets and change no draw.
    The stream is named by (seed, space, subspace, split, row): no other state, no other order.
    """
    draws = Draws(seed, "plan", subspace.space, subspace.name, split, row)
    ranges = subspace.ranges
    lr_size = (height // scale, width // scale)
    return Plan(
        blur1=SAMPLERS["blur"](draws, ranges.blur1),
        resize1=SAMPLERS["resize"](draws, ranges.resize1, (height, width)),
        noise1=SAMPLERS["noise"](draws, ranges.noise1),
        jpeg1=SAMPLERS["jpeg"](draws, ranges.jpeg1),
        blur2=SAMPLERS["blur"](draws, ranges.blur2),
        resize2=SAMPLERS["resize"](draws, ranges.resize2, lr_size),
        noise2=SAMPLERS["noise"](draws, ranges.noise2),
        jpeg2=SAMPLERS["jpeg"](draws, ranges.jpeg2),
        final=_sample_final(draws, ranges.final),
    )


def sample_plan(
    space: Space | str,
    subspace: str,
    seed: int,
    row: int,
    *,
    height: int,
    width: int,
    scale: int = 4,
    split: str = "train",
    partition: str | None = None,
) -> Plan:
    """The plan of one row of a subspace: equal arguments give the same plan on every machine.

    Args:
        space: a degradation space, or the name of a built-in one, such as paper or realesrgan.
        subspace: name of the subspace, such as noise; full for a space that is not cut.
        seed, row: number the plan; with the settings of `realsr render` this is the plan of that row of its shards.
        height, width: size of the HR image in pixels; the plan is for images of this size alone.
        scale: HR pixels per LR pixel.
        split: train, val, or any other name; each has plans of its own.
        partition: how the space is cut (default: as the space says, which is 2x2 for paper).

    Raises `UsageError` (a ValueError) for a name that does not exist.
    """
    cut = get_subspace(get_space(space) if isinstance(space, str) else space, partition, subspace)
    return draw_plan(cut, seed=seed, split=split, row=row, height=height, width=width, scale=scale)


def _within(draws: Draws, bounds: Range) -> float:
    value = draws.uniform(bounds.low, bounds.high)
    return value if value in bounds else math.nextafter(bounds.high, bounds.low)  # rounding met an open end


def _sample_blur(draws: Draws, ranges: BlurSpace) -> Blur | None:
    if not draws.coin(ranges.apply):
        return None
    size = draws.choice(ranges.sizes)
    if draws.coin(ranges.sinc):
        # Real-ESRGAN: small kernels cannot hold a low cutoff.
        return Blur("sinc", size, omega=draws.uniform(math.pi / 3 if size < 13 else math.pi / 5, math.pi))
    family = draws.pick(ranges.families)
    sigma_x = sigma_y = _within(draws, ranges.sigma)
    theta = beta = 0.0
    if family.endswith("aniso"):
        sigma_y, theta = _within(draws, ranges.sigma), _within(draws, ranges.theta)
    if family.startswith(("generalized", "plateau")):
        bounds = ranges.beta_generalized if family.startswith("generalized") else ranges.beta_plateau
        below_one = draws.coin(0.5)  # Real-ESRGAN: a fair coin chooses the side of 1
        beta = draws.uniform(bounds.low, 1.0) if below_one else draws.uniform(1.0, bounds.high)
    return Blur(family, size, sigma_x, sigma_y, theta, beta)


def _sample_resize(draws: Draws, ranges: ResizeSpace, keep: tuple[int, int]) -> Resize:
    direction = draws.pick(ranges.directions)
    factor, mode = draws.uniform(*ranges.factors(direction)), draws.choice(ranges.modes)
    return Resize(direction, mode, *(max(1, math.floor(factor * side)) for side in keep))


def _sample_noise(draws: Draws, ranges: NoiseSpace) -> Noise:
    kind = draws.pick(ranges.kinds)
    level = _within(draws, ranges.gaussian_sigma_255 if kind == "gaussian" else ranges.poisson_scale)
    return Noise(kind, level, draws.coin(ranges.grey), draws.word() >> 11)  # 53 bits: exact in every JSON reader


def _sample_jpeg(draws: Draws, ranges: JpegSpace) -> int:
    return ranges.low + draws.integer(ranges.high - ranges.low + 1)


def _sample_final(draws: Draws, ranges: FinalSpace) -> Final:
    order, mode = draws.choice(ranges.orders), draws.choice(ranges.modes)
    if not draws.coin(ranges.sinc):
        return Final(order, mode)
    return Final(order, mode, Sinc(draws.choice(ranges.sizes), _within(draws, ranges.omega)))


SAMPLERS: Mapping[str, Callable[..., Any]] = {
    "blur": _sample_blur,
    "resize": _sample_resize,
    "noise": _sample_noise,
    "jpeg": _sample_jpeg,
}
