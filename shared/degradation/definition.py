"""Definitions: a space as plain data, one entry for each of its numbers, and back with every entry checked.

A recipe holds the definition of a space that has no name of its own, so that its shards can be verified and rendered
again without the file that it was read from.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_origin, get_type_hints

from ..errors import UsageError
from ..records import canonical_json
from ..text import short
from .presets import get_space
from .space import FINAL_ORDERS, KERNEL_FAMILIES, NOISE_KINDS, RESIZE_DIRECTIONS, RESIZE_MODES, Range, Space

Definition = dict[str, dict[str, Any]]
"""Part of the space (blur1, ..., final) -> field -> number, [low, high], list of choices or {choice: probability}."""
PARTS: dict[str, type] = {
    name: kind for name, kind in get_type_hints(Space).items() if name not in ("name", "default_partition")
}
CHOICES: Mapping[str, Sequence[Any]] = {
    "families": KERNEL_FAMILIES,
    "directions": RESIZE_DIRECTIONS,
    "kinds": NOISE_KINDS,
    "modes": RESIZE_MODES,
    "orders": FINAL_ORDERS,
    "sizes": tuple(range(3, 22, 2)),
}
LIMITS: Mapping[str, tuple[float, float]] = {
    "sigma": (0.01, 50.0),
    "beta_generalized": (0.1, 10.0),
    "beta_plateau": (0.1, 10.0),
    "theta": (-2 * math.pi, 2 * math.pi),
    "factor": (0.02, 8.0),
    "gaussian_sigma_255": (0.0, 255.0),
    "poisson_scale": (0.0, 50.0),
    "omega": (0.1, 3.15),
}
"""Lowest and highest value that a range may have, by field."""
QUALITIES = range(1, 101)
FILE_PREFIX = "file-"


def to_definition(space: Space) -> Definition:
    """The numbers of a space, without its name and its default partition."""
    return {name: {key: _plain(value) for key, value in vars(getattr(space, name)).items()} for name in PARTS}


def _plain(value: Any) -> Any:
    if isinstance(value, Range):
        return [value.low, value.high]
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def from_definition(values: Any, called: Callable[[str], str] = str) -> Space:
    """The space of a definition, under the name `file-` and 12 hex digits of the hash of its numbers.

    The order of entries and choices does not matter. called: how errors name an entry such as `blur1.sigma`.
    Raises `UsageError` for an entry that is missing, unknown, of another type or out of bounds.
    """
    found = _entries(values)
    parts = {}
    for part, kind in PARTS.items():
        hints = get_type_hints(kind)
        parts[part] = kind(
            **{key: _checked(hints[key], key, found[f"{part}.{key}"], called(f"{part}.{key}")) for key in hints}
        )
    space = Space(name="", **parts)
    _check_together(space, called)
    digest = hashlib.sha256(canonical_json(to_definition(space))).hexdigest()
    return Space(name=f"{FILE_PREFIX}{digest[:12]}", **parts)


def _entries(values: Any) -> dict[str, Any]:
    """The entries of all parts, such as `blur1.sigma`. Raises `UsageError` for one that is missing or unknown."""
    known = [f"{part}.{key}" for part, kind in PARTS.items() for key in get_type_hints(kind)]
    if not isinstance(values, Mapping):
        raise UsageError(f"the definition of a space is {short(values)}: it must have the entries {', '.join(PARTS)}")
    found: dict[str, Any] = {}
    for part, entries in values.items():
        if part not in PARTS:
            raise unknown_key(part, PARTS)
        if not isinstance(entries, Mapping):
            raise UsageError(
                f"{part} is {short(entries)}: it must have the entries {', '.join(get_type_hints(PARTS[part]))}"
            )
        found |= {f"{part}.{key}": value for key, value in entries.items()}
    for name in found:
        if name not in known:
            raise unknown_key(name, known)
    if missing := [name for name in known if name not in found]:
        raise UsageError(f"the definition of a space lacks {', '.join(missing)}: write down all numbers")
    return found


def unknown_key(key: object, known: Iterable[str]) -> UsageError:
    """The error for an unknown key, with the nearest known one."""
    names = list(known)
    near = get_close_matches(str(key), names, 1)
    return UsageError(
        f"unknown key {short(key)}: {f'did you mean {near[0]}?' if near else 'choose ' + ', '.join(names)}"
    )


def _checked(kind: Any, key: str, value: Any, label: str) -> Any:
    """The value of an entry in the type of its field."""
    if kind is Range:
        return _range(value, LIMITS[key], label)
    if kind is float:
        return _number(value, (0.0, 1.0), label, "a probability")
    if kind is int:
        if type(value) not in (int, float) or value not in QUALITIES:
            raise UsageError(f"{label} is {short(value)}: it must be a JPEG quality, a whole number from 1 to 100")
        return int(value)
    return _choices(value, key, label) if get_origin(kind) is tuple else _probabilities(value, key, label)


def _number(value: Any, limits: tuple[float, float], label: str, what: str) -> float:
    low, high = limits
    if type(value) not in (int, float) or not low <= value <= high:
        raise UsageError(f"{label} is {short(value)}: it must be {what} from {low:.6g} to {high:.6g}")
    return float(value)


def _range(value: Any, limits: tuple[float, float], label: str) -> Range:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise UsageError(f"{label} is {short(value)}: it must be [low, high]")
    low, high = (_number(end, limits, label, "[low, high], both") for end in value)
    if low > high:
        raise UsageError(f"{label} is {short(value)}: it must be [low, high], low not above high")
    return Range(low, high)


def _choices(value: Any, key: str, label: str) -> tuple[Any, ...]:
    """Equally likely choices, in the order of `CHOICES`."""
    allowed = CHOICES[key]
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise UsageError(f"{label} is {short(value)}: it must be a list of {_words(allowed)}")
    for choice in value:
        if type(choice) is not type(allowed[0]) or choice not in allowed or list(value).count(choice) > 1:
            raise UsageError(f"{label} holds {short(choice)}: its entries must be {_words(allowed)}, each at most once")
    return tuple(choice for choice in allowed if choice in value)


def _probabilities(value: Any, key: str, label: str) -> dict[str, float]:
    """Probabilities by choice, in the order of `CHOICES`, without those of 0."""
    allowed = CHOICES[key]
    if not isinstance(value, Mapping) or not all(name in allowed for name in value):
        raise UsageError(f"{label} is {short(value)}: it must give a probability to {_words(allowed)}")
    numbers = {
        name: _number(value[name], (0.0, 1.0), f"{label}, {name},", "a probability")
        for name in allowed
        if name in value
    }
    if abs(sum(numbers.values()) - 1) > 1e-9:
        raise UsageError(
            f"{label} is {short(dict(value))}: its probabilities sum to {sum(numbers.values()):.6g}, not to 1"
        )
    return {name: number for name, number in numbers.items() if number}


def _words(allowed: Sequence[Any]) -> str:
    return ", ".join(map(str, allowed[:-1])) + f" or {allowed[-1]}"


def _check_together(space: Space, called: Callable[[str], str]) -> None:
    """Raises `UsageError` for numbers that do not go together."""
    for name in ("blur1", "blur2"):
        for key in ("beta_generalized", "beta_plateau"):
            bounds = getattr(getattr(space, name), key)
            if not bounds.low <= 1 <= bounds.high:
                raise UsageError(
                    f"{called(f'{name}.{key}')} is [{bounds.low}, {bounds.high}]: it must contain 1, since a fair coin "
                    "chooses the side of 1"
                )
    for name in ("resize1", "resize2"):
        resize = getattr(space, name)
        for direction in resize.directions:
            low, high = resize.factors(direction)
            if low > high:
                raise UsageError(
                    f"{called(f'{name}.factor')} is [{resize.factor.low}, {resize.factor.high}]: it has no factor for "
                    f"the direction {direction}, whose probability is {resize.directions[direction]}"
                )
    for name in ("jpeg1", "jpeg2"):
        jpeg = getattr(space, name)
        if jpeg.low > jpeg.high:
            raise UsageError(f"{called(f'{name}.low')} is {jpeg.low}: it must not be above {jpeg.high}")


def own_definition(space: Space) -> str:
    """What a recipe says of a space beyond its name: JSON of its definition, or nothing for one that `presets` has."""
    return canonical_json(to_definition(space)).decode() if space.name.startswith(FILE_PREFIX) else ""


def space_of(recipe: Mapping[str, Any]) -> Space:
    """The space of a recipe: by its `definition` where it has one, otherwise by its name.

    Raises `UsageError` for an unknown name and for a definition that is not a space, or not the one of that name.
    """
    name = recipe["space"]
    if "definition" not in recipe:
        return get_space(name)
    space = from_definition(recipe["definition"])
    if space.name != name:
        raise UsageError(f"space is {short(name)}: its definition is that of {space.name}")
    return space
