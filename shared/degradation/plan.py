"""Plans: the drawn numbers of one LR image as frozen data, and the drawing of them.

A plan is keyed by (seed, space, subspace, split, row) alone and says everything the degradation needs, in parameters
rather than pixels, so the same row can be rendered on any machine, by any backend, years later.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shared.degradation.partition import Subspace
from shared.degradation.space import BlurSpace, FinalSpace, JpegSpace, NoiseSpace, Range, ResizeSpace
from shared.seeds import Draws

PLAN_VERSION = 1


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
    """direction: up, down or keep (what was drawn). mode: area, bilinear or bicubic. height, width: pixels out."""

    direction: str
    mode: str
    height: int
    width: int


@dataclass(frozen=True)
class Noise:
    """kind: gaussian (level = sigma of 255) or poisson (level = scale). grey: one field for three channels."""

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
    """order: resize_sinc_jpeg or jpeg_resize_sinc. The resize goes to the LR size; no sinc when it was not drawn."""

    order: str
    resize_mode: str
    sinc: Sinc | None = None


@dataclass(frozen=True)
class Plan:
    """Everything drawn for one LR image; an operator that is skipped is None, and absent from the JSON."""

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
        """(operator, parameters) in the order of execution (method notes, Section 3), the final coin resolved."""
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
        return json.dumps(_without_none(asdict(self)), separators=(",", ":"), sort_keys=True)

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


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: _without_none(v) if isinstance(v, dict) else v for key, v in fields.items() if v is not None}


def sample_plan(
    subspace: Subspace, *, seed: int, split: str, row: int, height: int, width: int, scale: int = 4
) -> Plan:
    """Draw the plan of one row.

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
    bounds = {"up": (1.0, ranges.factor.high), "down": (ranges.factor.low, 1.0), "keep": (1.0, 1.0)}[direction]
    factor, mode = draws.uniform(*bounds), draws.choice(ranges.modes)
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


def violations(plan: Plan, subspace: Subspace) -> list[str]:
    """Names of the plan's numbers that the subspace cannot have drawn, such as `blur1.sigma_x` or `jpeg2`.

    Open ends of ranges are respected and types are checked. The heights and widths of the resizes need only be
    positive here: what they may be depends on the size of the picture.
    """
    found = []
    for name in ("blur1", "resize1", "noise1", "jpeg1", "blur2", "resize2", "noise2", "jpeg2", "final"):
        checks = CHECKS[name.rstrip("12")](getattr(plan, name), getattr(subspace.ranges, name))
        found += [f"{name}.{part}" if part else name for part, holds in checks.items() if not holds]
    return found


def _in(value: Any, bounds: Range) -> bool:
    return type(value) in (int, float) and value in bounds


def _one_of(value: Any, options: Sequence[int | str]) -> bool:
    return any(type(value) is type(option) and value == option for option in options)


def _drawn(name: Any, probabilities: Mapping[str, float]) -> bool:
    return _one_of(name, [option for option, probability in probabilities.items() if probability > 0])


def _check_blur(blur: Blur | None, ranges: BlurSpace) -> dict[str, bool]:
    if blur is None:
        return {"": ranges.apply < 1}
    size = {"": ranges.apply > 0, "size": _one_of(blur.size, ranges.sizes)}
    if blur.family == "sinc":
        small = size["size"] and blur.size < 13
        return size | {
            "family": ranges.sinc > 0,
            "omega": _in(blur.omega, Range(math.pi / 3 if small else math.pi / 5, math.pi)),
            **{name: getattr(blur, name) == 0 for name in ("sigma_x", "sigma_y", "theta", "beta")},
        }
    aniso, shaped = str(blur.family).endswith("aniso"), str(blur.family).startswith(("generalized", "plateau"))
    beta = ranges.beta_generalized if str(blur.family).startswith("generalized") else ranges.beta_plateau
    return size | {
        "family": _drawn(blur.family, ranges.families),
        "sigma_x": _in(blur.sigma_x, ranges.sigma),
        "sigma_y": _in(blur.sigma_y, ranges.sigma) if aniso else blur.sigma_y == blur.sigma_x,
        "theta": _in(blur.theta, ranges.theta) if aniso else blur.theta == 0,
        "beta": _in(blur.beta, beta) if shaped else blur.beta == 0,
        "omega": blur.omega == 0,
    }


def _check_resize(resize: Resize, ranges: ResizeSpace) -> dict[str, bool]:
    return {
        "direction": _drawn(resize.direction, ranges.directions),
        "mode": _one_of(resize.mode, ranges.modes),
        "height": type(resize.height) is int and resize.height > 0,
        "width": type(resize.width) is int and resize.width > 0,
    }


def _check_noise(noise: Noise, ranges: NoiseSpace) -> dict[str, bool]:
    return {
        "kind": _drawn(noise.kind, ranges.kinds),
        "level": _in(noise.level, ranges.gaussian_sigma_255 if noise.kind == "gaussian" else ranges.poisson_scale),
        "grey": type(noise.grey) is bool and (ranges.grey if noise.grey else 1 - ranges.grey) > 0,
        "seed": type(noise.seed) is int and 0 <= noise.seed < 2**53,
    }


def _check_jpeg(quality: int, ranges: JpegSpace) -> dict[str, bool]:
    return {"": type(quality) is int and ranges.low <= quality <= ranges.high}


def _check_final(final: Final, ranges: FinalSpace) -> dict[str, bool]:
    checks = {"order": _one_of(final.order, ranges.orders), "resize_mode": _one_of(final.resize_mode, ranges.modes)}
    if final.sinc is None:
        return checks | {"sinc": ranges.sinc < 1}
    return checks | {
        "sinc": ranges.sinc > 0,
        "sinc.size": _one_of(final.sinc.size, ranges.sizes),
        "sinc.omega": _in(final.sinc.omega, ranges.omega),
    }


CHECKS: Mapping[str, Callable[..., dict[str, bool]]] = {
    "blur": _check_blur,
    "resize": _check_resize,
    "noise": _check_noise,
    "jpeg": _check_jpeg,
    "final": _check_final,
}
