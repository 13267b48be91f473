"""Spaces from YAML files, in two dialects that are told apart by their keys.

Ours is the definition that `python -m gen.space paper` prints. The other is that of option files in the field:
Real-ESRGAN's options (options/train_realesrgan_x4plus.yml) and `params_*.yml` of PASD, SeeSR and OSEDiff.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from ..errors import UsageError
from ..text import short
from .definition import PARTS, from_definition, to_definition, unknown_key
from .partition import partition
from .presets import SPACES, get_space
from .space import RESIZE_DIRECTIONS, Space

PARTITION = "partition"
STAGE_KEYS = {
    "blur.families": "kernel_prob",
    "blur.sinc": "sinc_prob",
    "blur.sigma": "blur_sigma",
    "blur.beta_generalized": "betag_range",
    "blur.beta_plateau": "betap_range",
    "resize.directions": "resize_prob",
    "resize.factor": "resize_range",
    "noise.kinds": "gaussian_noise_prob",
    "noise.gaussian_sigma_255": "noise_range",
    "noise.poisson_scale": "poisson_scale_range",
    "noise.grey": "gray_noise_prob",
    "jpeg.low": "jpeg_range",
    "jpeg.high": "jpeg_range",
}
"""Entry of a definition -> key of an option file, of the first stage; both end in 2 for the second."""
ENTRIES = {
    **{entry.replace(".", "1."): key for entry, key in STAGE_KEYS.items()},
    **{entry.replace(".", "2."): f"{key}2" for entry, key in STAGE_KEYS.items()},
    "blur2.apply": "second_blur_prob",
    "final.sinc": "final_sinc_prob",
}
REQUIRED = {*ENTRIES.values(), "kernel_list", "kernel_list2"}
UNUSED = {"blur_kernel_size", "blur_kernel_size2"}
"""The code that these files are written for draws kernels of 7 to 21 pixels whatever they say, and so does ours."""


def find_space(text: str) -> Space:
    """The space of that name, or the one in the YAML file at that path.

    Raises `UsageError` when there is neither, and for a file that does not define a space.
    """
    if text in SPACES:
        return get_space(text)
    if not Path(text).is_file():
        near = get_close_matches(text, SPACES, 1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"unknown space {text!r}: {meant}choose one of {', '.join(SPACES)}, or a YAML file")
    return read_space(Path(text))


def read_space(path: Path) -> Space:
    """The space that a YAML file defines; a built-in one when all numbers are equal.

    Its default partition is `full` for an option file, and the file's `partition` or else 2x2 for our own dialect.
    Raises `UsageError` that names the file and the key for whatever is not right in it.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not YAML: {error}") from error
    try:
        if isinstance(values, Mapping) and values.keys() & {*PARTS, PARTITION}:
            return _from_definition_file(values)
        return _from_options(values)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def print_space(space: Space) -> str:
    """The YAML of a space in our dialect: read again, it is the same space."""
    values = {PARTITION: space.default_partition, **to_definition(space)}
    return yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=200)


def _from_definition_file(values: Mapping[str, Any]) -> Space:
    for key in values:
        if key not in PARTS and key != PARTITION:
            raise unknown_key(key, (PARTITION, *PARTS))
    cut = values.get(PARTITION, "2x2")
    if not isinstance(cut, str):
        raise UsageError(f"{PARTITION} is {short(cut)}: it must be a name such as 2x2 or full")
    space = from_definition({key: value for key, value in values.items() if key != PARTITION})
    partition(space, cut)
    return _settled(space, cut)


def _settled(space: Space, cut: str) -> Space:
    """The built-in space of equal numbers, or else this one, with that default partition."""
    for known in SPACES.values():
        if to_definition(known) == to_definition(space):
            return replace(known, default_partition=cut)
    return replace(space, default_partition=cut)


def _from_options(values: Any) -> Space:
    """What an option file leaves open, such as kernel sizes and resize modes, is as in Real-ESRGAN's code."""
    found = _options(values)
    if not found:
        raise UsageError(
            f"it has neither the keys of a definition ({', '.join(PARTS)}; see python -m gen.space paper) nor those of "
            "an option file (resize_prob, resize_range, ...)"
        )
    if missing := sorted(REQUIRED - found.keys()):
        raise UsageError(f"it lacks {', '.join(missing)}: an option file must have the keys of both stages")
    definition = to_definition(get_space("realesrgan"))
    for entry, key in ENTRIES.items():
        part, _, field = entry.partition(".")
        definition[part][field] = _converted(field, key, found)
    return _settled(from_definition(definition, lambda entry: ENTRIES.get(entry, entry)), "full")


def _converted(field: str, key: str, found: Mapping[str, Any]) -> Any:
    """An option in the form that a definition has."""
    value = found[key]
    if field == "families":
        return _shares(found[key.replace("prob", "list")], value, key)
    if field == "directions":
        return _shares(RESIZE_DIRECTIONS, value, key)
    if field == "kinds":
        return {"gaussian": value, "poisson": round(1 - value, 12)} if type(value) in (int, float) else value
    if field in ("low", "high"):
        if not isinstance(value, Sequence) or len(value) != 2:
            raise UsageError(f"{key} is {short(value)}: it must be [low, high]")
        return value[field == "high"]
    return value


def _shares(choices: Any, weights: Any, key: str) -> dict[str, float]:
    """Probabilities by choice from weights, which need not sum to 1 in an option file."""
    lists = [each for each in (choices, weights) if isinstance(each, Sequence) and not isinstance(each, str)]
    if len(lists) < 2 or len(choices) != len(weights) or len({*map(str, choices)}) < len(choices):
        raise UsageError(f"{key} is {short(weights)}: it must be a list with a weight for each of {short(choices)}")
    if not all(type(weight) in (int, float) and 0 <= weight < math.inf for weight in weights) or not sum(weights):
        raise UsageError(f"{key} is {short(weights)}: it must hold weights of 0 or more, not all 0")
    total = sum(weights)
    scaled = weights if abs(total - 1) < 1e-9 else [round(weight / total, 12) for weight in weights]
    return {str(choice): float(weight) for choice, weight in zip(choices, scaled, strict=True)}


def _options(values: Any) -> dict[str, Any]:
    """The degradation options of a file, which lie at any depth, as in `kernel_info` or `datasets.train`.

    Raises `UsageError` for one that is given twice with different values, and for an unknown one beside them.
    """
    found: dict[str, Any] = {}
    for section in _sections(values):
        known = {key: value for key, value in section.items() if key in REQUIRED | UNUSED}
        for key, value in known.items():
            if found.setdefault(key, value) != value:
                raise UsageError(f"{key} is {short(found[key])} and {short(value)}: give it once")
        if known or section is values:
            for key, value in section.items():
                _check_option(key, value)
    return found


def _sections(values: Any) -> Iterator[Mapping[str, Any]]:
    """All mappings in a file."""
    if isinstance(values, Mapping):
        yield values
        for value in values.values():
            yield from _sections(value)


def _check_option(key: Any, value: Any) -> None:
    """Raises `UsageError` for a misspelt option, and for an option in use that our model has no operator for."""
    if key in REQUIRED | UNUSED:
        return
    if get_close_matches(str(key), REQUIRED, 1, cutoff=0.85):
        raise unknown_key(key, sorted(REQUIRED))
    in_use = any(value) if isinstance(value, Sequence) else value
    if re.search(r"_(prob|range|list)\d*$", str(key)) and in_use:
        raise UsageError(f"{key} is {short(value)}: the model has no such degradation; set it to 0 or remove it")
