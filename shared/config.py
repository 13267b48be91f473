"""Settings of a command from one dataclass: defaults, then a YAML file, then the command line.

Field names are flags with hyphens and YAML keys with underscores; field metadata holds the help. An unknown key or a
wrong type is a `UsageError` that names it. jsonargparse does the work.
"""

from dataclasses import MISSING, Field, field, fields
from typing import Any, TypeVar, get_args, get_type_hints

import jsonargparse

from shared.errors import UsageError

C = TypeVar("C")


def option(default: Any, help: str) -> Any:
    """A dataclass field with a default (a value, or a function that makes one) and a line of help."""
    metadata = {"help": help}
    return (
        field(default_factory=default, metadata=metadata)
        if callable(default)
        else field(default=default, metadata=metadata)
    )


def argument(help: str) -> Any:
    """A dataclass field that is given by its place on the command line, without a flag, and must be given."""
    return field(metadata={"help": help, "positional": True})


class _Parser(jsonargparse.ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> Any:
        raise UsageError(f"{_plain(message)} (see --help)") from ex


def _plain(message: str) -> str:
    """jsonargparse's words, in one line and without Python's type syntax."""
    line = " ".join(message.split()).replace("<class '", "").replace("'>", "").replace("typing.", "")
    return line.replace("Parser key", "key").replace("Validation failed: ", "")


def parse(settings: type[C], argv: list[str], prog: str, description: str) -> C:
    """Read the settings of a command. `--help` prints and exits; every other misuse raises `UsageError`."""
    parser = _Parser(prog=prog, description=description, formatter_class=jsonargparse.DefaultHelpFormatter)
    parser.add_argument("--config", action="config", help="YAML file with any of the settings below")
    hints = get_type_hints(settings)
    for entry in fields(settings):  # type: ignore[arg-type]
        _add(parser, entry, hints[entry.name])
    values = parser.instantiate(parser.parse_args(argv))
    return settings(**{entry.name: getattr(values, entry.name) for entry in fields(settings)})  # type: ignore[arg-type]


def _add(parser: jsonargparse.ArgumentParser, entry: Field, kind: Any) -> None:
    if entry.metadata.get("positional"):
        parser.add_argument(entry.name, type=kind, help=entry.metadata["help"])
        return
    default = entry.default if entry.default_factory is MISSING else entry.default_factory()
    flag, text = f"--{entry.name.replace('_', '-')}", entry.metadata.get("help", "")
    if kind is bool:
        parser.add_argument(flag, action=jsonargparse.ActionYesNo(no_prefix="no-"), default=default, help=text)
    elif list[str] in (kind, *get_args(kind)):
        parser.add_argument(flag, type=str, nargs="+", default=default, help=text)
    else:
        parser.add_argument(flag, type=kind, default=default, help=text)
