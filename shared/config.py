"""Settings of a command from one dataclass: defaults, then a YAML file, then the command line.

Field names are flags with hyphens and YAML keys with underscores; field metadata holds the help, what the option
affects and what its absence in an older file means (`shared/effects.py`). An unknown key or a wrong type is a
`UsageError` that names it. jsonargparse does the work.
"""

import argparse
import itertools
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, Field, field, fields
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, get_args, get_type_hints

import jsonargparse

from .effects import without_removed
from .errors import UsageError
from .help import HELP_FLAGS, help_text
from .records import read_yaml
from .user_folders import expand_home

C = TypeVar("C")
Effect = Literal["samples", "losses", "mixture", "chance", "length", "speed", "place"]
"""What an option affects: see `shared/effects.py`."""


def option(
    default: Any, help: str = "", *, affects: Effect | None = None, absent: Any = MISSING, by_content: bool = False
) -> Any:
    """A dataclass field with a default (a value, or a function that makes one) and a line of help.

    affects: what it changes in a training run. absent: its value in files of versions that did not have it (default:
    its default); files are written without it while it has that value. by_content: it is a path, and what counts is the
    content of the file or folder, which may be moved.
    """
    kind: dict[str, Any] = {"default_factory" if callable(default) else "default": default}
    return field(**kind, metadata={"help": help, "affects": affects, "absent": absent, "by_content": by_content})


def _with_checked_files(argv: Sequence[str], settings: type) -> list[str]:
    """The words of a command line, where a configuration file that has removed options stands without them.

    Raises `UsageError` that names the file when one is no YAML mapping.
    """
    words: list[str] = []
    for word in argv:
        flag, equals, value = word.partition("=")
        if words and words[-1] == "--config" and not word.startswith("-"):
            words.append(_checked_file(word, settings))
        elif flag == "--config" and equals:
            words += [flag, _checked_file(value, settings)]
        else:
            words.append(word)
    return words


def _checked_file(name: str, settings: type) -> str:
    """A configuration file, or what it holds without removed options."""
    path = expand_home(name)
    if not path.is_file():
        raise UsageError(f"no configuration file {name}: --config wants a YAML file (see --help)")
    try:
        values = read_yaml(path)
    except ValueError as error:
        raise UsageError(f"{path} is not a configuration file: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} is not a configuration file: it must hold lines like `name: value`")
    kept = without_removed(settings, values, path)
    return str(path) if kept == values else json.dumps(kept)


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
        raise UsageError(f"{self._grouped(_plain(message))}{self._meant(message)} (see --help)") from ex

    def _grouped(self, message: str) -> str:
        """Where a word was given for a group of options, how its options are given."""
        wrong = re.match(r"key \"(\w+)\": Unable to load config '([^']*)'", message)
        names = [action.dest for action in self._actions if wrong and action.dest.startswith(f"{wrong[1]}.")]
        if not wrong or not names:
            return message
        return f"{wrong[1]} is {wrong[2]!r}: it is a group of options, say --{names[0]} {wrong[2]}"

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


def parse(
    settings: type[C],
    argv: list[str],
    prog: str,
    description: str,
    without: Collection[str] = (),
    topics: Mapping[str, Callable[[str], str]] | None = None,
) -> C:
    """Read the settings of a command. `--help` prints and exits; every other misuse raises `UsageError`.

    without: fields that mean nothing to this command; they keep their defaults and are no options. topics: options with
    a help of their own: `--NAME VALUE --help` prints topics[NAME](VALUE).
    """
    if not set(argv).isdisjoint(HELP_FLAGS):
        print(_topic(argv, topics or {}) or help_text(settings, prog, description, without, "--help-all" in argv))
        raise SystemExit(0)
    parser = _Parser(prog=prog, allow_abbrev=False)
    parser.add_argument("--config", action="config")
    hints = get_type_hints(settings)
    argv = _with_checked_files(argv, settings)
    asked = [entry for entry in fields(settings) if entry.name not in without]  # type: ignore[arg-type]
    for entry in asked:
        _add(parser, entry, hints[entry.name])
    values = parser.instantiate(parser.parse_args(argv))
    return settings(**{entry.name: _expanded(getattr(values, entry.name)) for entry in asked})


def _topic(argv: Sequence[str], topics: Mapping[str, Callable[[str], str]]) -> str | None:
    """The help of one option's value, where a command line has both the option and --help."""
    for word, value in itertools.pairwise([each for each in argv if each not in HELP_FLAGS]):
        if word.startswith("--") and word[2:] in topics:
            return topics[word[2:]](value)
    return None


def _expanded(value: Any) -> Any:
    """Text with the user's home folder for every `~` that begins a path, also after `NAME=` and between commas."""
    if isinstance(value, list):
        return [_expanded(each) for each in value]
    if not isinstance(value, str):
        return value
    return re.sub(r"(?:^|(?<=[=,]))~[^/=,]*(?=/|,|$)", lambda match: str(expand_home(match[0])), value)


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
    several = list[str] in (kind, *get_args(kind))
    values = {"type": str, "nargs": "+"} if several else {"type": kind}
    if entry.metadata.get("positional"):
        parser.add_argument(entry.name, **values)
        return
    if kind is bool:
        values = {"type": _Truth(), "action": _Switch}
    default = entry.default if entry.default_factory is MISSING else entry.default_factory()
    parser.add_argument(f"--{entry.name.replace('_', '-')}", default=default, **values)
