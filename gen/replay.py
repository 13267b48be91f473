"""`gen.render --config DATASET/config.yaml`: the arguments that render a dataset once more."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from gen.recipe import Recipe
from shared.user_folders import expand_home

FLAGS = ("partition", "subspace", "split", "patch", "scale", "seed", "rows_per_shard", "codec", "backend", "space")
MAX_CONFIG_BYTES = 16 << 20


def replayed(argv: Sequence[str]) -> tuple[list[str], Mapping[str, Any]]:
    """The arguments with those that a dataset's config.yaml stands for in its place, and what is in that file.

    What else stands on the command line goes before the file. Arguments without such a file stay as they are.
    """
    argv = list(argv)
    for position, word in enumerate(argv):
        flag, is_joined, name = word.partition("=")
        if flag == "--config":
            after = position + (1 if is_joined else 2)
            values = _read(expand_home(name or "".join(argv[position + 1 : after])))
            if values:
                return [*_arguments(values), *argv[:position], *argv[after:]], values
    return argv, {}


def _read(path: Path) -> dict[str, Any]:
    """The content of a dataset's config.yaml; nothing for any other file, whose errors are told elsewhere."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            return {}
        values = yaml.safe_load(path.read_bytes())
        recipe = {each.name: values[each.name] for each in fields(Recipe) if each.name in values}
        Recipe.from_dict(recipe)
        return values if {"count", "photographs"} <= values.keys() else {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, yaml.YAMLError):
        return {}


def _arguments(values: Mapping[str, Any]) -> list[str]:
    words = [word for name in FLAGS for word in (f"--{name.replace('_', '-')}", str(values[name]))]
    first, count = values.get("first_row", 0), values["count"]
    words += ["--rows", f"{first}:{first + count}"] if first else ["--count", str(count)]
    return [*words, "--usm"] if values["usm"] else words
