"""Settings of a command from one dataclass: defaults, then a YAML file, then the command line.

Field names are flags with hyphens and YAML keys with underscores; field metadata holds the help. An unknown key or a
wrong type is a `UsageError` that names it. jsonargparse does the work.
"""

import argparse
import re
from collections.abc import Collection
from dataclasses import MISSING, Field, field, fields
from difflib import get_close_matches
from typing import Any, TypeVar, get_args, get_type_hints

import jsonargparse

from .errors import UsageError

C = TypeVar("C")


def option(default: Any, help: str) -> Any:
    """A dataclass field with a default (a value, or a function that makes one) and a line of help."""
    kind: dict[str, Any] = {"default_factory" if callable(default) else "default": default}
    return field(**kind, metadata={"help": help})


def argument(help: str) -> Any:
    """A dataclass field given by its place on the command line, without a flag; a list takes one value or more."""
    return field(metadata={"help": help, "positional": True})


class _Parser(jsonargparse.ArgumentParser):
    def _check_value_key(self, action: Any, value: Any, *rest: Any, **named: Any) -> Any:
        """A list of one may be written in YAML as on the command line, without brackets."""
        if action.nargs == "+" and isinstance(value, str):
            value = [value]
        return super()._check_value_key(action, value, *rest, **named)

    def error(self, message: str, ex: Exception | None = None) -> Any:
        raise UsageError(f"{_plain(message)}{self._meant(message)} (see --help)") from ex

    def _meant(self, message: str) -> str:
        """The name that is closest to the unknown one of the message, as a question."""
        unknown = re.search(r"(?:unrecognized arguments: |Option '|option ')([\w.-]+)", message)
        names = {name for action in self._actions for name in (action.dest, *action.option_strings)}
        near = get_close_matches(unknown[1], names, 1) if unknown else []
        return f": did you mean {near[0]}?" if near else ""


def _plain(message: str) -> str:
    """jsonargparse's words, in one line and without Python's type syntax."""
    line = " ".join(message.split()).replace("<class '", "").replace("'>", "").replace("typing.", "")
    line = line.replace("Parser key", "key").replace("Validation failed: ", "")
    line = re.sub(
        r"Does not validate against any of the Union subtypes Subtypes: \[(.*?)\] Errors: .* Given value: ",
        lambda union: f"Expected a {union[1].replace('NoneType', 'null').replace(', ', ' or ')}. Got value: ",
        line,
    )
    line = re.sub(r"Expected a Literal\[(.*?)\]", r"Expected one of \1", line)
    return line.replace("Expected a int", "Expected an int")


def parse(settings: type[C], argv: list[str], prog: str, description: str, without: Collection[str] = ()) -> C:
    """Read the settings of a command. `--help` prints and exits; every other misuse raises `UsageError`.

    without: fields that mean nothing to this command; they keep their defaults and are no options.
    """
    formatter = jsonargparse.DefaultHelpFormatter
    parser = _Parser(prog=prog, description=description, formatter_class=formatter, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the settings below")
    hints = get_type_hints(settings)
    asked = [entry for entry in fields(settings) if entry.name not in without]  # type: ignore[arg-type]
    for entry in asked:
        _add(parser, entry, hints[entry.name])
    values = parser.instantiate(parser.parse_args(argv))
    return settings(**{entry.name: getattr(values, entry.name) for entry in asked})


class _Truth:
    """The type of a switch: YAML's true and false. As jsonargparse's own switch it would not name the key."""

    def __call__(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError(f"{value!r} is not true or false")
        return value

    def __repr__(self) -> str:
        return "bool"


class _Switch(argparse.Action):
    """`--name` and `--no-name`."""

    def __init__(self, option_strings: list[str], dest: str, **settings: Any) -> None:
        flag = option_strings[0]
        super().__init__([flag, flag.replace("--", "--no-", 1)], dest, nargs=0, **settings)

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, not (option_string or "").startswith("--no-"))


def _add(parser: jsonargparse.ArgumentParser, entry: Field, kind: Any) -> None:
    help, several = entry.metadata.get("help", ""), list[str] in (kind, *get_args(kind))
    values = {"type": str, "nargs": "+"} if several else {"type": kind}
    if entry.metadata.get("positional"):
        parser.add_argument(entry.name, help=help, **values)
        return
    if kind is bool:
        values = {"type": _Truth(), "action": _Switch}
    default = entry.default if entry.default_factory is MISSING else entry.default_factory()
    parser.add_argument(f"--{entry.name.replace('_', '-')}", default=default, help=help, **values)
